//! Under pressure: floods from strangers, and floods that bear a trunk's address. What the trunk itself sends must get through.

use std::collections::HashMap;
use std::net::SocketAddr;

use edge::Config;
use edge::core::{Input, Notice};

use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

/// A trunk that calls at an even pace, repeats itself as RFC 3261 has it, acknowledges, and hangs up at once.
struct Calls {
    from: SocketAddr,
    waiting: HashMap<String, (Msg, u64, u32)>,
    sent: u32,
    answered: u32,
    refused: u32,
    /// Longest from the first copy to the answer (µs).
    slowest: u64,
}

impl Calls {
    fn new(from: SocketAddr) -> Calls {
        Calls { from, waiting: HashMap::new(), sent: 0, answered: 0, refused: 0, slowest: 0 }
    }

    fn call(&mut self, w: &mut World) {
        let id = format!("real-{}-{}", self.from.ip(), self.sent);
        self.sent += 1;
        let m = invite(self.from, edge_trunk(), &id, "+4930123456", 1);
        w.send(self.from, &m);
        self.waiting.insert(id, (m, w.now.mono_us, 0));
    }

    fn repeat(&mut self, w: &mut World) {
        let now = w.now.mono_us;
        let due = |(_, sent, copies): &(Msg, u64, u32)| {
            now >= sent + [500_000, 1_500_000, 3_500_000, u64::MAX / 2][*copies as usize]
        };
        let late: Vec<Msg> = self
            .waiting
            .values_mut()
            .filter(|w| due(w))
            .map(|(m, _, copies)| {
                *copies += 1;
                m.clone()
            })
            .collect();
        late.iter().for_each(|m| w.send(self.from, m));
    }

    fn hear(&mut self, w: &mut World, m: &Msg) {
        if m.method() != "INVITE" || m.status() < 200 {
            return;
        }
        let Some((asked, sent, _)) = self.waiting.remove(m.call_id()) else { return };
        if m.status() == 200 {
            self.answered += 1;
            self.slowest = self.slowest.max(w.now.mono_us - sent);
            let mut dialog = Dialog::caller(self.from, m);
            for method in ["ACK", "BYE"] {
                let request = dialog.request(method);
                w.send(self.from, &request);
            }
        } else {
            self.refused += 1;
            w.send(self.from, &asked.ack_failure(m));
        }
    }
}

/// Delivers what is on the wire: nodes answer everything, callers hear.
fn deliver(w: &mut World, callers: &mut [&mut Calls]) {
    while let Some((hop, m)) = w.wire.pop_front() {
        if hop.addr == n1() || hop.addr == n2() {
            if m.status() == 0 && m.method() != "ACK" {
                let mut ok = m.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{}>", hop.addr));
                if m.method() == "INVITE" {
                    ok = ok.with("Content-Type", "application/sdp");
                    ok.body = SDP.to_owned();
                }
                w.send(hop.addr, &ok);
            }
        } else if let Some(calls) = callers.iter_mut().find(|c| c.from == hop.addr) {
            calls.hear(w, &m);
        }
    }
}

/// `seconds` of a flood at 20,000/s from an address, beside 50 calls a second of t1 and of t2.
fn flooded(
    config: Config,
    seconds: u64,
    from: impl Fn(u64) -> SocketAddr,
    packet: impl Fn(u64) -> Vec<u8>,
) -> (World, Calls, Calls) {
    let mut w = World::with(config);
    let (mut one, mut two) = (Calls::new(t1()), Calls::new(addr("192.0.2.20:5060")));
    for i in 0..seconds * 20_000 {
        w.send_raw(from(i), &packet(i));
        if i % 400 == 0 {
            one.call(&mut w);
            two.call(&mut w);
        }
        if i % 20 == 0 {
            deliver(&mut w, &mut [&mut one, &mut two]);
            one.repeat(&mut w);
            two.repeat(&mut w);
        }
        w.pass(std::time::Duration::from_micros(50));
    }
    for _ in 0..400 {
        deliver(&mut w, &mut [&mut one, &mut two]);
        one.repeat(&mut w);
        two.repeat(&mut w);
        w.pass_ms(10);
    }
    (w, one, two)
}

