//! Random peers on a bad network: packets are lost, doubled, late and out of order, callers give up, nodes are busy, silent,
//! challenge, ring for ever or die. The peers keep the timers of RFC 3261. Whatever they do, the books must balance:
//! at most one final response per transaction, one story per call, told to its end, and nothing left in the tables.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use edge::core::Input;
use proptest::prelude::*;
use schemas::grammar;

use super::text::{Dialog, Msg, invite};
use super::world::*;

const TICK_MS: u64 = 20;
const T1: u64 = 500;

#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A message that is sent again until somebody says stop.
struct Resend {
    m: Msg,
    to_edge_from: SocketAddr,
    next: u64,
    interval: u64,
    cap: u64,
    until: u64,
}

#[derive(Default)]
struct Outbox {
    /// By a key of the owner's choice.
    repeating: BTreeMap<String, Resend>,
    once: Vec<(SocketAddr, Msg)>,
}

impl Outbox {
    fn send(&mut self, from: SocketAddr, m: Msg) {
        self.once.push((from, m));
    }

    fn repeat(&mut self, key: String, now: u64, from: SocketAddr, m: Msg, cap: u64) {
        self.once.push((from, m.clone()));
        self.repeating
            .insert(key, Resend { m, to_edge_from: from, next: now + T1, interval: T1, cap, until: now + 64 * T1 });
    }

    fn stop(&mut self, key: &str) {
        self.repeating.remove(key);
    }

    fn tick(&mut self, now: u64) {
        self.repeating.retain(|_, r| now < r.until);
        for r in self.repeating.values_mut().filter(|r| now >= r.next) {
            r.interval = (r.interval * 2).min(r.cap);
            r.next = now + r.interval;
            self.once.push((r.to_edge_from, r.m.clone()));
        }
    }
}

struct Caller {
    id: String,
    cseq: u32,
    sent: Msg,
    cancel_at: Option<u64>,
    bye_at: Option<u64>,
    dialogs: HashMap<String, Dialog>,
    challenges_left: u32,
    /// Every final status seen, by CSeq: the invariant is checked on it.
    finals: BTreeMap<u32, Vec<u16>>,
    provisional: bool,
}

impl Caller {
    fn key(&self) -> String {
        format!("invite {} {}", self.id, self.cseq)
    }

    fn start(&mut self, now: u64, out: &mut Outbox) {
        self.sent = invite(t1(), edge_trunk(), &self.id, "+4930123456", self.cseq);
        self.provisional = false;
        out.repeat(self.key(), now, t1(), self.sent.clone(), u64::MAX);
    }

    fn tick(&mut self, now: u64, out: &mut Outbox) {
        let decided = self.finals.contains_key(&self.cseq);
        if self.cancel_at.is_some_and(|at| now >= at) && self.provisional && !decided {
            self.cancel_at = None;
            out.stop(&self.key());
            out.repeat(format!("cancel {}", self.id), now, t1(), self.sent.cancel(), 4_000);
        }
        if self.bye_at.is_some_and(|at| now >= at) && !self.dialogs.is_empty() {
            self.bye_at = None;
            for (tag, dialog) in &mut self.dialogs {
                let bye = dialog.request("BYE");
                out.repeat(format!("bye {} {tag}", self.id), now, t1(), bye, 4_000);
            }
        }
    }

