//! Random calls by streams and datagrams, with connections that break at any moment: whatever happens, every story is told to
//! its end, nothing is answered twice, and everything is forgotten again.

use std::num::NonZeroU64;

use edge::core::{Flow, Hop, Input};
use edge::{ListenerConfig, Side, Transport};

use super::text::{Dialog, Msg, invite};
use super::world::*;

const TRUNK_TCP: u16 = 2;
const NODE_TCP: u16 = 3;

/// The numbers of a linear congruential generator: the same storm for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Storm {
    w: World,
    dice: Dice,
    flows: u64,
    /// The trunk's connection, and the nodes', by which they answer.
    trunk: Flow,
    nodes: [Flow; 2],
    finals: std::collections::HashMap<String, usize>,
    /// Branches of INVITEs that a node has acted on.
    acted_on: std::collections::HashSet<String>,
    answered: Vec<(Dialog, Hop)>,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut config = config();
        let bound = vec![edge_trunk(), edge_node(), addr("192.0.2.1:5062"), addr("10.0.0.1:5072")];
        let tcp = |id: &str, side, at: usize| ListenerConfig {
            id: id.into(),
            side,
            transport: Transport::Tcp,
            bind: bound[at],
            ..ListenerConfig::default()
        };
        config.listeners.extend([tcp("trunks-tcp", Side::Trunk, 2), tcp("nodes-tcp", Side::Node, 3)]);
        config.nodes.iter_mut().for_each(|n| n.transports = vec![Transport::Tcp]);
        let mut storm = Storm {
            w: World::bound(config, bound),
            dice: Dice(seed),
            flows: 0,
            trunk: Flow::new(NonZeroU64::MIN),
            nodes: [Flow::new(NonZeroU64::MIN); 2],
            finals: std::collections::HashMap::new(),
            acted_on: std::collections::HashSet::new(),
            answered: Vec::new(),
        };
        storm.trunk = storm.flow();
        storm.nodes = [storm.flow(), storm.flow()];
        storm
    }

    fn flow(&mut self) -> Flow {
        self.flows += 1;
        Flow::new(NonZeroU64::new(self.flows).unwrap())
    }

    fn trunk_line(&self) -> Hop {
        Hop::on(TRUNK_TCP, addr("192.0.2.10:41000"), self.trunk)
    }

    fn say(&mut self, hop: Hop, m: &Msg) {
        self.w.give(Input::Message { hop, identity: None, bytes: &m.bytes() });
    }

    fn call(&mut self, name: &str) {
        let m = invite(t1(), edge_trunk(), name, "+4930123456", 1);
        if self.dice.one_in(2) {
            return self.w.send(t1(), &m);
        }
        let contact = ["<sip:a@192.0.2.10:5060;transport=tcp>", "<sip:a@192.0.2.10:41000;transport=tcp>"];
        let m = m.set("Contact", contact[self.dice.below(2) as usize]);
        self.say(self.trunk_line(), &m);
        if self.dice.one_in(6) {
            self.say(self.trunk_line(), &m.cancel());
        }
    }

    /// One of the connections breaks, and is replaced by a new one.
    fn break_one(&mut self) {
        let fresh = self.flow();
        let which = self.dice.below(3) as usize;
        let old = match which {
            2 => std::mem::replace(&mut self.trunk, fresh),
            node => std::mem::replace(&mut self.nodes[node], fresh),
        };
        self.w.give(Input::FlowClosed { flow: old });
        if which < 2 {
            let hop = Hop::to(NODE_TCP, [n1(), n2()][which]);
            self.w.give(Input::NoConnection { hop, stood: true });
        }
    }

    /// Whoever got a message acts on it, or lets it lie.
    fn deliver(&mut self) {
        for _ in 0..self.w.wire.len() {
            let Some((hop, m)) = self.w.wire.pop_front() else { return };
            if hop.addr.ip().to_string().starts_with("10.") {
                self.at_node(hop, &m);
            } else {
                self.at_trunk(hop, &m);
            }
        }
    }

    fn at_node(&mut self, hop: Hop, m: &Msg) {
        let at = usize::from(hop.addr == n2());
        let back = Hop::on(NODE_TCP, hop.addr, self.nodes[at]);
        if m.status() > 0 || m.is("ACK", 0) {
            return;
        }
        if m.is("INVITE", 0) && self.dice.one_in(8) {
            return self.w.give(Input::NoConnection { hop: Hop { flow: None, ..hop }, stood: false });
        }
        if self.dice.one_in(8) {
            return;
        }
        if m.is("INVITE", 0) && !self.acted_on.insert(m.branch().to_owned()) {
            // A copy, by a new connection: its transaction is there and absorbs it.
            return;
        }
        let contact = format!("<sip:node@{}>", hop.addr);
        let reply = |status, text: &str| m.reply(status, text, &format!("node{at}")).with("Contact", &contact);
        match (m.method(), self.dice.below(6)) {
            ("INVITE", 0) => self.say(back, &reply(503, "Service Unavailable")),
            ("INVITE", 1) => self.say(back, &reply(486, "Busy Here")),
            ("INVITE", 2) => self.say(back, &reply(180, "Ringing")),
            _ => {
                let ok = reply(200, "OK");
                self.say(back, &ok);
                if m.is("INVITE", 0) && self.dice.one_in(2) {
                    let mut callee = Dialog::callee(hop.addr, m, &ok);
                    self.say(back, &callee.request("BYE"));
                }
            }
        }
    }

    fn at_trunk(&mut self, hop: Hop, m: &Msg) {
        let back = if hop.listener == TRUNK_TCP { self.trunk_line() } else { Hop::to(TRUNK_SIDE, t1()) };
        match (m.method(), m.status()) {
            ("INVITE", 200..) => {
                // By UDP a final answer is repeated until it is acknowledged; by a stream it comes once.
                if hop.listener == TRUNK_TCP {
                    *self.finals.entry(format!("{}/{}/{}", m.call_id(), m.status(), m.tag("To"))).or_default() += 1;
                }
                if m.status() >= 300 {
                    let mut ack = invite(t1(), edge_trunk(), m.call_id(), "+4930123456", 1).ack_failure(m);
                    ack.start = format!("ACK sip:+4930123456@{} SIP/2.0", edge_trunk());
                    return self.send(back, &ack);
                }
                let mut caller = Dialog::caller(t1(), m);
                let ack = caller.request("ACK");
                self.send(back, &ack);
                self.answered.push((caller, back));
            }
            ("BYE", 0) if !self.dice.one_in(8) => self.send(back, &m.reply(200, "OK", "")),
            _ => {}
        }
    }

    fn send(&mut self, hop: Hop, m: &Msg) {
        match hop.flow {
            Some(_) => self.say(hop, m),
            None => self.w.give(Input::Datagram { hop, bytes: &m.bytes() }),
        }
    }

    fn run(&mut self, steps: u64) {
        for step in 0..steps {
            if self.dice.one_in(2) {
                self.call(&format!("s{step}"));
            }
            if self.dice.one_in(5) {
                self.break_one();
            }
            if !self.answered.is_empty() && self.dice.one_in(3) {
                let at = self.dice.below(self.answered.len() as u64) as usize;
                let (mut caller, hop) = self.answered.swap_remove(at);
                let hop = if hop.flow.is_some() { self.trunk_line() } else { hop };
                let bye = caller.request("BYE");
                self.send(hop, &bye);
            }
            self.deliver();
            let pause = [1, 50, 700, 2_000][self.dice.below(4) as usize];
            self.w.pass_ms(pause);
        }
        // What is still open ends by itself: time-outs, and the longest call.
        for _ in 0..40 {
            self.deliver();
            self.w.pass_ms(10_000);
        }
        self.w.wire.clear();
        self.w.pass(std::time::Duration::from_secs(4 * 3_600 + 600));
    }
}

#[test]
fn every_story_ends_whatever_connections_do() {
    for seed in 0..60 {
        let mut storm = Storm::new(seed);
        storm.run(60);
        let snapshot = storm.w.proxy.snapshot(storm.w.now.wall_us);
        assert_eq!((snapshot.transactions, snapshot.setting_up, snapshot.dialogs), (0, 0, 0), "seed {seed}");
        assert!(snapshot.nodes.iter().all(|n| n.calls_now == 0), "seed {seed}: {snapshot:#?}");
        storm.w.books();
        assert!(storm.finals.values().all(|&n| n == 1), "seed {seed}: {:?}", storm.finals);
    }
}
