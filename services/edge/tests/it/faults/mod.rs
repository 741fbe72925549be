//! The faults of DESIGN §4 as they happen: processes killed and stopped in the middle of calls, seen by strangers from outside.

mod agents;
mod process;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::{Config, NodeConfig, TrunkConfig};
use rustix::process::Signal;
use schemas::{Event, SipTransaction, grammar};
use stream::{EmbeddedLog, EventLog, Start, Subscription};

use agents::{Caller, CallerView, Node, NodeView, Script, Stand, ms, socket};
use process::{Process, ready};

/// One lab at a time: each wants its calls at its rate.
static QUIET: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

struct Lab {
    dir: tempfile::TempDir,
    edge: Process,
    trunk_side: SocketAddr,
    trunk: UdpSocket,
}

fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Lab {
    /// With a busy machine under it an agent may be late; that must not look like a dead node where nodes do not die.
    fn patient(nodes: &[SocketAddr]) -> Lab {
        let mut config = Config::default();
        config.probe.enabled = false;
        config.timers.first_response_node_ms = 10_000;
        Lab::start(config, nodes)
    }

    fn start(config: Config, nodes: &[SocketAddr]) -> Lab {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let trunk = socket();
        let mut config = Config {
            trunks: vec![TrunkConfig {
                id: "north".into(),
                sources: vec![edge::Source::Port(trunk.local_addr().unwrap())],
                ..TrunkConfig::default()
            }],
            nodes: nodes
                .iter()
                .enumerate()
                .map(|(i, &address)| NodeConfig {
                    id: format!("n{i}"),
                    address: address.into(),
                    ..NodeConfig::default()
                })
                .collect(),
            drain_ms: 100,
            ..config
        };
        config.listeners.iter_mut().for_each(|listener| listener.bind = free());
        let trunk_side = config.listeners[0].bind;
        std::fs::write(dir.path().join("edge.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        let edge = Process::edge(dir.path());
        ready(&trunk, trunk_side);
        Lab { dir, edge, trunk_side, trunk }
    }

    fn caller(&self, script: Script) -> Caller {
        Caller::start(self.trunk.try_clone().unwrap(), self.trunk_side, script)
    }

    fn kill_and_restart(&mut self) {
        self.edge.kill();
        self.edge = Process::edge(self.dir.path());
    }

    /// Everything that was told, in the order of the edge's clock, and how many copies were among it.
    fn told(mut self) -> (Vec<SipTransaction>, usize) {
        self.edge.stop();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut events = runtime.block_on(async {
            let log = EmbeddedLog::open_read_only(self.dir.path().join("log")).unwrap();
            let log: Arc<dyn EventLog> = log;
            let bounds = log.bounds(SipTransaction::TOPIC).await.unwrap();
            let total: i64 = bounds.iter().map(|b| b.end - b.begin).sum();
            let all = Subscription { group: None, topics: vec![SipTransaction::TOPIC], start: Start::Beginning };
            let mut source = log.subscribe(all).await.unwrap();
            let mut events = Vec::new();
            let deadline = Instant::now() + Duration::from_secs(60);
            while (events.len() as i64) < total {
                assert!(Instant::now() < deadline, "{} of {total}", events.len());
                for record in source.poll(1_000, ms(200)).await.unwrap() {
                    events.push(schemas::decode::<SipTransaction>(record.value.as_deref().unwrap()).unwrap());
                }
            }
            events
        });
        events.sort_by_key(|e| (e.occurred_mono_us, e.envelope.producer_epoch, e.envelope.seq));
        // Those of OPTIONS, by which the lab knows that the edge is up.
        events.retain(|e| e.event_type != "transaction");
        let (all, mut seen) = (events.len(), HashSet::new());
        events.retain(|e| seen.insert((e.key(), e.logical_id())));
        let copies = all - events.len();
        (events, copies)
    }
}

fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= deadline {
            eprintln!("not within {limit:?}: {what}");
            return false;
        }
        std::thread::sleep(ms(20));
    }
    true
}

