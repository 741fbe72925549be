//! Two agents over a network that loses, repeats and reorders datagrams by seed, on a virtual clock.
//!
//! The property: whatever the network does short of cutting the line, every call reaches exactly one answer on both sides, each
//! event is reported once, and when traffic stops nothing is remembered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sim::rng::Rng;
use sim::sip::{Agent, AgentConfig, ClientTx, Dialog, Incoming, Message, ServerTx, Timing};

#[derive(Clone, Copy)]
struct Network {
    loss: f64,
    twice: f64,
    delay: Duration,
}

struct Flying {
    at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Default, Debug)]
struct Seen {
    requests: HashMap<String, u32>,
    acks: u32,
    cancelled: u32,
    finals: HashMap<u16, u32>,
    timeouts: u32,
    ack_timeouts: u32,
}

struct World {
    now: Instant,
    rng: Rng,
    network: Network,
    flying: Vec<Flying>,
    order: u64,
    caller: Agent,
    callee: Agent,
    caller_seen: Seen,
    callee_seen: Seen,
    invites: HashMap<ClientTx, Message>,
    ringing: HashMap<ServerTx, Message>,
    answer: u16,
}

fn caller_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn callee_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 5060))
}

fn invite(index: usize) -> Message {
    let mut invite = Message::request("INVITE", "sip:3000@10.0.0.2");
    invite.add("Max-Forwards", "70");
    invite.add("From", format!("<sip:a@10.0.0.1>;tag=f{index}"));
    invite.add("To", "<sip:3000@10.0.0.2>");
    invite.add("Call-ID", format!("call-{index}"));
    invite.add("CSeq", "1 INVITE");
    invite.add("Contact", "<sip:a@10.0.0.1:5060>");
    invite
}

impl World {
    fn new(seed: u64, network: Network, answer: u16) -> Self {
        let config = |local, seed| AgentConfig { local, seed, trying: true, timing: Timing::default() };
        Self {
            now: Instant::now(),
            rng: Rng::new(seed),
            network,
            flying: Vec::new(),
            order: 0,
            caller: Agent::new(config(caller_addr(), seed * 2)),
            callee: Agent::new(config(callee_addr(), seed * 2 + 1)),
            caller_seen: Seen::default(),
            callee_seen: Seen::default(),
            invites: HashMap::new(),
            ringing: HashMap::new(),
            answer,
        }
    }

    fn call(&mut self, index: usize) -> ClientTx {
        let message = invite(index);
        let tx = self.caller.send_request(self.now, message.clone(), callee_addr());
        self.invites.insert(tx, message);
        tx
    }

