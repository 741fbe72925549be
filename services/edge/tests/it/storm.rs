//! Random peers on a bad network: packets are lost, doubled, late and out of order; callers give up, ask, refresh and hang up;
//! callees are busy, silent, challenge, answer twice or too late, die or start anew; the settings change meanwhile. Calls go from a trunk to nodes or from a
//! node to carriers. Whatever they do, the books must balance: at most one failure or any number of answers per transaction,
//! one story per call, told to its end by the grammar, every answer that a caller heard told, and nothing left in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use edge::core::Input;
use edge::core::dispatch::Algorithm;
use edge::{Config, Late2xx, PoolConfig};
use proptest::prelude::*;
use schemas::{Event, SipTransaction, grammar};

use super::peers::{Callee, Caller, MOODS, Outbox, Rng};
use super::text::Msg;
use super::world::*;

const TICK_MS: u64 = 20;

/// Each is a few minutes of calls; an unoptimised build has no time for all of them.
const RUNS: u32 = if cfg!(debug_assertions) { 40 } else { 200 };

/// What happens to the second callee after a second.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Lives,
    Dies,
    /// Silent for that many milliseconds, then there again without memory.
    Restarts(u64),
}

/// One run: everything follows from this.
#[derive(Clone, Copy, Debug)]
struct Scene {
    seed: u64,
    loss: u64,
    calls: usize,
    fate: Fate,
    outward: bool,
    late: Late2xx,
    /// The settings change all the time: peers come, go, and swap their places in the lists.
    reloads: bool,
}

impl Default for Scene {
    fn default() -> Scene {
        Scene { seed: 7, loss: 5, calls: 30, fate: Fate::Lives, outward: false, late: Late2xx::Relay, reloads: false }
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
    callees: [Callee; 2],
    fate: Fate,
    reloads: Option<Config>,
    out_callers: Outbox,
    out_callees: [Outbox; 2],
    /// Delivery time, place in line, and the packet: towards the edge (from, bytes) or away from it (to).
    air: BTreeMap<(u64, u64), (bool, SocketAddr, Msg)>,
    line: u64,
    clock: u64,
}

impl Storm {
    fn new(scene: Scene) -> Storm {
        let mut config = config();
        config.timers.max_call_s = 300;
        config.trunks.iter_mut().for_each(|t| t.late_2xx = scene.late);
        let mut rng = Rng(scene.seed);
        let (from, edge, to) =
            if scene.outward { (n1(), edge_node(), [c1(), c2()]) } else { (t1(), edge_trunk(), [n1(), n2()]) };
        let callers = (0..scene.calls).map(|i| Caller::new(format!("call-{i}"), from, edge, &mut rng)).collect();
        Storm {
            reloads: scene.reloads.then(|| config.clone()),
            w: World::with(config),
            rng,
            weather: Weather { loss: scene.loss, double: 5, delay_ms: 60 },
            callers,
            callees: to.map(Callee::new),
            fate: scene.fate,
            out_callers: Outbox::default(),
            out_callees: [Outbox::default(), Outbox::default()],
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
            } else {
                self.deliver(who, &m);
            }
        }
        for caller in &mut self.callers {
            caller.tick(self.clock, &mut self.out_callers);
        }
        self.out_callers.tick(self.clock);
        for (callee, out) in self.callees.iter_mut().zip(&mut self.out_callees).filter(|(c, _)| c.alive) {
            callee.tick(self.clock, out);
            out.tick(self.clock);
        }
        let mut packets = std::mem::take(&mut self.out_callers.once);
        self.out_callees.iter_mut().for_each(|o| packets.append(&mut o.once));
        for (from, m) in packets {
            self.launch(true, from, &m);
        }
    }

    fn deliver(&mut self, who: SocketAddr, m: &Msg) {
        if let Some(i) = self.callees.iter().position(|c| c.at == who) {
            if self.callees[i].alive {
                let mood = MOODS[self.rng.below(MOODS.len() as u64) as usize];
                self.callees[i].receive(self.clock, m, mood, &mut self.out_callees[i], &mut self.rng);
            } else if self.rng.chance(50) && self.fate == Fate::Dies {
                self.w.give(Input::Unreachable { to: who });
            }
        } else if let Some(caller) = self.callers.iter_mut().find(|c| c.id == m.call_id()) {
            caller.receive(self.clock, m, &mut self.out_callers, &mut self.rng);
        }
    }

    /// Any of them may be gone for a while, the callers' own peer too.
    fn reload(&mut self) {
        let Some(base) = self.reloads.clone() else { return };
        let rng = &mut self.rng;
        let (drop_node, drop_trunk, turn) = (rng.below(6), rng.below(10), rng.chance(50));
        let (heavy, algorithm) = (rng.below(4) as f64, rng.below(5) as usize);
        self.w.settings(|c| {
            c.nodes =
                base.nodes.iter().enumerate().filter(|(i, _)| *i as u64 != drop_node).map(|(_, n)| n.clone()).collect();
            c.trunks = base
                .trunks
                .iter()
                .enumerate()
                .filter(|(i, _)| *i as u64 != drop_trunk)
                .map(|(_, t)| t.clone())
                .collect();
            c.routes = base.routes.clone();
            c.routes.iter_mut().for_each(|r| r.trunks.retain(|id| c.trunks.iter().any(|t| &t.id == id)));
            c.nodes[0].weight = 0.5 + heavy;
            if turn {
                c.nodes.reverse();
                c.trunks.reverse();
            }
            let algorithm = [
                Algorithm::SmoothWeighted,
                Algorithm::RoundRobin,
                Algorithm::LeastUsed,
                Algorithm::Hash,
                Algorithm::TwoChoices,
            ][algorithm];
            c.pools = vec![PoolConfig { id: "inbound".into(), algorithm, ..PoolConfig::default() }];
        });
    }