fn is_over(stand: &Stand) -> bool {
    matches!(stand, Stand::Ended(_) | Stand::Failed(_))
}

fn count(view: &CallerView, wanted: impl Fn(&Stand) -> bool) -> usize {
    view.calls.values().filter(|s| wanted(s)).count()
}

/// One INVITE per call over all nodes together, and one call id.
fn one_each(views: &[NodeView]) {
    let mut branches: BTreeMap<&str, BTreeSet<(usize, &str)>> = BTreeMap::new();
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (node, view) in views.iter().enumerate() {
        for (call, list) in &view.branches {
            branches.entry(call).or_default().extend(list.iter().map(|b| (node, b.as_str())));
        }
        for (call, list) in &view.call_ids {
            ids.entry(call).or_default().extend(list.iter().map(String::as_str));
        }
    }
    let twice: Vec<_> = branches.iter().filter(|(_, set)| set.len() != 1).collect();
    assert!(twice.is_empty(), "more than one INVITE: {twice:?}");
    let several: Vec<_> = ids.iter().filter(|(_, set)| set.len() != 1).collect();
    assert!(several.is_empty(), "more than one call id: {several:?}");
}

/// The stories of all calls: grammatical, closed, under one call id each.
fn stories(events: &[SipTransaction], calls: usize) {
    if let Err(fault) = grammar::check(events) {
        let call = &fault.transaction.call_id;
        let story: Vec<_> = events.iter().filter(|e| &e.identity.call_id == call).map(|e| &e.event_type).collect();
        panic!("{fault}: {story:?}");
    }
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in events {
        ids.entry(&event.identity.call_id).or_default().insert(&event.call_root_id);
    }
    assert!(ids.values().all(|set| set.len() == 1), "a call with two call ids");
    assert_eq!(ids.len(), calls, "calls that were told");
}

/// 100 calls a second, `kill -9` in the middle of them, and a new start at once.
fn killed_during_set_up(phase: &str, script: Script, frozen_first: bool, completes: impl Fn(&Stand) -> bool) {
    const CALLS: usize = 300;
    let _quiet = QUIET.lock();
    let nodes = [Node::start(socket(), script), Node::start(socket(), script)];
    let mut lab = Lab::patient(&nodes.each_ref().map(|n| n.addr));
    let caller = lab.caller(script);
    let start = Instant::now();
    for i in 0..CALLS {
        let at = start + ms(10 * i as u64);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        caller.place(&format!("{phase}-{i}"));
        if i == CALLS / 2 {
            if frozen_first {
                // What arrives now is never read: the 100 is not sent.
                lab.edge.signal(Signal::STOP);
                std::thread::sleep(ms(100));
            }
            lab.kill_and_restart();
        }
    }
    until("all calls are over", Duration::from_secs(60), || count(&caller.view(), is_over) == CALLS);
    let view = caller.view();
    let done = count(&view, completes);
    let others: Vec<_> = view.calls.iter().filter(|(_, s)| !is_over(s)).take(5).collect();
    println!("kill -9 {phase}: {done} of {CALLS} complete");
    assert!(done * 100 >= CALLS * 99, "{done} of {CALLS} complete; not over: {others:?}");
    one_each(&nodes.each_ref().map(Node::view));
    drop(caller);
    let (events, copies) = lab.told();
    println!("kill -9 {phase}: {} events, {copies} copies", events.len());
    if done == CALLS {
        stories(&events, CALLS);
    } else {
        grammar::check_so_far(&events).unwrap();
    }
}

fn hung_up(stand: &Stand) -> bool {
    *stand == Stand::Ended(200)
}

fn normal() -> Script {
    Script { ring: ms(20), answer: ms(50), hold: Some(ms(500)), ..Script::default() }
}

#[test]
fn kill_nine_before_the_100_completes_the_calls() {
    killed_during_set_up("before-100", normal(), true, hung_up);
}

