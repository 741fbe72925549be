//! The service on real sockets and a real log, between simulated carriers and switches that speak with their own code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ends::{Ends, LONG, loopback};
use super::lossy::{Lossy, Weather};
use domain::Clock;
use edge::{Config, ListenerConfig, NodeConfig, RouteConfig, Running, TrunkConfig};
use kit::clock::SystemClock;
use schemas::{BlockScope, ControlAck, ControlBlock, Event, SipTransaction, grammar};
use sim::carrier::{CallPlan, CarrierHandle};
use sim::switch::{Switch, SwitchConfig, SwitchHandle};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Start, Subscription};

struct Lab {
    edge: Running,
    life: kit::Lifecycle,
    log: Arc<dyn EventLog>,
    publisher: Publisher,
    operator: Publisher,
    ends: Ends,
    nodes: [SwitchHandle; 2],
    /// Between the carriers and the edge, in their order.
    wires: Vec<Lossy>,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn start() -> Lab {
        Lab::start_in(None).await
    }

    /// With bad wires between the carriers and the edge.
    async fn start_in(weather: Option<Weather>) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
        log.ensure_topics(schemas::all_topics()).await.unwrap();
        let life = kit::Lifecycle::new(Duration::from_secs(10));
        let host = kit::Host {
            life: life.clone(),
            metrics: kit::Metrics::new(),
            clock: Arc::new(SystemClock),
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            keys: Arc::new(super::world::keys()),
        };
        let service = kit::Service::open("edge", &host).unwrap();
        let producer = PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock));
        let publisher = Publisher::start(Arc::clone(&log), producer).unwrap();
        let operator =
            Publisher::start(Arc::clone(&log), PublisherConfig::new("api/test", 1, Arc::new(SystemClock))).unwrap();

        let ends = Ends::start("north", "far");
        let (caller, far) = (&ends.caller, &ends.far);
        let mut nodes = Vec::new();
        for (seed, id) in (21..).zip(["fs-1", "fs-2"]) {
            // Two nodes that number their calls alike would pass for one request that came by two ways.
            nodes.push(Switch::start(SwitchConfig { id: id.into(), seed, ..SwitchConfig::default() }).await.unwrap());
        }
        let nodes: [SwitchHandle; 2] = nodes.try_into().ok().unwrap();

        let wires: Vec<Lossy> = weather
            .iter()
            .flat_map(|weather| [(caller, 11), (far, 12)].map(|(c, seed)| Lossy::start(c.addr(), *weather, seed)))
            .collect();
        // Where the edge meets a carrier: its own address, or the end of its wire.
        let met = |at: usize, carrier: &CarrierHandle| wires.get(at).map_or(carrier.addr(), |wire| wire.back);
        let trunk = |at: usize, carrier: &CarrierHandle, called: bool| TrunkConfig {
            id: carrier.id().to_owned(),
            sources: vec![edge::Source::Port(met(at, carrier))],
            address: called.then(|| met(at, carrier).into()),
            listener: wires.get(at).map(|_| carrier.id().to_owned()),
            ..TrunkConfig::default()
        };
        let node = |switch: &SwitchHandle| NodeConfig {
            id: switch.id(),
            address: switch.sip_addr().into(),
            ..NodeConfig::default()
        };
        let mut config = Config {
            trunks: vec![trunk(0, caller, false), trunk(1, far, true)],
            nodes: nodes.iter().map(node).collect(),
            routes: vec![RouteConfig { trunks: vec!["far".into()], ..RouteConfig::default() }],
            drain_ms: 8_000,
            ..Config::default()
        };
        config.listeners.iter_mut().for_each(|l| l.bind = loopback());
        for (wire, carrier) in wires.iter().zip([caller, far]) {
            // What a carrier is told to send to is its own end of the wire.
            let id = carrier.id().to_owned();
            let own = ListenerConfig { id, advertise: Some(wire.front), ..config.listeners[0].clone() };
            config.listeners.push(own);
        }
        let client = Client { log: Arc::clone(&log), publisher: publisher.clone() };
        let edge = edge::run(config, service, client).await.unwrap();
        for (at, carrier) in [caller, far].into_iter().enumerate() {
            let Some(wire) = wires.get(at) else {
                carrier.set_edge(edge.trunk_addr).await.unwrap();
                continue;
            };
            let (_, bound) = edge.listeners.iter().find(|(id, _)| id == carrier.id()).unwrap();
            wire.set_edge(*bound);
            carrier.set_edge(wire.front).await.unwrap();
        }
        for node in &nodes {
            node.set_gateway(edge.node_addr).await;
        }
        Lab { edge, life, log, publisher, operator, ends, nodes, wires, _dir: dir }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}; {:#?}", self.edge.snapshot());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn read<E: Event>(&self) -> Vec<E> {
        self.publisher.flush(LONG).await.unwrap();
        let bounds = self.log.bounds(E::TOPIC).await.unwrap();
        let total: i64 = bounds.iter().map(|b| b.end - b.begin).sum();
        let all = Subscription { group: None, topics: vec![E::TOPIC], start: Start::Beginning };
        let mut source = self.log.subscribe(all).await.unwrap();
        let mut events = Vec::new();
        let deadline = Instant::now() + LONG;
        while (events.len() as i64) < total {
            assert!(Instant::now() < deadline, "{} of {total}", events.len());
            for record in source.poll(1_000, Duration::from_millis(200)).await.unwrap() {
                events.push(schemas::decode::<E>(record.value.as_deref().unwrap()).unwrap());
            }
        }
        events
    }

    async fn stories(&self) -> Vec<SipTransaction> {
        let mut events: Vec<SipTransaction> = self.read().await;
        // Across partitions there is no order but the producer's clock and numbers.
        events.sort_by_key(|e| (e.occurred_mono_us, e.envelope.partition, e.envelope.seq));
        events
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_of_calls_is_carried_and_told_as_the_carriers_saw_it() {
    let lab = Lab::start().await;
    lab.until("nodes up", || lab.edge.snapshot().nodes.iter().all(|n| n.rtt_us.is_some())).await;
    let kinds = ["3001", "5001", "6001", "9001", "4001", "4101"];
    for i in 0..120 {
        let to = format!("+493012{}", kinds[i % kinds.len()]);
        lab.ends.place(&format!("mix-{i}"), &to, 200 + (i as u64 % 7) * 50).await;
    }
    let mut cancelled = CallPlan::new("gives-up", "+4917012345", "+4930124201", Duration::from_secs(1));
    cancelled.cancel_after = Some(Duration::from_millis(400));
    lab.ends.caller.place(cancelled).await.unwrap();
    lab.ends.settled().await;
    lab.until("no dialog left", || lab.edge.snapshot().dialogs == 0).await;
    let events = lab.stories().await;
    grammar::check(&events).unwrap();
    events.iter().for_each(|e| e.check().unwrap());
    let ends: HashMap<&str, &SipTransaction> = events
        .iter()
        .filter(|e| matches!(e.event_type.as_str(), "answered" | "final" | "refused"))
        .map(|e| (e.identity.call_id.as_str(), e))
        .collect();
    let books = lab.ends.ledger.snapshot();
    assert_eq!(books.calls.len(), 121);
    for call in &books.calls {
        let told = ends[&*call.call_id].outcome.as_ref().unwrap().status;
        assert_eq!(told, call.final_code, "{} to {}", call.call_id, call.to);
    }
    assert!(!books.legs.is_empty());
    for leg in &books.legs {
        let event = ends[&*leg.call_id];
        assert_eq!(event.outcome.as_ref().unwrap().status, leg.final_code, "{} to {}", leg.call_id, leg.to);
        let parent = event.parent_leg_id.as_ref().expect("joined by its header");
        assert!(events.iter().any(|e| &e.leg_id == parent && e.call_root_id == event.call_root_id));
    }
    assert_eq!(lab.life.stop().await.abandoned, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_from_the_topic_is_in_force_and_acknowledged_and_a_killed_node_costs_no_call() {
    let lab = Lab::start().await;
    lab.until("nodes up", || lab.edge.snapshot().nodes.iter().all(|n| n.rtt_us.is_some())).await;
    let now = SystemClock.now().wall_us;
    let block = ControlBlock {
        event_type: "block".into(),
        author: "fraud".into(),
        block_id: "01890000-0000-7000-8000-000000000001".into(),
        mode: "enforce".into(),
        scope: BlockScope { trunk: Some("north".into()), caller: Some("+4917012345".into()), ..BlockScope::default() },
        made_us: now,
        expires_us: now + 600_000_000,
        ..ControlBlock::default()
    };
    lab.operator.publish(block.clone());
    lab.operator.flush(LONG).await.unwrap();
    lab.until("block in force", || lab.edge.snapshot().blocks.len() == 1).await;
    lab.ends.place("blocked", "+4930123001", 100).await;
    lab.ends.settled().await;
    assert_eq!(lab.ends.ledger.snapshot().calls[0].final_code, Some(403));
    let lift = ControlBlock {
        event_type: "lift".into(),
        author: "operator".into(),
        lifts_author: Some("fraud".into()),
        ..block
    };
    lab.operator.publish(lift);
    lab.operator.flush(LONG).await.unwrap();
    lab.until("lift in force", || lab.edge.snapshot().blocks.is_empty()).await;
    let acks: Vec<ControlAck> = lab.read().await;
    assert!(acks.iter().any(|a| a.blocks_enforced == 1 && a.changed == ["fraud/01890000-0000-7000-8000-000000000001"]));
    assert_eq!(acks.last().map(|a| a.blocks_enforced), Some(0));

    let killed = Instant::now();
    lab.nodes[1].kill().await;
    for i in 0..40 {
        lab.ends.place(&format!("after-{i}"), "+4930123001", 100).await;
    }
    lab.ends.settled().await;
    let books = lab.ends.ledger.snapshot();
    let lost: Vec<_> = books.calls.iter().filter(|c| &*c.call_id != "blocked" && c.final_code != Some(200)).collect();
    assert!(lost.is_empty(), "{lost:#?}");
    lab.until("node down", || lab.edge.snapshot().nodes[1].state == "down").await;
    assert!(killed.elapsed() < Duration::from_secs(6));
    lab.until("no dialog left", || lab.edge.snapshot().dialogs == 0).await;
    grammar::check(&lab.stories().await).unwrap();
    assert_eq!(lab.life.stop().await.abandoned, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_calls_in_set_up_finish_and_takes_no_new_ones() {
    let lab = Lab::start().await;
    lab.until("nodes up", || lab.edge.snapshot().nodes.iter().all(|n| n.rtt_us.is_some())).await;
    // Rings for 0.2 to 1 s at the far carrier before it is answered.
    lab.ends.place("ringing", "+4930124001", 5_000).await;
    lab.until("ringing", || lab.edge.snapshot().counters.attempts == 2).await;
    let life = lab.life.clone();
    let stopping = async { life.stop().await };
    let meanwhile = async {
        lab.until("draining", || lab.edge.snapshot().draining).await;
        lab.ends.place("too-late", "+4930123001", 100).await;
        lab.until("refused", || lab.edge.snapshot().counters.refused == 1).await;
    };
    let (outcome, ()) = tokio::join!(stopping, meanwhile);
    assert_eq!((outcome.abandoned, outcome.failed), (vec![], vec![]));
    // The answer has left the edge; the carrier's own thread may still be about to read it.
    let answered = || {
        let books = lab.ends.ledger.snapshot();
        books.calls.iter().any(|c| &*c.call_id == "ringing" && c.final_code == Some(200))
    };
    lab.until("answered at the carrier", answered).await;
    grammar::check_so_far(&lab.stories().await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_five_percent_loss_and_reordering_every_call_completes_and_none_is_told_twice() {
    let lab = Lab::start_in(Some(Weather { loss: 5, late: 20, late_ms: 60 })).await;
    lab.until("nodes up", || lab.edge.snapshot().nodes.iter().all(|n| n.rtt_us.is_some())).await;
    let calls = 240;
    for i in 0..calls {
        // Half of them end at a node, half go on to the far carrier and pass the edge twice.
        let to = ["+4930123001", "+4930124001"][(i % 2) as usize];
        lab.ends.place(&format!("lossy-{i}"), to, 300 + i % 7 * 60).await;
    }
    lab.ends.settled().await;
    lab.until("no dialog left", || lab.edge.snapshot().dialogs == 0).await;
    let books = lab.ends.ledger.snapshot();
    let lost: Vec<_> = books.calls.iter().filter(|c| c.final_code != Some(200)).collect();
    assert!(books.calls.len() as u64 == calls && lost.is_empty(), "{lost:#?}");
    let events = lab.stories().await;
    grammar::check(&events).unwrap();
    for call in &books.calls {
        let told = |what: &str| {
            let of = |e: &&SipTransaction| e.event_type == what && e.identity.call_id == *call.call_id;
            events.iter().filter(of).count()
        };
        assert_eq!((told("answered"), told("final"), told("refused")), (1, 0, 0), "{}", call.call_id);
    }
    let (lost, late) = lab.wires.iter().map(Lossy::counts).fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    println!("{calls} calls through {lost} lost and {late} overtaken packets, {} events", events.len());
    assert!(lost > 30 && late > 100, "{lost} lost, {late} late");
    assert_eq!(lab.life.stop().await.abandoned, Vec::<String>::new());
}