    fn run(&mut self) {
        let every = 3;
        for tick in 0..(120_000 / TICK_MS) {
            let i = (tick / every) as usize;
            if tick % every == 0 && i < self.callers.len() {
                self.callers[i].cancel_at = self.callers[i].cancel_at.map(|at| at + self.clock);
                self.callers[i].start(self.clock, &mut self.out_callers);
            }
            if self.fate != Fate::Lives && tick == 60 {
                self.callees[1].dies(&mut self.out_callees[1]);
            }
            if let Fate::Restarts(after) = self.fate
                && tick == 60 + after / TICK_MS
            {
                self.callees[1].alive = true;
            }
            if tick % 35 == 34 && tick < 1_000 {
                self.reload();
            }
            self.step();
        }
        self.w.wire.clear();
        self.w.pass(std::time::Duration::from_secs(700));
    }

    fn of<'a>(&'a self, call: &'a str, cseq: u32) -> impl Iterator<Item = &'a SipTransaction> {
        self.w
            .events
            .iter()
            .filter(move |e| e.identity.call_id == call && e.identity.cseq == cseq && e.event_type != "transaction")
    }

    fn judge(&self) {
        if let Err(fault) = grammar::check(&self.w.events) {
            let story: Vec<_> = self
                .w
                .events
                .iter()
                .filter(|e| e.identity.call_id == fault.transaction.call_id)
                .map(|e| {
                    let i = &e.identity;
                    format!("{} {} cseq {} attempt {} to {:?}", e.event_type, i.method, i.cseq, e.attempt, i.to_tag)
                })
                .collect();
            panic!("{fault}\n{story:#?}");
        }
        let ids: BTreeSet<_> = self.w.events.iter().map(|e| (e.key(), e.logical_id())).collect();
        assert_eq!(ids.len(), self.w.events.len(), "no event passes for a copy of another");
        for caller in &self.callers {
            let cseqs: BTreeSet<u32> = caller.finals.keys().copied().collect();
            for cseq in cseqs {
                self.judge_caller(caller, cseq);
            }
        }
        let s = self.w.proxy.snapshot(self.w.now.wall_us);
        assert_eq!((s.transactions, s.setting_up, s.dialogs), (0, 0, 0), "{s:#?}");
        assert!(s.nodes.iter().all(|n| n.calls_now == 0), "{s:#?}");
    }

    /// What a caller heard is what was told: one failure, or answers of which each has its own event.
    fn judge_caller(&self, caller: &Caller, cseq: u32) {
        let finals = &caller.finals[&cseq];
        let statuses: BTreeSet<u16> = finals.iter().copied().collect();
        assert_eq!(statuses.len(), 1, "{} CSeq {cseq} saw {finals:?}", caller.id);
        let ends: Vec<_> = self
            .of(&caller.id, cseq)
            .filter(|e| matches!(e.event_type.as_str(), "answered" | "final" | "refused"))
            .collect();
        let story: Vec<_> = self.of(&caller.id, cseq).map(|e| e.event_type.as_str()).collect();
        assert_eq!(ends.len(), 1, "one end of set-up: {} CSeq {cseq} heard {finals:?}, told {story:?}", caller.id);
        let status = ends[0].outcome.as_ref().and_then(|o| o.status);
        assert_eq!(status, Some(finals[0]), "{} CSeq {cseq}", caller.id);
        let relayed: BTreeSet<&str> = self
            .of(&caller.id, cseq)
            .filter(|e| {
                let action = e.outcome.as_ref().and_then(|o| o.late_action.as_deref());
                e.event_type == "answered" || action == Some(grammar::FORWARDED)
            })
            .filter_map(|e| e.identity.to_tag.as_deref())
            .collect();
        for tag in caller.tags.get(&cseq).into_iter().flatten() {
            assert!(relayed.contains(tag.as_str()), "{} heard an answer that was not told: {tag}", caller.id);
        }
    }

    fn count(&self, what: &str) -> usize {
        self.w.events.iter().filter(|e| e.event_type == what).count()
    }
}

#[test]
fn twenty_percent_loss_loses_no_story() {
    for outward in [false, true] {
        let mut storm = Storm::new(Scene { loss: 20, calls: 60, outward, ..Scene::default() });
        storm.run();
        storm.judge();
        assert!(storm.count("answered") > 10, "{} answered", storm.count("answered"));
        assert!(storm.count("late_answer") > 0 && storm.count("transaction") > 0, "the storm has all of it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: RUNS, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_peers_do_the_books_balance(
        seed in any::<u64>(),
        loss in prop::sample::select(vec![0u64, 5, 20, 40]),
        fate in prop::sample::select(vec![Fate::Lives, Fate::Lives, Fate::Dies, Fate::Restarts(500), Fate::Restarts(8_000)]),
        outward in any::<bool>(),
        late in prop::sample::select(vec![Late2xx::Relay, Late2xx::EdgeBye]),
        reloads in any::<bool>(),
    ) {
        let scene = Scene { seed, loss, calls: 30, fate, outward, late, reloads };
        println!("{scene:?}");
        let mut storm = Storm::new(scene);
        storm.run();
        storm.judge();
    }
}
