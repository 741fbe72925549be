//! Real brokers of our own, from the jars that `infra/local/up kafka` fetched: several nodes, TLS and SASL, killed and started as a test
//! wants. Loopback, free ports, a temporary folder; gone with the value.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

/// A broker on a busy machine of two cores takes its time.
const PATIENCE: Duration = Duration::from_secs(90);
const PASSWORD: &str = "of-this-test-only";

pub struct Cluster {
    dir: tempfile::TempDir,
    lib: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    plain: u16,
    tls: u16,
    process: Option<Child>,
}

impl Cluster {
    /// `None`, and said so, where Java or the jars are missing.
    pub fn start(nodes: usize) -> Option<Self> {
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/local/kafka");
        let local = std::env::var_os("TRUNKLINE_TEST_KAFKA_LIB").map_or(local, PathBuf::from);
        let lib = fs::read_dir(local).ok().into_iter().flatten().flatten().map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|name| {
                name.to_string_lossy().starts_with("lib-") && !name.to_string_lossy().ends_with("partial")
            })
        });
        let java =
            Command::new("java").arg("-version").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        let (Some(lib), true) = (lib, java) else {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: Kafka brokers of our own (java and the jars of infra/local/up kafka)"
            );
            return None;
        };
        let dir = tempfile::tempdir().expect("a folder");
        let ports = free_ports(nodes * 2 + 1);
        let mut cluster = Self { dir, lib, nodes: Vec::new() };
        cluster.certificate();
        for node in 0..nodes {
            cluster.nodes.push(Node { plain: ports[node * 2], tls: ports[node * 2 + 1], process: None });
            cluster.settings(node, ports[nodes * 2]);
        }
        for node in 0..nodes {
            cluster.format(node);
        }
        for node in 0..nodes {
            cluster.up(node);
        }
        cluster.wait_for(nodes);
        Some(cluster)
    }

    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.plain)).collect::<Vec<_>>().join(",")
    }

    pub fn bootstrap_tls(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.tls)).collect::<Vec<_>>().join(",")
    }

    /// The certificate that clients trust.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    pub fn up(&mut self, node: usize) {
        let log = fs::File::create(self.dir.path().join(format!("log-{node}"))).expect("a file");
        let settings = self.dir.path().join(format!("node-{node}.properties"));
        let process = self.java("-Xmx384m").arg("kafka.Kafka").arg(settings).stdout(log).stderr(Stdio::null()).spawn();
        self.nodes[node].process = Some(process.expect("java starts"));
    }

    /// Dead at once, as after a loss of power of that process.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }

    pub fn wait_for(&self, nodes: usize) {
        let give_up = Instant::now() + PATIENCE;
        let asked: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("log_level", "0")
            .create()
            .expect("a client");
        let brokers =
            || asked.fetch_metadata(None, Duration::from_secs(1)).map_or(0, |metadata| metadata.brokers().len());
        while brokers() < nodes {
            assert!(
                Instant::now() < give_up,
                "{}",
                fs::read_to_string(self.dir.path().join("log-0")).unwrap_or_default()
            );
        }
    }

    fn java(&self, heap: &str) -> Command {
        let mut java = Command::new("java");
        java.arg(heap).arg("-cp").arg(format!("{}/*", self.lib.display())).stdin(Stdio::null());
        java
    }

    fn settings(&self, node: usize, controller: u16) {
        let dir = self.dir.path();
        let Node { plain, tls, .. } = self.nodes[node];
        let own = if node == 0 { format!(",CONTROLLER://127.0.0.1:{controller}") } else { String::new() };
        let settings = BTreeMap::from([
            ("process.roles", if node == 0 { "broker,controller" } else { "broker" }.to_owned()),
            ("node.id", (node + 1).to_string()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{tls}{own}")),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{tls}")),
            ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL".to_owned()),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            ("log.dirs", dir.join(format!("data-{node}")).display().to_string()),
            ("ssl.keystore.location", dir.join("broker.p12").display().to_string()),
            ("ssl.keystore.type", "PKCS12".to_owned()),
            ("ssl.keystore.password", PASSWORD.to_owned()),
            ("ssl.key.password", PASSWORD.to_owned()),
            ("sasl.enabled.mechanisms", "PLAIN".to_owned()),
            (
                "listener.name.sasl_ssl.plain.sasl.jaas.config",
                format!(
                    "org.apache.kafka.common.security.plain.PlainLoginModule required user_trunkline=\"{PASSWORD}\";"
                ),
            ),
            ("offsets.topic.replication.factor", self.nodes.len().min(3).to_string()),
            ("offsets.topic.num.partitions", "3".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
            // A killed broker is noticed within seconds.
            ("broker.session.timeout.ms", "3000".to_owned()),
            ("broker.heartbeat.interval.ms", "500".to_owned()),
        ]);
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(dir.join(format!("node-{node}.properties")), text).expect("written");
    }

    fn format(&self, node: usize) {
        let settings = self.dir.path().join(format!("node-{node}.properties"));
        let formatted = self
            .java("-Xmx128m")
            .args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(settings)
            .output()
            .expect("java starts");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    }

    fn certificate(&self) {
        let dir = self.dir.path();
        let run = |args: &[&str]| {
            let made = Command::new("keytool").args(args).current_dir(dir).output().expect("keytool comes with java");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        };
        run(&[
            "-genkeypair",
            "-alias",
            "broker",
            "-keyalg",
            "EC",
            "-groupname",
            "secp256r1",
            "-dname",
            "CN=127.0.0.1",
            "-ext",
            "SAN=IP:127.0.0.1",
            "-validity",
            "3650",
            "-storetype",
            "PKCS12",
            "-keystore",
            "broker.p12",
            "-storepass",
            PASSWORD,
        ]);
        run(&[
            "-exportcert",
            "-rfc",
            "-alias",
            "broker",
            "-keystore",
            "broker.p12",
            "-storepass",
            PASSWORD,
            "-file",
            "ca.pem",
        ]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.kill(node));
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}
