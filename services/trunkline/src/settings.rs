//! All settings of the binary: the sections of the services and what they share.
//!
//! One tree serves every command, so a file written for `standalone` works for a single service too; a service reads its own
//! section and the shared ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use kit::admin::AdminConfig;
use kit::settings::{Check, Problem, Problems, join};
use serde::{Deserialize, Serialize};
use stream::{EmbeddedLog, EventLog};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Everything that has to survive a restart.
    pub data_dir: PathBuf,
    /// A tmpfs folder for rings and journals; empty means the machine's own choice.
    pub run_dir: PathBuf,
    /// Seconds that tasks may take to finish after SIGTERM.
    pub drain_s: u64,
    pub identity: Identity,
    pub log: kit::LogConfig,
    /// The admin server of `standalone`. A single service uses its own default port unless this is set.
    pub admin: AdminConfig,
    pub stream: stream::Config,
    pub edge: edge::Config,
    pub engine: engine::Config,
    pub cdr: cdr::Config,
    pub analytics: analytics::Config,
    pub fraud: fraud::Config,
    pub capacity: capacity::Config,
    pub api: api::Config,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// One file per key id, the same on every edge and engine; empty means `<data_dir>/keys`.
    pub keys_dir: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data_dir: PathBuf::from("./trunkline-data"),
            run_dir: PathBuf::new(),
            drain_s: 30,
            identity: Identity::default(),
            log: kit::LogConfig::default(),
            admin: AdminConfig::default(),
            stream: stream::Config::default(),
            edge: edge::Config::default(),
            engine: engine::Config::default(),
            cdr: cdr::Config::default(),
            analytics: analytics::Config::default(),
            fraud: fraud::Config::default(),
            capacity: capacity::Config::default(),
            api: api::Config::default(),
        }
    }
}

impl Check for Settings {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if self.data_dir.as_os_str().is_empty() {
            out.push(Problem::new(join(at, "data_dir"), "", "a folder for everything that has to survive a restart"));
        }
        if !(1..=3600).contains(&self.drain_s) {
            out.push(Problem::new(join(at, "drain_s"), self.drain_s, "1 to 3600 seconds"));
        }
        self.log.check(&join(at, "log"), out);
        self.admin.check(&join(at, "admin"), out);
        for (key, value, allowed) in self.stream.problems() {
            out.push(Problem::new(join(at, &format!("stream.{key}")), value, allowed));
        }
        self.edge.check(&join(at, "edge"), out);
        self.engine.check(&join(at, "engine"), out);
        self.cdr.check(&join(at, "cdr"), out);
        self.analytics.check(&join(at, "analytics"), out);
        self.fraud.check(&join(at, "fraud"), out);
        self.capacity.check(&join(at, "capacity"), out);
        self.api.check(&join(at, "api"), out);
    }
}

impl Settings {
    /// The named file, if it is there, then the environment.
    pub fn load(file: &Path) -> Result<Settings, Problems> {
        let is_default = file == Path::new("./trunkline.toml");
        let named = (!is_default || file.exists()).then_some(file);
        kit::settings::load(named, std::env::vars().filter(|(key, _)| key.starts_with("TRUNKLINE__")))
    }

    /// The log for a command that only reads; works beside a running process.
    pub fn open_log_to_read(&self) -> anyhow::Result<Arc<dyn EventLog>> {
        if self.stream.adapter == stream::Adapter::Kafka {
            return Ok(stream::open(&self.stream, &self.data_dir)?);
        }
        let log = EmbeddedLog::open_read_only(self.stream.embedded_in(&self.data_dir).dir);
        Ok(log.with_context(|| format!("the event log below {}", self.data_dir.display()))?)
    }

    /// Where the call records of these settings are.
    pub fn call_log(&self) -> anyhow::Result<cdr::Place> {
        Ok(cdr::Place::of(&self.cdr, &self.data_dir.join("cdr"))?)
    }

    /// The api's settings; it reads the call records where `[cdr]` writes them, unless it is told otherwise.
    #[must_use]
    pub fn api(&self) -> api::Config {
        let mut config = self.api.clone();
        let elsewhere = config.calls_db.is_some() || !config.calls_postgres.url.is_empty();
        if self.cdr.store == cdr::config::StoreKind::Postgres && !elsewhere {
            config.calls_postgres = self.cdr.postgres.clone();
        }
        config
    }

    #[must_use]
    pub fn keys_dir(&self) -> PathBuf {
        if self.identity.keys_dir.as_os_str().is_empty() {
            self.data_dir.join("keys")
        } else {
            self.identity.keys_dir.clone()
        }
    }

    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        if self.run_dir.as_os_str().is_empty() { kit::default_run_dir() } else { self.run_dir.clone() }
    }
}
