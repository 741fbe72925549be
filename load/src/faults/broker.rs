//! A Kafka broker of the lab's own, to be killed: one KRaft node from the jars that `infra/local/up kafka` fetched, with ports and data of
//! its own. Killed with the lab, whatever ends that.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};

/// After a kill a broker waits until its own former life has timed out, and a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Broker {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Broker {
    /// Whether the jars are here.
    pub fn available() -> bool {
        jars().is_ok()
    }

    pub fn start(dir: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&dir)?;
        let (port, controller) = two_ports()?;
        let template = fs::read_to_string(root().join("infra/local/kafka/server.properties"))?;
        let settings = template
            .replace("@PORT@", &port.to_string())
            .replace("@CONTROLLER@", &controller.to_string())
            .replace("@DATA@", &dir.join("data").to_string_lossy());
        fs::write(dir.join("server.properties"), settings)?;
        let id =
            java(&dir, "128m")?.args(["kafka.tools.StorageTool", "random-uuid"]).stdout(Stdio::piped()).output()?;
        let id = String::from_utf8(id.stdout)?;
        let formatted = java(&dir, "128m")?
            .args(["kafka.tools.StorageTool", "format", "-t", id.trim(), "-c"])
            .arg(dir.join("server.properties"))
            .status()?;
        ensure!(formatted.success(), "Kafka's storage could not be formatted: see {}", dir.join("log").display());
        let child = run(&dir)?;
        let mut broker = Self { dir, port, child };
        broker.wait_until_it_answers()?;
        Ok(broker)
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it on its old data and waits until it answers.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = run(&self.dir)?;
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let asker: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("group.id", "load-lab")
            .set("reconnect.backoff.max.ms", "500")
            .set("log_level", "0")
            .create()?;
        let started = Instant::now();
        loop {
            // Brokers are in the metadata only when the node takes requests of others.
            if asker.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|m| !m.brokers().is_empty()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status}: see {}", self.dir.join("log").display());
            }
            ensure!(started.elapsed() < PATIENCE, "the broker does not answer: see {}", self.dir.join("log").display());
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be dead already.
        let _dead = self.kill();
    }
}

fn run(dir: &Path) -> anyhow::Result<Child> {
    java(dir, "512m")?.arg("kafka.Kafka").arg(dir.join("server.properties")).spawn().context("starting java")
}

/// `java` through this binary, which sees to it that the process dies with the lab.
fn java(dir: &Path, heap: &str) -> anyhow::Result<Command> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["stream-faults", "leashed", "java"])
        .arg(format!("-Xmx{heap}"))
        .arg(format!("-Dlog4j2.configurationFile={}", root().join("infra/local/kafka/log4j2.properties").display()))
        .arg("-cp")
        .arg(jars()?.join("*"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn jars() -> anyhow::Result<PathBuf> {
    let versions = fs::read_to_string(root().join("infra/local/versions"))?;
    let version = versions.lines().find_map(|l| l.strip_prefix("kafka_version=")).context("no kafka_version")?;
    let folder = root().join(format!("target/local/kafka/lib-{version}"));
    ensure!(folder.is_dir(), "Kafka's jars are not here: infra/local/up kafka");
    Ok(folder)
}

/// Free at this moment; both are held until both are known.
fn two_ports() -> anyhow::Result<(u16, u16)> {
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}