fn spoofed(method: &str, i: u64) -> Vec<u8> {
    let m = invite(t1(), edge_trunk(), &format!("flood-{i}"), "+4930999999", 1);
    Msg { start: m.start.replace("INVITE", method), ..m.set("CSeq", &format!("1 {method}")) }.bytes()
}

#[track_caller]
fn unharmed(calls: &Calls) {
    assert!(f64::from(calls.answered) >= 0.99 * f64::from(calls.sent), "{} of {}", calls.answered, calls.sent);
    assert!(calls.slowest <= 1_000_000, "{} µs", calls.slowest);
}

/// The nth packet of a flood.
type Packet = fn(u64) -> Vec<u8>;

#[test]
fn garbage_options_and_registers_from_a_trunks_address_leave_its_calls_alone() {
    let kinds: [(&str, Packet); 4] = [
        ("garbage", |i| format!("{i} not SIP at all, but long enough to be").into_bytes()),
        ("broken", |i| spoofed("INVITE", i).iter().map(|b| if *b == b';' { b'\x01' } else { *b }).collect()),
        ("options", |i| spoofed("OPTIONS", i)),
        ("register", |i| spoofed("REGISTER", i)),
    ];
    for (kind, packet) in kinds {
        let (w, one, two) = flooded(config(), 2, |_| t1(), packet);
        println!("{kind}: {} and {} of {}", one.answered, two.answered, one.sent);
        unharmed(&one);
        unharmed(&two);
        assert!(one.slowest < 100_000, "{kind}: calls were not even slowed down: {}", one.slowest);
        assert!(w.proxy.counters().packets_out < 3_500, "{kind}: {} packets went back", w.proxy.counters().packets_out);
        w.rejections.iter().for_each(|row| assert!(row.reasons.len() <= 8));
    }
}

#[test]
fn invites_from_a_trunks_address_that_nobody_repeats_leave_its_calls_alone() {
    let mut limited = config();
    limited.trunks.iter_mut().for_each(|t| t.cps = 100.0);
    let (w, one, two) = flooded(limited, 6, |_| t1(), |i| spoofed("INVITE", i));
    println!("{} of {}, slowest after {} ms", one.answered, one.sent, one.slowest / 1_000);
    unharmed(&one);
    unharmed(&two);
    assert!(two.slowest < 100_000, "the other trunk notices nothing");
    let counters = w.proxy.counters();
    assert!(counters.attempts < 1_000, "{} INVITEs went to nodes", counters.attempts);
    assert!(counters.taken_again >= 250, "{}", counters.taken_again);
    let told: i64 = w.rejections.iter().filter(|r| r.trunk_id.as_deref() == Some("t1")).map(|r| r.messages).sum();
    assert!(told > 115_000, "{told} are counted");
}

#[test]
fn over_a_connection_what_is_above_the_bucket_is_answered_at_once() {
    let mut limited = config();
    limited.trunks[0].cps = 1.0;
    limited.listeners[0].transport = edge::Transport::Tcp;
    limited.trunks[0].transports = vec![edge::Transport::Tcp];
    let mut w = World::with(limited);
    let flow = edge::core::Flow::new(std::num::NonZeroU64::MIN);
    let hop = edge::core::Hop::on(TRUNK_SIDE, t1(), flow);
    let mut statuses = Vec::new();
    for i in 0..6 {
        let bytes = invite(t1(), edge_trunk(), &format!("c{i}"), "+4930123456", 1).bytes();
        w.give(Input::Message { hop, identity: None, bytes: &bytes });
        while let Some((to, m)) = w.wire.pop_front() {
            if to.addr == t1() && m.method() == "INVITE" {
                assert_eq!(m.header("Retry-After"), "", "one trunk's limit says nothing about the edge");
                statuses.push(m.status());
            }
        }
    }
    assert_eq!(statuses, [100, 503, 503, 503, 503, 503], "the second by its limit, the rest by its bucket");
    assert_eq!(w.types(), ["attempt", "refused"]);
    assert_eq!(w.proxy.counters().above_rate, 4);
}