    fn receive(&mut self, now: u64, m: &Msg, out: &mut Outbox, rng: &mut Rng) {
        match (m.method().to_owned().as_str(), m.status()) {
            ("INVITE", 100..=199) => {
                self.provisional = true;
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
            }
            ("INVITE", 200..=299) => {
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
                let seen = self.finals.entry(m.cseq()).or_default();
                if !seen.contains(&m.status()) {
                    seen.push(m.status());
                }
                let tag = m.tag("To").to_owned();
                let dialog = self.dialogs.entry(tag).or_insert_with(|| Dialog::caller(t1(), m));
                let mut ack = dialog.clone();
                ack.cseq = m.cseq();
                out.send(t1(), ack.request("ACK"));
                self.bye_at.get_or_insert(now + rng.below(6_000));
            }
            ("INVITE", status) if status >= 300 => {
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
                out.stop(&format!("cancel {}", self.id));
                let seen = self.finals.entry(m.cseq()).or_default();
                if !seen.contains(&status) {
                    seen.push(status);
                }
                if m.cseq() == self.cseq {
                    out.send(t1(), self.sent.ack_failure(m));
                    if status == 407 && self.challenges_left > 0 {
                        self.challenges_left -= 1;
                        self.cseq += 1;
                        self.start(now, out);
                    }
                }
            }
            ("BYE", 0) => {
                out.send(t1(), m.reply(200, "OK", ""));
                self.dialogs.remove(m.tag("From"));
            }
            ("BYE", status) if status >= 200 => out.stop(&format!("bye {} {}", self.id, m.tag("To"))),
            ("CANCEL", status) if status >= 200 => out.stop(&format!("cancel {}", self.id)),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    AnswersSilently,
    Busy,
    Unavailable,
    ServerError,
    Challenges,
    Silent,
    RingsForEver,
    Redirects,
}

/// What a node holds for one INVITE.
struct Leg {
    offered: Msg,
    answer_at: Option<u64>,
    hang_up_at: Option<u64>,
    final_sent: Option<Msg>,
    dialog: Option<Dialog>,
}

struct Node {
    at: SocketAddr,
    alive: bool,
    legs: HashMap<String, Leg>,
    next: u64,
}

impl Node {
    fn tick(&mut self, now: u64, out: &mut Outbox) {
        for (branch, leg) in &mut self.legs {
            if leg.answer_at.is_some_and(|at| now >= at) && leg.final_sent.is_none() {
                self.next += 1;
                let ok = leg
                    .offered
                    .reply(200, "OK", &format!("n{}x{}", self.at.port() + self.at.ip().is_ipv4() as u16, branch))
                    .with("Contact", &format!("<sip:n@{}>", self.at));
                leg.final_sent = Some(ok.clone());
                leg.dialog = Some(Dialog::callee(self.at, &leg.offered, &ok));
                out.repeat(format!("final {branch}"), now, self.at, ok, 4_000);
            }
            if leg.hang_up_at.is_some_and(|at| now >= at)
                && let Some(dialog) = &mut leg.dialog
            {
                leg.hang_up_at = None;
                let bye = dialog.request("BYE");
                out.repeat(format!("bye {branch}"), now, self.at, bye, 4_000);
            }
        }
    }

    fn receive(&mut self, now: u64, m: &Msg, mood: Mood, out: &mut Outbox, rng: &mut Rng) {
        let branch = m.branch().to_owned();
        match (m.method(), m.status()) {
            ("INVITE", 0) => {
                if let Some(leg) = self.legs.get(&branch) {
                    if let Some(last) = &leg.final_sent {
                        out.send(self.at, last.clone());
                    }
                    return;
                }
                if mood == Mood::Silent {
                    return;
                }
                if rng.chance(70) {
                    out.send(self.at, m.reply(100, "Trying", ""));
                }
                let mut leg =
                    Leg { offered: m.clone(), answer_at: None, hang_up_at: None, final_sent: None, dialog: None };
                let refuse = |status, reason: &str| Some(m.reply(status, reason, &format!("r{branch}")));
                let failure = match mood {
                    Mood::Busy => refuse(486, "Busy Here"),
                    Mood::Unavailable => refuse(503, "Service Unavailable"),
                    Mood::ServerError => refuse(500, "Server Error"),
                    Mood::Challenges => refuse(407, "Proxy Authentication Required"),
                    Mood::Redirects => refuse(302, "Moved Temporarily"),
                    _ => None,
                };
                match failure {
                    Some(m) => {
                        leg.final_sent = Some(m.clone());
                        out.repeat(format!("final {branch}"), now, self.at, m, 4_000);
                    }
                    None => {
                        if mood != Mood::AnswersSilently {
                            out.send(self.at, m.reply(180, "Ringing", &format!("n{branch}")));
                        }
                        if mood != Mood::RingsForEver {
                            leg.answer_at = Some(now + rng.below(3_000));
                            leg.hang_up_at = rng.chance(50).then(|| now + 3_000 + rng.below(6_000));
                        }
                    }
                }
                self.legs.insert(branch, leg);
            }
            ("ACK", 0) => {
                // Of a failure it carries the branch, of a 2xx the dialog.
                out.stop(&format!("final {branch}"));
                for (branch, leg) in &self.legs {
                    if leg.final_sent.as_ref().is_some_and(|f| f.call_id() == m.call_id() && f.tag("To") == m.tag("To"))
                    {
                        out.stop(&format!("final {branch}"));
                    }
                }
            }
            ("CANCEL", 0) => {
                out.send(self.at, m.reply(200, "OK", "c"));
                if let Some(leg) = self.legs.get_mut(&branch)
                    && leg.final_sent.is_none()
                {
                    let end = leg.offered.reply(487, "Request Terminated", &format!("r{branch}"));
                    leg.final_sent = Some(end.clone());
                    leg.answer_at = None;
                    out.repeat(format!("final {branch}"), now, self.at, end, 4_000);
                }
            }
            ("BYE", 0) => {
                out.send(self.at, m.reply(200, "OK", ""));
                for (branch, leg) in &mut self.legs {
                    if leg.dialog.as_ref().is_some_and(|d| d.call_id == m.call_id()) {
                        leg.hang_up_at = None;
                        out.stop(&format!("final {branch}"));
                    }
                }
            }
            ("BYE", status) if status >= 200 => {
                let done =
                    self.legs.iter().filter(|(_, l)| l.dialog.as_ref().is_some_and(|d| d.call_id == m.call_id()));
                done.for_each(|(branch, _)| out.stop(&format!("bye {branch}")));
            }
            _ => {}
        }
    }
}

struct Weather {
    loss: u64,
    double: u64,
    delay_ms: u64,
}

struct Storm {
    w: World,
    rng: Rng,
    weather: Weather,
    callers: Vec<Caller>,
    nodes: [Node; 2],
    out_callers: Outbox,
    out_nodes: [Outbox; 2],
    /// Delivery time, place in line, and the packet: towards the edge (from, bytes) or away from it (to).
    air: BTreeMap<(u64, u64), (bool, SocketAddr, Msg)>,
    line: u64,
    clock: u64,
}

impl Storm {
    fn new(seed: u64, loss: u64, calls: usize) -> Storm {
        let mut config = config();
        config.timers.max_call_s = 300;
        let mut rng = Rng(seed);
        let callers = (0..calls)
            .map(|i| Caller {
                id: format!("call-{i}"),
                cseq: 1,
                sent: invite(t1(), edge_trunk(), "x", "1", 1),
                cancel_at: rng.chance(25).then(|| rng.below(4_000)),
                bye_at: None,
                dialogs: HashMap::new(),
                challenges_left: 2,
                finals: BTreeMap::new(),
                provisional: false,
            })
            .collect();
        let node = |at| Node { at, alive: true, legs: HashMap::new(), next: 0 };
        Storm {
            w: World::with(config),
            rng,
            weather: Weather { loss, double: 5, delay_ms: 60 },
            callers,
            nodes: [node(n1()), node(n2())],
            out_callers: Outbox::default(),
            out_nodes: [Outbox::default(), Outbox::default()],
            air: BTreeMap::new(),
            line: 0,
            clock: 0,
        }
    }

    fn launch(&mut self, to_edge: bool, who: SocketAddr, m: &Msg) {
        if self.rng.chance(self.weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(self.weather.double));
        for _ in 0..copies {
            let at = self.clock + self.rng.below(self.weather.delay_ms);
            self.line += 1;
            self.air.insert((at, self.line), (to_edge, who, m.clone()));
        }
    }

    fn step(&mut self) {
        self.clock += TICK_MS;
        self.w.pass_ms(TICK_MS);
        while let Some((hop, m)) = self.w.wire.pop_front() {
            self.launch(false, hop.addr, &m);
        }
        let later = self.air.split_off(&(self.clock, u64::MAX));
        for (_, (to_edge, who, m)) in std::mem::replace(&mut self.air, later) {
            if to_edge {
                self.w.send(who, &m);
                continue;
            }
            if who == t1() {
                let (out, rng) = (&mut self.out_callers, &mut self.rng);
                if let Some(caller) = self.callers.iter_mut().find(|c| c.id == m.call_id()) {
                    caller.receive(self.clock, &m, out, rng);
                }
            } else if let Some(i) = self.nodes.iter().position(|n| n.at == who) {
                if self.nodes[i].alive {
                    let moods = [
                        Mood::Answers,
                        Mood::Answers,
                        Mood::Answers,
                        Mood::AnswersSilently,
                        Mood::Busy,
                        Mood::Unavailable,
                        Mood::ServerError,
                        Mood::Challenges,
                        Mood::Silent,
                        Mood::RingsForEver,
                        Mood::Redirects,
                    ];
                    let mood = moods[self.rng.below(moods.len() as u64) as usize];
                    self.nodes[i].receive(self.clock, &m, mood, &mut self.out_nodes[i], &mut self.rng);
                } else if self.rng.chance(50) {
                    self.w.give(Input::Unreachable { to: who });
                }
            }
        }
        for caller in &mut self.callers {
            caller.tick(self.clock, &mut self.out_callers);
        }
        self.out_callers.tick(self.clock);
        for i in 0..2 {
            if self.nodes[i].alive {
                self.nodes[i].tick(self.clock, &mut self.out_nodes[i]);
                self.out_nodes[i].tick(self.clock);
            } else {
                self.out_nodes[i].once.clear();
            }
        }
        let mut packets = std::mem::take(&mut self.out_callers.once);
        self.out_nodes.iter_mut().for_each(|o| packets.append(&mut o.once));
        for (from, m) in packets {
            self.launch(true, from, &m);
        }
    }

    fn run(&mut self, kill: bool) {
        let every = 3;
        for tick in 0..(120_000 / TICK_MS) {
            let i = (tick / every) as usize;
            if tick % every == 0 && i < self.callers.len() {
                self.callers[i].cancel_at = self.callers[i].cancel_at.map(|at| at + self.clock);
                self.callers[i].start(self.clock, &mut self.out_callers);
            }
            if kill && tick == 60 {
                self.nodes[1].alive = false;
            }
            self.step();
        }
        self.w.wire.clear();
        self.w.pass(std::time::Duration::from_secs(700));
    }

    fn judge(&self) {
        for caller in &self.callers {
            for (cseq, finals) in &caller.finals {
                let success = finals.iter().filter(|s| **s < 300).count();
                assert!(finals.len() == 1 && success <= 1, "{} CSeq {cseq} saw {finals:?}", caller.id);
            }
        }
        if let Err(fault) = grammar::check(&self.w.events) {
            let story: Vec<_> = self
                .w
                .events
                .iter()
                .filter(|e| e.identity.call_id == fault.transaction.call_id)
                .map(|e| format!("{} cseq {} attempt {}", e.event_type, e.identity.cseq, e.attempt))
                .collect();
            panic!("{fault}\n{story:#?}");
        }
        let ids: std::collections::BTreeSet<_> = self
            .w
            .events
            .iter()
            .filter(|e| matches!(e.event_type.as_str(), "answered" | "final" | "refused"))
            .map(|e| (e.identity.call_id.clone(), e.identity.cseq))
            .collect();
        let told =
            self.w.events.iter().filter(|e| matches!(e.event_type.as_str(), "answered" | "final" | "refused")).count();
        assert_eq!(ids.len(), told, "one end of set-up per transaction");
        // What a caller heard is what was told.
        for caller in &self.callers {
            for (cseq, finals) in &caller.finals {
                let event = self.w.events.iter().find(|e| {
                    e.identity.call_id == caller.id
                        && e.identity.cseq == *cseq
                        && matches!(e.event_type.as_str(), "answered" | "final" | "refused")
                });
                let status = event.and_then(|e| e.outcome.as_ref()).and_then(|o| o.status);
                assert_eq!(status, Some(finals[0]), "{} CSeq {cseq}", caller.id);
            }
        }
        let s = self.w.proxy.snapshot(self.w.now.wall_us);
        assert_eq!((s.transactions, s.setting_up, s.dialogs), (0, 0, 0), "{s:#?}");
        assert!(s.nodes.iter().all(|n| n.calls_now == 0), "{s:#?}");
    }
}

#[test]
fn twenty_percent_loss_loses_no_story() {
    let mut storm = Storm::new(7, 20, 60);
    storm.run(false);
    storm.judge();
    let answered = storm.w.events.iter().filter(|e| e.event_type == "answered").count();
    assert!(answered > 10, "{answered} answered");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_peers_do_the_books_balance(seed in any::<u64>(), loss in prop::sample::select(vec![0u64, 5, 20, 40]), kill in any::<bool>()) {
        println!("seed {seed} loss {loss} kill {kill}");
        let mut storm = Storm::new(seed, loss, 30);
        storm.run(kill);
        storm.judge();
    }
}
