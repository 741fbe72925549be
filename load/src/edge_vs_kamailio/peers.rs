//! The two proxies, each started fresh for its turn with the same allow-list and the same two nodes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use schemas::{Event, SipTransaction};
use stream::{EmbeddedLog, EventLog, KafkaConfig, KafkaLog, Start, Subscription, header};

use super::broker::Broker;
use crate::leftovers::Leftovers;
use crate::process::{self, Process, free};

/// Where everybody stands.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub caller: SocketAddr,
    pub nodes: [SocketAddr; 2],
}

/// A proxy that is up.
pub struct Peer {
    pub process: Process,
    /// Where the caller sends.
    pub at: SocketAddr,
}

impl Peer {
    /// All its processes are in a group of their own.
    pub fn group(&self) -> u32 {
        self.process.group()
    }
}

/// How Kamailio manages its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Without checks: what we are measured against.
    Fast,
    /// As Debian starts it, which looks for overruns with every piece that is freed. Shown for those who know its figures.
    AsShipped,
}

pub fn kamailio(scene: Scene, memory: Memory, guarded: bool, dir: &Path) -> anyhow::Result<Peer> {
    let at = free()?;
    let sources = dir.join("sources");
    fs::write(&sources, format!("1 {} 32 0 caller\n", scene.caller.ip()))?;
    let nodes = dir.join("nodes");
    fs::write(&nodes, format!("1 sip:{}\n1 sip:{}\n", scene.nodes[0], scene.nodes[1]))?;
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/kamailio/bench.cfg");
    let template = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
    let cores = std::thread::available_parallelism()?.get();
    // Kamailio replaces names only where they stand alone, so the file's names are filled in here.
    let text = template
        .replace("children=CHILDREN", &format!("children={cores}"))
        .replace("listen=LISTEN", &format!("listen=udp:{at}"))
        .replace("\"SOURCES\"", &format!("\"{}\"", sources.display()))
        .replace("\"NODES\"", &format!("\"{}\"", nodes.display()));
    let config = dir.join("kamailio.cfg");
    fs::write(&config, text)?;
    let log = dir.join("kamailio.log");
    let mut command = Command::new("kamailio");
    // In the foreground, where its children keep the group, with more memory than it needs.
    command.args(["-DD", "-E", "-m", "256", "-M", "16"]);
    if memory == Memory::Fast {
        command.args(["-x", "fm", "-X", "fm"]);
    }
    if guarded {
        command.args(["-A", "GUARD"]);
    }
    command.arg("-f").arg(&config).arg("-w").arg(dir).arg("-Y").arg(dir);
    let mut process = process::spawn(command, &log)?;
    process::up(&mut process, at, &log)?;
    Ok(Peer { process, at })
}

/// Sends every packet on, unread, to the one node: what the scene itself costs whoever stands in it.
pub fn relay(scene: Scene, dir: &Path) -> anyhow::Result<Peer> {
    let at = free()?;
    let log = dir.join("relay.log");
    let mut command = Command::new(std::env::current_exe().context("where this benchmark's executable is")?);
    command.arg("relay").args([at, scene.caller, scene.nodes[0]].map(|address| address.to_string()));
    let mut process = process::spawn(command, &log)?;
    process::up(&mut process, at, &log)?;
    Ok(Peer { process, at })
}

/// The edge as a process of its own, and where its events will be.
pub fn edge(
    scene: Scene,
    binary: &Path,
    guarded: bool,
    broker: Option<&Broker>,
    dir: &Path,
    run_dir: &Path,
) -> anyhow::Result<(Peer, Log)> {
    let (trunks, nodes, admin) = (free()?, free()?, free()?);
    let data = dir.join("edge-data");
    let keys = data.join("keys");
    fs::create_dir_all(&keys)?;
    let (log, stream) = match broker {
        None => (Log::Embedded(data.join("stream")), "[stream.embedded]\nalone = true\n".to_owned()),
        Some(broker) => {
            let (bootstrap, prefix) = (broker.bootstrap.clone(), format!("load-{}-edge.", std::process::id()));
            let stream = format!(
                "[stream]\nadapter = \"kafka\"\ntopic_prefix = \"{prefix}\"\nkafka.bootstrap = \"{bootstrap}\"\n"
            );
            (Log::Kafka { topics: Leftovers { bootstrap, prefixes: vec![prefix] } }, stream)
        }
    };
    let text = format!(
        r#"
data_dir = {data:?}
run_dir = "{run}"

[log]
filter = "warn"

[admin]
bind = "127.0.0.1:{admin}"

{stream}
[edge]
id = "bench"
probe.enabled = false

[[edge.listeners]]
id = "trunks"
side = "trunk"
bind = "{trunks}"

[[edge.listeners]]
id = "nodes"
side = "node"
bind = "{nodes}"

[[edge.trunks]]
id = "caller"
sources = ["{caller}"]
{limits}

[[edge.nodes]]
id = "one"
address = "{one}"

[[edge.nodes]]
id = "two"
address = "{two}"
"#,
        run = run_dir.display(),
        admin = admin.port(),
        limits = if guarded { "cps = 5000\ncalls = 50000" } else { "" },
        caller = scene.caller,
        one = scene.nodes[0],
        two = scene.nodes[1],
    );
    let config = dir.join("edge.toml");
    fs::write(&config, text)?;
    let key = keys.join("bench");
    fs::write(&key, [b'k'; 32])?;
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let said = dir.join("edge.log");
    let mut command = Command::new(binary);
    command.arg("edge").arg("--config").arg(&config);
    let mut process = process::spawn(command, &said)?;
    process::up(&mut process, trunks, &said)?;
    Ok((Peer { process, at: trunks }, log))
}

/// Where the edge's events end up.
pub enum Log {
    Embedded(PathBuf),
    /// Topics of this run, deleted after it.
    Kafka {
        topics: Leftovers,
    },
}

impl Log {
    /// How many events of the edge arrived, by kind; waits until they stand still.
    pub fn published(&self) -> anyhow::Result<Published> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let log: Arc<dyn EventLog> = match self {
                Self::Embedded(dir) => EmbeddedLog::open_read_only(dir)?,
                Self::Kafka { topics } => Arc::new(KafkaLog::new(KafkaConfig {
                    bootstrap: topics.bootstrap.clone(),
                    topic_prefix: topics.prefixes.concat(),
                    ..KafkaConfig::default()
                })?),
            };
            let topics = vec![SipTransaction::TOPIC];
            let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await?;
            let mut published = Published::default();
            loop {
                let records = source.poll(5000, Duration::from_secs(2)).await?;
                if records.is_empty() {
                    return Ok(published);
                }
                for record in &records {
                    match record.header(header::EVENT_TYPE) {
                        Some(b"attempt") => published.attempts += 1,
                        Some(b"answered") => published.answered += 1,
                        Some(b"ended") => published.ended += 1,
                        _ => published.others += 1,
                    }
                }
            }
        })
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Published {
    pub attempts: u64,
    pub answered: u64,
    pub ended: u64,
    pub others: u64,
}

impl Published {
    /// Exactly three events for each call.
    pub fn complete(self, calls: u64) -> anyhow::Result<()> {
        let all = [self.attempts, self.answered, self.ended].iter().all(|n| *n == calls);
        ensure!(all && self.others == 0, "void: {calls} calls, but published {self:?}");
        Ok(())
    }
}
