//! Publishing never holds a call up: with a log that takes nothing and answers nothing the edge forwards as fast as with a
//! healthy one (laws 1 and 2: what cannot go waits in the queue, within its bound, and is declared).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use edge::{Config, NodeConfig, ProbeConfig, TrunkConfig};
use schemas::TopicSpec;
use stream::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Subscription};

use super::service::Service;
use super::text::{Dialog, Msg, invite};

/// A log that hangs: nothing is ever answered, as with a broker that accepts connections and then says nothing.
pub(super) struct Hangs;

#[async_trait]
impl EventLog for Hangs {
    async fn ensure_topics(&self, _: &[&'static TopicSpec]) -> Result<(), LogError> {
        Ok(())
    }

    async fn append_shared(&self, _: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        std::future::pending().await
    }

    async fn subscribe(&self, _: Subscription) -> Result<Box<dyn Source>, LogError> {
        std::future::pending().await
    }

    async fn assign(&self, _: Vec<Assigned>) -> Result<Box<dyn Source>, LogError> {
        std::future::pending().await
    }

    async fn bounds(&self, _: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        std::future::pending().await
    }

    async fn committed(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        std::future::pending().await
    }
}

struct Peer(UdpSocket);

impl Peer {
    fn new() -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Peer(socket)
    }

    fn at(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn send(&self, m: &Msg, to: SocketAddr) {
        self.0.send_to(&m.bytes(), to).unwrap();
    }

    /// The next message of that kind.
    fn hear(&self, method: &str, status: u16) -> Msg {
        let mut buffer = [0; 65_536];
        loop {
            let (length, _) = self.0.recv_from(&mut buffer).unwrap();
            let m = Msg::parse(&buffer[..length]);
            if m.is(method, status) {
                return m;
            }
        }
    }
}

/// Whole calls, one after another: how long each INVITE and each BYE was on its way through the edge.
fn calls(caller: &Peer, node: &Peer, trunk_side: SocketAddr, node_side: SocketAddr, count: usize) -> Vec<Duration> {
    let mut spans = Vec::with_capacity(2 * count);
    for i in 0..count {
        let m = invite(caller.at(), trunk_side, &format!("c{i}"), "+4930123456", 1);
        let sent = Instant::now();
        caller.send(&m, trunk_side);
        let offered = node.hear("INVITE", 0);
        spans.push(sent.elapsed());
        let ok = offered.reply(200, "OK", &format!("n{i}")).with("Contact", &format!("<sip:n@{}>", node.at()));
        node.send(&ok, node_side);
        let mut dialog = Dialog::caller(caller.at(), &caller.hear("INVITE", 200));
        caller.send(&dialog.request("ACK"), trunk_side);
        node.hear("ACK", 0);
        let sent = Instant::now();
        caller.send(&dialog.request("BYE"), trunk_side);
        let bye = node.hear("BYE", 0);
        spans.push(sent.elapsed());
        node.send(&bye.reply(200, "OK", ""), node_side);
        caller.hear("BYE", 200);
    }
    spans.sort();
    spans
}

async fn measure(log: Option<Arc<dyn EventLog>>) -> Vec<Duration> {
    let (caller, node) = (Peer::new(), Peer::new());
    let mut config = Config {
        trunks: vec![TrunkConfig {
            id: "t".into(),
            sources: vec![edge::Source::Port(caller.at())],
            ..TrunkConfig::default()
        }],
        nodes: vec![NodeConfig { id: "n".into(), address: node.at().into(), ..NodeConfig::default() }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        ..Config::default()
    };
    config.listeners.iter_mut().for_each(|l| l.bind = "127.0.0.1:0".parse().unwrap());
    let service = match log {
        Some(log) => Service::start_on(config, log).await,
        None => Service::start(config).await,
    };
    let (trunk_side, node_side) = (service.edge.trunk_addr, service.edge.node_addr);
    tokio::task::spawn_blocking(move || calls(&caller, &node, trunk_side, node_side, 300)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_hangs_costs_no_call_any_time() {
    let alive = measure(None).await;
    let dead = measure(Some(Arc::new(Hangs))).await;
    let at = |spans: &[Duration], percent: usize| spans[spans.len() * percent / 100];
    println!(
        "through the edge: alive p50 {:?} p90 {:?}, dead p50 {:?} p90 {:?}",
        at(&alive, 50),
        at(&alive, 90),
        at(&dead, 50),
        at(&dead, 90)
    );
    // Wide enough for a busy machine; a wait for the log would be for ever.
    assert!(at(&dead, 50) <= at(&alive, 50) * 2 + Duration::from_millis(1));
    assert_eq!(dead.len(), 600, "every call went through");
}