    /// Runs until nothing is on the way and no timer is armed, or `limit` has passed.
    fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            self.collect();
            let flying = self.flying.iter().map(|f| f.at).min();
            let next = [flying, self.caller.deadline(), self.callee.deadline()].into_iter().flatten().min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return,
            }
            self.caller.tick(self.now);
            self.callee.tick(self.now);
            self.deliver();
            self.react();
        }
    }

    fn collect(&mut self) {
        loop {
            let out = match self.caller.poll_transmit() {
                Some(datagram) => Some((caller_addr(), datagram)),
                None => self.callee.poll_transmit().map(|datagram| (callee_addr(), datagram)),
            };
            let Some((from, datagram)) = out else { return };
            let copies = if self.rng.chance(self.network.loss) {
                0
            } else if self.rng.chance(self.network.twice) {
                2
            } else {
                1
            };
            for _ in 0..copies {
                self.order += 1;
                let at = self.now + self.rng.duration(Duration::from_millis(1), self.network.delay);
                self.flying.push(Flying {
                    at,
                    order: self.order,
                    from,
                    to: datagram.to,
                    bytes: datagram.bytes.to_vec(),
                });
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, later): (Vec<_>, Vec<_>) = self.flying.drain(..).partition(|f| f.at <= now);
        self.flying = later;
        due.sort_by_key(|f| (f.at, f.order));
        for f in due {
            let agent = if f.to == caller_addr() { &mut self.caller } else { &mut self.callee };
            agent.handle_datagram(now, &f.bytes, f.from);
        }
    }

    fn react(&mut self) {
        while let Some(event) = self.callee.poll_event() {
            match event {
                Incoming::Request { tx, message, .. } => {
                    let method = message.method().expect("a request").to_owned();
                    *self.callee_seen.requests.entry(method.clone()).or_default() += 1;
                    match (method.as_str(), self.answer) {
                        ("INVITE", 180) => {
                            let ringing = Message::response_to(&message, 180, "Ringing", Some("t"));
                            self.callee.respond(self.now, tx, &ringing);
                            self.ringing.insert(tx, message);
                        }
                        ("INVITE", code) => {
                            let mut answer = Message::response_to(&message, code, "Final", Some("t"));
                            answer.add("Contact", "<sip:b@10.0.0.2:5060>");
                            self.callee.respond(self.now, tx, &answer);
                        }
                        _ => {
                            self.callee.respond(self.now, tx, &Message::response_to(&message, 200, "OK", Some("t")));
                        }
                    }
                }
                Incoming::Ack { .. } => self.callee_seen.acks += 1,
                Incoming::Cancelled { tx, .. } => {
                    self.callee_seen.cancelled += 1;
                    let invite = self.ringing.remove(&tx).expect("a cancelled INVITE rings");
                    let answer = Message::response_to(&invite, 487, "Request Terminated", Some("t"));
                    self.callee.respond(self.now, tx, &answer);
                }
                Incoming::AckTimeout { .. } => self.callee_seen.ack_timeouts += 1,
                Incoming::Response { .. } | Incoming::Timeout { .. } => panic!("the callee sends no requests"),
            }
        }
        while let Some(event) = self.caller.poll_event() {
            match event {
                Incoming::Response { tx, message, .. } if message.code() >= 200 => {
                    *self.caller_seen.finals.entry(message.code()).or_default() += 1;
                    let invited = message.cseq().is_some_and(|(_, method)| method == "INVITE");
                    if invited && message.code() < 300 {
                        let mut dialog = Dialog::caller(&self.invites[&tx], &message, callee_addr());
                        self.caller.ack(tx, dialog.ack(1), dialog.next_hop());
                        let bye = dialog.request("BYE");
                        self.caller.send_request(self.now, bye, dialog.next_hop());
                    }
                }
                Incoming::Response { .. } => {}
                Incoming::Timeout { .. } => self.caller_seen.timeouts += 1,
                other => panic!("the caller receives no requests: {other:?}"),
            }
        }
    }

    fn nothing_is_remembered(&self) -> bool {
        self.caller.open() == (0, 0) && self.callee.open() == (0, 0)
    }
}

const ROUGH: Network = Network { loss: 0.15, twice: 0.15, delay: Duration::from_millis(300) };
const CLEAN: Network = Network { loss: 0.0, twice: 0.0, delay: Duration::from_millis(2) };
const LONG: Duration = Duration::from_secs(600);

#[test]
fn answered_calls_end_once_on_both_sides_whatever_the_network_does() {
    for seed in 1..=30 {
        let mut world = World::new(seed, ROUGH, 200);
        for index in 0..40 {
            world.call(index);
        }
        world.run(LONG);
        assert_eq!(world.callee_seen.requests["INVITE"], 40, "seed {seed}");
        assert_eq!(world.callee_seen.requests["BYE"], 40, "seed {seed}");
        assert_eq!(world.callee_seen.acks, 40, "seed {seed}");
        assert_eq!(world.caller_seen.finals[&200], 80, "seed {seed}: INVITE and BYE of each call");
        assert_eq!((world.caller_seen.timeouts, world.callee_seen.ack_timeouts), (0, 0), "seed {seed}");
        assert!(world.nothing_is_remembered(), "seed {seed}: {:?} {:?}", world.caller.open(), world.callee.open());
        assert!(world.caller.stats().retransmitted > 0 && world.callee.stats().absorbed > 0, "the network was rough");
    }
}

#[test]
fn refused_calls_are_acknowledged_by_the_agent_itself() {
    for seed in 1..=30 {
        let mut world = World::new(seed, ROUGH, 486);
        for index in 0..40 {
            world.call(index);
        }
        world.run(LONG);
        assert_eq!(world.callee_seen.requests["INVITE"], 40, "seed {seed}");
        assert_eq!(world.caller_seen.finals, HashMap::from([(486, 40)]), "seed {seed}");
        assert_eq!(world.callee_seen.acks, 0, "the ACK of a failure is the transaction's own business");
        assert!(world.nothing_is_remembered(), "seed {seed}");
    }
}

