//! What a call costs inside the machine, without sockets and encoding; the bound is loose enough for a busy machine.

use std::time::{Duration, Instant};

use edge::core::{Action, Hop, Input};

use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

struct Meter {
    w: World,
    spent: Duration,
    messages: u32,
}

impl Meter {
    fn give(&mut self, from: std::net::SocketAddr, m: &Msg) -> Vec<(std::net::SocketAddr, Msg)> {
        let bytes = m.bytes();
        let listener = if from.ip().to_string().starts_with("10.") { NODE_SIDE } else { TRUNK_SIDE };
        let mut actions = Vec::with_capacity(8);
        let start = Instant::now();
        self.w.proxy.handle(self.w.now, Input::Datagram { hop: Hop::to(listener, from), bytes: &bytes });
        while let Some(action) = self.w.proxy.poll() {
            actions.push(action);
        }
        self.spent += start.elapsed();
        self.messages += 1;
        self.w.now = self.w.now.plus_us(50);
        let send = |a: Action| match a {
            Action::Send { hop, bytes } => Some((hop.addr, Msg::parse(&bytes))),
            _ => None,
        };
        actions.into_iter().filter_map(send).collect()
    }
}

#[test]
fn a_whole_call_costs_the_machine_microseconds() {
    let mut best = f64::MAX;
    for round in 0..5 {
        let mut meter = Meter { w: World::new(), spent: Duration::ZERO, messages: 0 };
        let calls = 1_000;
        for i in 0..calls {
            let out = meter.give(t1(), &invite(t1(), edge_trunk(), &format!("c{round}-{i}"), "+4930123456", 1));
            let (node, offered) = out.into_iter().find(|(_, m)| m.is("INVITE", 0)).unwrap();
            meter.give(node, &offered.reply(100, "Trying", ""));
            meter.give(node, &offered.reply(180, "Ringing", "b"));
            let mut ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>"));
            ok.body = SDP.to_owned();
            let answer = meter.give(node, &ok).pop().unwrap().1;
            let mut caller = Dialog::caller(t1(), &answer);
            let ack = caller.request("ACK");
            meter.give(t1(), &ack);
            let bye = caller.request("BYE");
            let seen = meter.give(t1(), &bye).pop().unwrap().1;
            meter.give(node, &seen.reply(200, "OK", ""));
        }
        best = best.min(meter.spent.as_micros() as f64 / f64::from(calls));
        assert_eq!(meter.messages, 7 * calls as u32);
    }
    println!("one answered call (7 messages in, 8 out, 3 events): {best:.1} µs");
    let limit = if cfg!(debug_assertions) { 2_000.0 } else { 150.0 };
    assert!(best < limit, "{best} µs");
}

#[test]
fn a_stranger_costs_less_than_200_nanoseconds() {
    let bytes = invite(addr("203.0.113.9:5060"), edge_trunk(), "a", "+49", 1).bytes();
    // A few thousand that come again and again, and a new one with every packet.
    for sources in [5_000u32, u32::MAX] {
        let mut best = f64::MAX;
        for round in 0..5u32 {
            let mut w = World::new();
            let rounds = 100_000;
            let start = Instant::now();
            for i in 0..rounds {
                let ip = 0xcb00_7100 + (round * rounds + i) % sources;
                let from = std::net::SocketAddr::from((std::net::Ipv4Addr::from(ip), 5060));
                w.proxy.handle(w.now, Input::Datagram { hop: Hop::to(TRUNK_SIDE, from), bytes: &bytes });
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
            assert!(w.proxy.poll().is_none());
        }
        println!("a datagram of a stranger, one of {sources}: {best:.0} ns");
        let limit = if cfg!(debug_assertions) { 50_000.0 } else { 200.0 };
        assert!(best < limit, "{best} ns");
    }
}