#[test]
fn a_flood_of_strangers_gets_nothing_back_and_is_told_in_few_rows_and_fewer_lines() {
    let from = |i: u64| {
        SocketAddr::from((std::net::Ipv4Addr::from(0x0b00_0000 + ((i as u32).wrapping_mul(2_654_435_761) >> 12)), 5060))
    };
    let bytes = invite(addr("11.0.0.1:5060"), edge_trunk(), "x", "+49", 1).bytes();
    let (w, one, two) = flooded(config(), 3, from, |_| bytes.clone());
    unharmed(&one);
    unharmed(&two);
    assert_eq!((one.answered, two.answered), (one.sent, two.sent));
    let counters = w.proxy.counters();
    assert_eq!(counters.denied_packets, 60_000);
    assert_eq!(w.raw.iter().filter(|(to, _)| to.ip().to_string().starts_with("11.")).count(), 0);
    let told: i64 = w.rejections.iter().map(|r| r.messages).sum();
    assert_eq!(told, 60_000, "each is counted once");
    assert!(w.rejections.len() <= 5 * 257, "{} rows", w.rejections.len());
    assert!(w.notices.len() <= 40, "{} lines", w.notices.len());
    let others = w.rejections.iter().find(|r| r.source == "others").unwrap();
    assert!(others.distinct_sources.unwrap() > 15_000);
}

#[test]
fn who_knocks_is_told_with_the_lines_that_would_let_it_in() {
    let mut w = World::new();
    let stranger = addr("203.0.113.9:5062");
    for i in 0..3 {
        w.send(stranger, &invite(stranger, edge_trunk(), &format!("a{i}"), "+4930123456", 1));
    }
    w.give(Input::Refused {
        hop: edge::core::Hop::to(TRUNK_SIDE, addr("203.0.113.10:40000")),
        reason: "unknown_source",
    });
    w.pass_ms(5_000);
    let [Notice::Knock(first), Notice::Knock(second)] = &w.notices[..] else { panic!("{:?}", w.notices) };
    assert_eq!(
        (first.knock.source.as_str(), first.messages, first.knock.listener.as_deref()),
        ("203.0.113.9", 3, Some("trunks"))
    );
    assert_eq!(second.knock.source, "203.0.113.10");
    assert_eq!(first.knock.admit, "[[edge.trunks]]\nid = \"from-203-0-113-9\"\nsources = [\"203.0.113.9\"]\n");
    let shown = w.proxy.snapshot(w.now.wall_us).knocking;
    assert_eq!(shown.iter().map(|k| k.messages).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(w.sent, 0);
}

#[test]
fn what_is_no_sip_is_not_parsed_and_answers_and_dialogs_always_pass() {
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("a");
    for i in 0..2_000 {
        w.send_raw(t1(), format!("GET /{i} HTTP/1.1\r\nHost: example.com\r\n\r\n").as_bytes());
        w.send_raw(t1(), &spoofed("OPTIONS", i));
    }
    w.wire.clear();
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.pass_ms(1_100);
    let row = &w.rejections[0];
    let count = |name: &str| row.reasons.iter().find(|r| r.name == name).map_or(0, |r| r.count);
    assert_eq!((count("not_sip"), count("rate")), (2_000, 1_980));
    assert_eq!(w.proxy.counters().malformed, 2_000);
}

#[test]
fn wrong_cookies_and_requests_that_belong_to_nothing_are_answered_only_so_often() {
    let mut w = World::new();
    for i in 0..1_000 {
        let m = invite(t1(), edge_trunk(), &format!("x{i}"), "+49", 1).set("To", "<sip:a@b>;tag=1");
        w.send_raw(t1(), &Msg { start: m.start.replace("INVITE", "INFO"), ..m.set("CSeq", "1 INFO") }.bytes());
        let m = invite(t1(), edge_trunk(), &format!("y{i}"), "+49", 1);
        w.send_raw(t1(), &m.cancel().bytes());
    }
    assert!(w.sent <= 210, "{} answers", w.sent);
    assert!(w.events.len() <= 100);
}