#[test]
fn kill_nine_after_the_100_completes_the_calls() {
    killed_during_set_up("after-100", Script { silent: ms(400), ..normal() }, false, hung_up);
}

#[test]
fn kill_nine_while_ringing_completes_the_calls() {
    killed_during_set_up("ringing", Script { answer: ms(900), ..normal() }, false, hung_up);
}

#[test]
fn kill_nine_after_the_200_completes_the_calls() {
    killed_during_set_up("200-sent", Script { ack: ms(400), ..normal() }, false, hung_up);
}

#[test]
fn kill_nine_around_the_cancel_completes_the_calls() {
    let script = Script { ring: ms(20), answer: Duration::from_secs(60), cancel: Some(ms(200)), ..Script::default() };
    killed_during_set_up("cancel", script, false, |stand| *stand == Stand::Failed(487));
}

#[test]
fn kill_nine_with_2000_established_calls_and_all_byes_are_answered() {
    const CALLS: usize = 2_000;
    let _quiet = QUIET.lock();
    let script = Script::default();
    let nodes = [Node::start(socket(), script), Node::start(socket(), script)];
    let mut lab = Lab::patient(&nodes.each_ref().map(|n| n.addr));
    let caller = lab.caller(script);
    for i in 0..CALLS {
        caller.place(&format!("up-{i}"));
        std::thread::sleep(ms(5));
    }
    assert!(until("all calls are up", Duration::from_secs(60), || count(&caller.view(), |s| *s == Stand::Up) == CALLS));
    lab.kill_and_restart();
    caller.hang_up_all();
    until("all calls are over", Duration::from_secs(60), || count(&caller.view(), is_over) == CALLS);
    let view = caller.view();
    let longest = view.bye_waits.iter().max().copied().unwrap_or_default();
    println!("kill -9 with {CALLS} calls: {} BYEs answered 200, longest {longest:?}", count(&view, hung_up));
    assert_eq!(count(&view, hung_up), CALLS);
    one_each(&nodes.each_ref().map(Node::view));
    drop(caller);
    let (events, copies) = lab.told();
    println!("kill -9 with {CALLS} calls: {} events, {copies} copies", events.len());
    stories(&events, CALLS);
    for event in events.iter().filter(|e| e.event_type == "ended") {
        let end = event.dialog.as_ref().unwrap();
        let timing = event.timing.as_ref().unwrap();
        let (bye, answered) = (timing.t_bye_us.unwrap(), timing.t_final_us.unwrap());
        assert_eq!(end.talk_us, Some(bye - answered), "{}", event.identity.call_id);
        assert!(end.talk_us.unwrap() > 0);
    }
}

#[test]
fn a_node_that_stands_still_for_20_seconds_costs_no_call_and_gets_no_bye_from_the_edge() {
    const CALLS: usize = 500;
    let _quiet = QUIET.lock();
    let address = free();
    let node = Process::node(address.port());
    let lab = Lab::start(Config::default(), &[address]);
    let caller = lab.caller(Script::default());
    for i in 0..CALLS {
        caller.place(&format!("still-{i}"));
        std::thread::sleep(ms(5));
    }
    assert!(until("all calls are up", Duration::from_secs(60), || count(&caller.view(), |s| *s == Stand::Up) == CALLS));
    node.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(20));
    node.signal(Signal::CONT);
    // Probes find it again: two answers in a row.
    std::thread::sleep(Duration::from_secs(4));
    let view = caller.view();
    println!("node stopped 20 s with {CALLS} calls: {} BYEs from the edge", view.byes);
    assert_eq!(view.byes, 0);
    assert_eq!(count(&view, |s| *s == Stand::Up), CALLS);
    caller.hang_up_all();
    assert!(until("all calls are over", Duration::from_secs(60), || count(&caller.view(), hung_up) == CALLS));
    drop(caller);
    let (events, _) = lab.told();
    stories(&events, CALLS);
    assert!(events.iter().all(|e| e.event_type != "lost"));
}