#[test]
fn a_cancelled_call_ends_with_487_once() {
    for seed in 1..=30 {
        let mut world = World::new(seed, ROUGH, 180);
        let calls: Vec<_> = (0..40).map(|index| world.call(index)).collect();
        // Some are cancelled before any provisional came: the CANCEL must wait for it.
        world.run(Duration::from_millis(100));
        for tx in calls {
            assert!(world.caller.cancel(world.now, tx));
        }
        world.run(LONG);
        assert_eq!(world.callee_seen.cancelled, 40, "seed {seed}");
        assert_eq!(world.caller_seen.finals, HashMap::from([(487, 40)]), "seed {seed}");
        assert!(world.nothing_is_remembered(), "seed {seed}");
    }
}

#[test]
fn a_cancel_that_meets_an_answer_is_too_late() {
    let mut world = World::new(1, CLEAN, 200);
    let tx = world.call(0);
    world.run(Duration::from_millis(50));
    assert!(!world.caller.cancel(world.now, tx));
}

#[test]
fn a_dead_line_gives_one_timeout_after_timer_b() {
    let mut world = World::new(1, Network { loss: 1.0, ..CLEAN }, 200);
    world.call(0);
    world.run(Duration::from_millis(31_999));
    assert_eq!(world.caller_seen.timeouts, 0);
    world.run(Duration::from_secs(1));
    assert_eq!(world.caller_seen.timeouts, 1);
    // T1 doubling: sent at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
    assert_eq!(world.caller.stats().retransmitted, 6);
    assert!(world.nothing_is_remembered());
}

#[test]
fn a_2xx_without_ack_is_repeated_and_then_reported() {
    let mut world = World::new(1, CLEAN, 200);
    let message = {
        let mut message = invite(0);
        message.add_first("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKraw");
        message
    };
    world.callee.handle_datagram(world.now, &message.to_bytes(), caller_addr());
    world.react();
    world.run(LONG);
    assert_eq!(world.callee_seen.ack_timeouts, 1);
    assert!(world.callee.stats().retransmitted >= 8);
    assert!(world.nothing_is_remembered());
}

#[test]
fn a_cancel_for_nothing_gets_481_and_rubbish_is_counted() {
    let mut world = World::new(1, CLEAN, 200);
    let mut cancel = invite(0);
    cancel.start = Message::request("CANCEL", "sip:3000@10.0.0.2").start;
    cancel.set("CSeq", "1 CANCEL");
    cancel.add_first("Via", "SIP/2.0/UDP 10.0.0.1:5066;branch=z9hG4bKraw");
    world.callee.handle_datagram(world.now, &cancel.to_bytes(), caller_addr());
    world.callee.handle_datagram(world.now, b"rubbish", caller_addr());
    world.callee.handle_datagram(world.now, b"\r\n\r\n", caller_addr());
    let sent = world.callee.poll_transmit().expect("an answer");
    assert_eq!(Message::parse(&sent.bytes).unwrap().code(), 481);
    assert_eq!(sent.to, "10.0.0.1:5066".parse().unwrap(), "without rport the answer goes to the port in Via");
    assert_eq!(world.callee.stats().malformed, 1);
}

#[test]
fn a_second_2xx_and_one_after_a_failure_are_reported_and_repeated_failures_are_not() {
    let mut world = World::new(1, CLEAN, 200);
    world.call(0);
    let sent = world.caller.poll_transmit().expect("the INVITE");
    let invite = Message::parse(&sent.bytes).expect("our own INVITE");
    let mut reported = |code: u16, tag: &str| {
        let answer = Message::response_to(&invite, code, "Final", Some(tag));
        world.caller.handle_datagram(world.now, &answer.to_bytes(), callee_addr());
        matches!(world.caller.poll_event(), Some(Incoming::Response { message, .. }) if message.code() == code)
    };
    assert!(reported(486, "a"));
    assert!(!reported(486, "a"), "repeated: acknowledged below, not reported");
    assert!(reported(200, "b"), "late, from a branch that was believed lost");
    assert!(!reported(200, "b"), "repeated before its owner acknowledged it");
    assert!(reported(200, "c"), "a second branch");
}
