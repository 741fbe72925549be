//! The edge, or a node, as a process of its own that can be killed: this test binary once more, told by its environment what to be.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use edge::Config;
use kit::clock::SystemClock;
use rustix::process::{Pid, Signal, kill_process};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Ring};

use super::agents::{Script, node};

const EDGE: &str = "EDGE_TEST_PROCESS";
const NODE: &str = "NODE_TEST_PROCESS";

/// Killed when it is dropped.
pub struct Process(Child);

impl Process {
    fn start(test: &str, variable: &str, value: &std::ffi::OsStr) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    /// `dir` has `edge.json`, `run` on a tmpfs and room for the log.
    pub fn edge(dir: &Path) -> Process {
        Process::start("faults::process::this_is_the_edge_when_told_so", EDGE, dir.as_os_str())
    }

    pub fn node(port: u16) -> Process {
        Process::start("faults::process::this_is_a_node_when_told_so", NODE, port.to_string().as_ref())
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.0.wait().unwrap();
    }

    /// In order, with all events in the log.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the edge does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Waits until the edge answers OPTIONS with 200 on its trunk side: it listens and has a node.
pub fn ready(trunk: &UdpSocket, edge: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let me = trunk.local_addr().unwrap();
    let mut buffer = [0; 4_096];
    for turn in 0.. {
        assert!(Instant::now() < deadline, "the edge never came up");
        let ask = format!(
            "OPTIONS sip:{edge} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK-ready-{turn}\r\nMax-Forwards: 7\r\nFrom: <sip:t@{me}>;tag=up\r\nTo: <sip:{edge}>\r\nCall-ID: ready-{turn}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let _not_there_yet = trunk.send_to(ask.as_bytes(), edge);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(20) {
            if let Ok((length, _)) = trunk.recv_from(&mut buffer)
                && buffer[..length].starts_with(b"SIP/2.0 200")
            {
                return;
            }
        }
    }
}

#[test]
fn this_is_the_edge_when_told_so() {
    let Some(dir) = std::env::var_os(EDGE) else { return };
    let dir = Path::new(&dir);
    let config: Config = serde_json::from_slice(&std::fs::read(dir.join("edge.json")).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.join("log"))).unwrap();
        log.ensure_topics(schemas::all_topics()).await.unwrap();
        let life = kit::Lifecycle::new(Duration::from_secs(10));
        let host = kit::Host {
            life: life.clone(),
            metrics: kit::Metrics::new(),
            clock: Arc::new(SystemClock),
            data_dir: dir.join("data"),
            run_dir: dir.join("run"),
            keys: Arc::new(super::super::world::keys()),
        };
        let service = kit::Service::open("edge", &host).unwrap();
        let ring = Ring::Shared { dir: host.run_dir.join(&service.instance.id), bytes: 16 << 20 };
        let producer = PublisherConfig {
            ring,
            manifests: true,
            ..PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock))
        };
        let publisher = Publisher::start(Arc::clone(&log), producer).unwrap();
        let client = Client { log, publisher: publisher.clone() };
        edge::run(config, service, client).await.unwrap();
        life.run_until_signal().await;
        publisher.close(Duration::from_secs(10)).await;
    });
}

#[test]
fn this_is_a_node_when_told_so() {
    let Ok(port) = std::env::var(NODE) else { return };
    let socket = UdpSocket::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    // Held, so that nobody tells it to stop: whoever started it kills it.
    let (_asks, mailbox) = sync_channel(1);
    node(socket, Script::default(), &mailbox);
}
