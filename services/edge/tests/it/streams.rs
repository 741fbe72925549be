//! Streams in the machine: which way requests and answers take, what a lost connection means, large requests, IPv6.

use std::num::NonZeroU64;

use edge::core::{Flow, FlowIdentity, Hop, Input};
use edge::{Config, ListenerConfig, Side, Transport};

use super::text::{Dialog, Msg, invite};
use super::world::*;

const TRUNK_TCP: u16 = 2;
const NODE_TCP: u16 = 3;
const TRUNK_SIX: u16 = 4;

fn flow(number: u64) -> Flow {
    Flow::new(NonZeroU64::new(number).unwrap())
}

/// The trunk's connection: from a port of its own choice.
fn line(number: u64) -> Hop {
    Hop::on(TRUNK_TCP, addr("192.0.2.10:41000"), flow(number))
}

fn world(change: impl FnOnce(&mut Config)) -> World {
    let mut config = config();
    let bound = [
        edge_trunk(),
        edge_node(),
        addr("192.0.2.1:5062"),
        addr("10.0.0.1:5072"),
        addr("[2001:db8::1]:5060"),
        addr("10.0.0.2:5070"),
    ];
    let listener = |id: &str, side, transport, at: usize| ListenerConfig {
        id: id.into(),
        side,
        transport,
        bind: bound[at],
        ..ListenerConfig::default()
    };
    config.listeners.extend([
        listener("trunks-tcp", Side::Trunk, Transport::Tcp, 2),
        listener("nodes-tcp", Side::Node, Transport::Tcp, 3),
        listener("trunks-six", Side::Trunk, Transport::Udp, 4),
    ]);
    change(&mut config);
    World::journaled_at(config, bound.to_vec(), 256 * 1024)
}

fn by_tcp(m: Msg) -> Msg {
    let via = m.header("Via").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let mut m = m;
    m.headers.iter_mut().filter(|(name, _)| name == "Via").for_each(|(_, value)| value.clone_from(&via));
    m
}

impl World {
    fn message(&mut self, hop: Hop, m: &Msg) {
        self.give(Input::Message { hop, identity: None, bytes: &m.bytes() });
    }

    fn next(&mut self, method: &str, status: u16) -> (Hop, Msg) {
        let (hop, m) = self.wire.pop_front().expect("something on the wire");
        assert!(m.is(method, status), "expected {method} {status}, got {m:#?}");
        (hop, m)
    }

    /// A call by TCP from the trunk to a UDP node: the caller's dialog, the node's, and the node.
    fn tcp_call(&mut self, contact: &str) -> (Dialog, Dialog, std::net::SocketAddr) {
        let m = by_tcp(invite(t1(), addr("192.0.2.1:5062"), "a", "+4930123456", 1)).set("Contact", contact);
        self.message(line(1), &m);
        assert_eq!(self.next("INVITE", 100).0, line(1));
        let (to_node, offered) = self.next("INVITE", 0);
        assert_eq!((to_node.listener, to_node.flow), (NODE_SIDE, None));
        let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{}>", to_node.addr));
        self.send(to_node.addr, &ok);
        let (back, answer) = self.next("INVITE", 200);
        assert_eq!(back, line(1), "the answer takes the connection of the request");
        let routes = answer.all("Record-Route");
        assert!(routes[0].ends_with("@10.0.0.1:5070;lr>"), "{routes:?}");
        assert!(routes[1].ends_with("@192.0.2.1:5062;transport=tcp;lr>"), "{routes:?}");
        let mut caller = Dialog::caller(t1(), &answer);
        let callee = Dialog::callee(to_node.addr, &offered, &ok);
        let ack = by_tcp(caller.request("ACK"));
        self.message(line(1), &ack);
        self.next("ACK", 0);
        (caller, callee, to_node.addr)
    }
}

#[test]
fn a_call_by_tcp_reaches_a_udp_node_and_comes_back_by_its_connection() {
    let mut w = world(|_| {});
    let (_, mut callee, node) = w.tcp_call("<sip:uac@192.0.2.10:5060;transport=tcp>");
    let transport = w.event("attempt").transport.clone().unwrap();
    assert_eq!((transport.transport.as_deref(), transport.source_port), (Some("tcp"), Some(41000)));
    let reinvite = callee.request("INVITE");
    w.send(node, &reinvite);
    w.expect(node, "INVITE", 100);
    let (hop, seen) = w.next("INVITE", 0);
    assert_eq!(hop, line(1), "the connection stands, so it is used");
    assert!(seen.header("Via").starts_with("SIP/2.0/TCP 192.0.2.1:5062;"), "{seen:#?}");
    w.pass_ms(3_000);
    w.quiet();
    w.message(line(1), &seen.reply(488, "Not Acceptable Here", ""));
    w.next("ACK", 0);
    let (_, busy) = w.next("INVITE", 488);
    w.send(node, &reinvite.ack_failure(&busy));
    // Its own listening port is in Contact, so a new connection may be made to it.
    w.give(Input::FlowClosed { flow: flow(1) });
    let bye = callee.request("BYE");
    w.send(node, &bye);
    let (hop, seen) = w.next("BYE", 0);
    assert_eq!(hop, Hop::to(TRUNK_TCP, t1()));
    w.message(Hop::on(TRUNK_TCP, t1(), flow(2)), &seen.reply(200, "OK", ""));
    w.expect(node, "BYE", 200);
    w.drained();
}

#[test]
fn a_dialog_of_a_client_that_does_not_listen_ends_with_its_connection() {
    for contact in ["<sip:uac@192.0.2.10:41000;transport=tcp>", "<sip:x@8jdf.invalid;transport=ws>"] {
        let mut w = world(|_| {});
        let (mut caller, mut callee, node) = w.tcp_call(contact);
        w.give(Input::FlowIdle { flow: flow(1) });
        assert!(w.closed.is_empty(), "an open call needs it");
        w.give(Input::FlowClosed { flow: flow(1) });
        w.send(node, &callee.request("INFO"));
        w.expect(node, "INFO", 430);
        w.quiet();
        // It connects again and goes on.
        let info = by_tcp(caller.request("INFO"));
        w.message(line(7), &info);
        let (_, seen) = w.next("INFO", 0);
        w.send(node, &seen.reply(200, "OK", ""));
        assert_eq!(w.next("INFO", 200).0, line(7));
        w.send(node, &callee.request("BYE"));
        let (hop, seen) = w.next("BYE", 0);
        assert_eq!(hop, line(7), "the dialog moved with its client");
        w.message(line(7), &seen.reply(200, "OK", ""));
        w.expect(node, "BYE", 200);
        w.give(Input::FlowIdle { flow: flow(7) });
        assert_eq!(w.closed, [flow(7)]);
        w.drained();
    }
}

#[test]
fn an_answer_whose_connection_closed_goes_to_the_port_in_the_via() {
    let mut w = world(|_| {});
    w.message(line(1), &by_tcp(invite(t1(), addr("192.0.2.1:5062"), "a", "+4930123456", 1)));
    w.next("INVITE", 100);
    let (node, offered) = w.next("INVITE", 0);
    w.give(Input::FlowClosed { flow: flow(1) });
    w.send(node.addr, &offered.reply(486, "Busy Here", "b"));
    w.next("ACK", 0);
    assert_eq!(w.next("INVITE", 486).0, Hop::to(TRUNK_TCP, t1()));
}

#[test]
fn a_udp_trunk_reaches_a_tcp_node_and_nothing_is_sent_twice() {
    let mut w = world(|c| {
        c.nodes.truncate(1);
        c.nodes[0].transports = vec![Transport::Tcp];
    });
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let (hop, offered) = w.next("INVITE", 0);
    assert_eq!(hop, Hop::to(NODE_TCP, n1()));
    assert_eq!(offered.uri(), format!("sip:+4930123456@{};transport=tcp", n1()));
    assert!(offered.header("Via").starts_with("SIP/2.0/TCP 10.0.0.1:5072;"));
    let routes = offered.all("Record-Route");
    assert!(routes[0].ends_with("@10.0.0.1:5072;transport=tcp;lr>") && routes[1].ends_with("@192.0.2.1:5060;lr>"));
    w.pass_ms(1_400);
    w.quiet();
    let answers = Hop::on(NODE_TCP, n1(), flow(9));
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{};transport=tcp>", n1()));
    w.message(answers, &ok);
    let mut caller = Dialog::caller(t1(), &w.expect(t1(), "INVITE", 200));
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    assert_eq!(w.next("ACK", 0).0, Hop::to(NODE_TCP, n1()));
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let (_, seen) = w.next("BYE", 0);
    w.pass_ms(5_000);
    w.quiet();
    w.message(answers, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.drained();
}

#[test]
fn a_node_that_cannot_be_connected_to_is_left_at_once() {
    let mut w = world(|c| c.nodes.iter_mut().for_each(|n| n.transports = vec![Transport::Tcp]));
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let (first, _) = w.next("INVITE", 0);
    w.give(Input::NoConnection { hop: first, stood: false });
    let (second, offered) = w.next("INVITE", 0);
    assert_ne!(first.addr, second.addr);
    // The second one has answered; that it closes its connection then means nothing yet.
    w.message(Hop::on(NODE_TCP, second.addr, flow(3)), &offered.reply(180, "Ringing", "b"));
    w.expect(t1(), "INVITE", 180);
    w.give(Input::FlowClosed { flow: flow(3) });
    w.give(Input::NoConnection { hop: second, stood: true });
    w.quiet();
    w.message(Hop::on(NODE_TCP, second.addr, flow(4)), &offered.reply(486, "Busy Here", "b"));
    w.next("ACK", 0);
    w.expect(t1(), "INVITE", 486);
}

#[test]
fn a_request_that_met_a_closed_connection_goes_once_more_by_a_new_one() {
    let mut w = world(|c| c.nodes.iter_mut().for_each(|n| n.transports = vec![Transport::Tcp]));
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let (first, offered) = w.next("INVITE", 0);
    w.give(Input::NoConnection { hop: first, stood: true });
    let (again, copy) = w.next("INVITE", 0);
    assert_eq!((again, &copy), (first, &offered), "the same, to the same");
    w.quiet();
    w.give(Input::NoConnection { hop: first, stood: true });
    let (second, _) = w.next("INVITE", 0);
    assert_ne!(second.addr, first.addr, "twice is enough");
}

#[test]
fn a_connection_that_fails_for_a_large_request_alone_does_not_take_the_node_out() {
    let mut w = world(|c| c.nodes.iter_mut().for_each(|n| n.transports = vec![Transport::Udp, Transport::Tcp]));
    let large = "x".repeat(900);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).with("Subject", &large));
    w.expect(t1(), "INVITE", 100);
    let (first, _) = w.next("INVITE", 0);
    assert_eq!(first.listener, NODE_TCP);
    w.give(Input::NoConnection { hop: first, stood: false });
    let (second, offered) = w.next("INVITE", 0);
    assert_eq!((second.listener, second.addr), (NODE_SIDE, first.addr), "by UDP after all (RFC 3261 §18.1.1)");
    assert!(offered.header("Via").starts_with("SIP/2.0/UDP "), "{offered:#?}");
    let snapshot = w.proxy.snapshot(w.now.wall_us);
    assert!(snapshot.nodes.iter().all(|n| n.state == "up"), "{snapshot:#?}");
    w.pass_ms(600);
    assert_eq!(w.next("INVITE", 0).1, offered, "by UDP it is sent again, as ever");
    w.pass_ms(1_000);
    let third = w.wire.iter().map(|(hop, _)| *hop).find(|hop| hop.addr != first.addr);
    assert_eq!(third.map(|hop| hop.listener), Some(NODE_TCP), "one that is silent by UDP too is left for another");
    assert_eq!(w.proxy.snapshot(w.now.wall_us).counters.large_by_udp, 1);
    let attempts = w.events.iter().filter(|e| e.event_type == "attempt").count();
    assert_eq!(attempts, 2, "the same attempt by another way is not a new one");
}

#[test]
fn a_large_request_in_a_dialog_goes_by_udp_when_no_connection_can_be_made() {
    let mut w = world(|c| c.nodes.iter_mut().for_each(|n| n.transports = vec![Transport::Udp, Transport::Tcp]));
    let (mut caller, _, node) = w.answered("a");
    for method in ["MESSAGE", "INVITE"] {
        w.send(t1(), &caller.request(method).with("Subject", &"x".repeat(1_100)));
        if method == "INVITE" {
            w.expect(t1(), method, 100);
        }
        let (first, _) = w.next(method, 0);
        assert_eq!((first.listener, first.addr), (NODE_TCP, node));
        w.give(Input::NoConnection { hop: first, stood: false });
        let (second, seen) = w.next(method, 0);
        assert_eq!((second.listener, second.addr), (NODE_SIDE, node));
        w.send(node, &seen.reply(200, "OK", "").with("Contact", &format!("<sip:node@{node}>")));
        w.expect(t1(), method, 200);
    }
}

#[test]
fn a_request_in_a_dialog_that_cannot_be_connected_is_answered_at_once() {
    let mut w = world(|_| {});
    let (_, mut callee, node) = w.tcp_call("<sip:uac@192.0.2.10:5060;transport=tcp>");
    w.give(Input::FlowClosed { flow: flow(1) });
    w.send(node, &callee.request("BYE"));
    let (hop, _) = w.next("BYE", 0);
    w.give(Input::NoConnection { hop, stood: false });
    w.expect(node, "BYE", 500);
    w.drained();
    assert_eq!(w.types(), ["attempt", "answered", "ended"]);
}

#[test]
fn a_large_request_goes_by_tcp_where_the_peer_lists_it() {
    for (listed, large, tcp) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut w = world(|c| {
            c.nodes.truncate(1);
            if listed {
                c.nodes[0].transports = vec![Transport::Udp, Transport::Tcp];
            }
        });
        let pad = if large { "x".repeat(900) } else { String::new() };
        w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).with("Subject", &pad));
        w.expect(t1(), "INVITE", 100);
        let (hop, offered) = w.next("INVITE", 0);
        assert_eq!(hop.listener, if tcp { NODE_TCP } else { NODE_SIDE });
        assert!(offered.header("Via").starts_with(if tcp { "SIP/2.0/TCP" } else { "SIP/2.0/UDP" }));
    }
}

#[test]
fn without_rport_an_answer_goes_to_the_port_of_the_via_and_with_it_to_the_port_of_the_packet() {
    let mut w = world(|_| {});
    let from = addr("192.0.2.10:33333");
    for (param, to) in [("", t1()), (";rport", from)] {
        let m = invite(t1(), edge_trunk(), &format!("a{param}"), "", 1);
        let via = format!("{}{param}", m.header("Via"));
        let options = Msg { start: format!("OPTIONS sip:{} SIP/2.0", edge_trunk()), ..m.set("CSeq", "1 OPTIONS") };
        let mut options = options.without("Via").without("Content-Type");
        options.headers.insert(0, ("Via".into(), via));
        options.body.clear();
        w.send(from, &options);
        let ok = w.expect(to, "OPTIONS", 200);
        assert_eq!(ok.header("Via").contains(";rport=33333;received=192.0.2.10"), !param.is_empty(), "{ok:#?}");
    }
}

#[test]
fn peers_at_one_address_are_told_apart_by_the_port_they_listen_on() {
    let mut w = world(|c| {
        let source = |port: u16| format!("192.0.2.50:{port}").parse().unwrap();
        c.trunks[0].sources = vec![source(5060)];
        c.trunks[1].sources = vec![source(5064)];
    });
    let line = |n| Hop::on(TRUNK_TCP, addr("192.0.2.50:40000"), flow(n));
    for (call, port, trunk) in [("a", 5064, "t2"), ("b", 5060, "t1")] {
        let peer = addr(&format!("192.0.2.50:{port}"));
        w.message(line(1), &by_tcp(invite(peer, addr("192.0.2.1:5062"), call, "+4930123456", 1)));
        assert_eq!(w.events.last().unwrap().source_id, trunk);
    }
    let told = w.events.len();
    w.wire.clear();
    let stranger = Hop::on(TRUNK_TCP, addr("192.0.2.51:40000"), flow(2));
    w.message(stranger, &by_tcp(invite(t1(), edge_trunk(), "c", "+4930123456", 1)));
    w.quiet();
    assert_eq!(w.events.len(), told);
}

#[test]
fn a_connection_with_alias_is_used_for_requests_to_its_peer() {
    let mut w = world(|c| {
        c.nodes.truncate(1);
        c.nodes[0].transports = vec![Transport::Tcp];
    });
    let line = Hop::on(NODE_TCP, addr("10.0.0.11:47000"), flow(5));
    let m = invite(n1(), edge_node(), "x", "", 1);
    let via = format!("SIP/2.0/TCP {};branch=z9hG4bK-alias;alias", n1());
    let mut options = Msg { start: format!("OPTIONS sip:{} SIP/2.0", edge_node()), ..m }.set("CSeq", "1 OPTIONS");
    options.body.clear();
    let mut options = options.without("Content-Type").without("Via");
    options.headers.insert(0, ("Via".into(), via));
    w.message(line, &options);
    assert_eq!(w.next("OPTIONS", 200).0, line);
    for (call, alive) in [("a", true), ("b", false)] {
        if !alive {
            w.give(Input::FlowClosed { flow: flow(5) });
            w.wire.clear();
        }
        w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
        w.expect(t1(), "INVITE", 100);
        let (hop, _) = w.next("INVITE", 0);
        assert_eq!(hop, Hop { flow: alive.then_some(flow(5)), ..Hop::to(NODE_TCP, n1()) });
    }
}

#[test]
fn the_facts_of_a_connection_stand_in_the_events_of_its_calls() {
    let mut w = world(|_| {});
    let m = by_tcp(invite(t1(), addr("192.0.2.1:5062"), "a", "+4930123456", 1));
    let identity = FlowIdentity {
        subject: Some("pbx.example".into()),
        tls_version: Some("TLSv1.3".into()),
        tls_cipher: Some("TLS13_AES_128_GCM_SHA256".into()),
        is_proxied: true,
    };
    w.give(Input::Message { hop: line(1), identity: Some(&identity), bytes: &m.bytes() });
    let transport = w.event("attempt").transport.clone().unwrap();
    assert_eq!(transport.tls_version.as_deref(), Some("TLSv1.3"));
    assert_eq!(transport.tls_peer_subject.as_deref(), Some("pbx.example"));
    assert_eq!((transport.client_ip.as_deref(), transport.client_port), (Some("192.0.2.10"), Some(41000)));
}

#[test]
fn a_call_passes_from_ipv6_to_ipv4_with_two_record_routes_and_480_bytes_more_at_most() {
    let six = addr("[2001:db8::10]:5060");
    let mut w = world(|c| c.trunks[0].sources.push("2001:db8::/64".parse().unwrap()));
    let m = invite(six, addr("[2001:db8::1]:5060"), "a", "+4930123456", 1);
    w.give(Input::Datagram { hop: Hop::to(TRUNK_SIX, six), bytes: &m.bytes() });
    assert_eq!(w.next("INVITE", 100).0, Hop::to(TRUNK_SIX, six));
    let (node, offered) = w.next("INVITE", 0);
    assert!(offered.bytes().len() - m.bytes().len() <= 480, "{}", offered.bytes().len() - m.bytes().len());
    let routes = offered.all("Record-Route");
    assert!(routes[1].ends_with("@[2001:db8::1]:5060;lr>"), "{routes:?}");
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{}>", node.addr));
    w.send(node.addr, &ok);
    let mut caller = Dialog::caller(six, &w.expect(six, "INVITE", 200));
    let ack = caller.request("ACK");
    w.give(Input::Datagram { hop: Hop::to(TRUNK_SIX, six), bytes: &ack.bytes() });
    w.expect(node.addr, "ACK", 0);
    let mut callee = Dialog::callee(node.addr, &offered, &ok);
    w.send(node.addr, &callee.request("BYE"));
    let (hop, _) = w.next("BYE", 0);
    assert_eq!(hop, Hop::to(TRUNK_SIX, six));
}

#[test]
fn connections_that_are_refused_unread_are_counted_by_source() {
    let mut w = world(|_| {});
    for _ in 0..3 {
        w.give(Input::Refused { hop: Hop::to(TRUNK_TCP, addr("203.0.113.9:1")), reason: "unknown_source" });
    }
    w.quiet();
    w.pass_ms(1_100);
    let row = &w.rejections[0];
    assert_eq!((row.source.as_str(), row.messages, row.listener_id.as_deref()), ("203.0.113.9", 3, Some("trunks-tcp")));
    assert_eq!(row.transport.as_deref(), Some("tcp"));
}

#[test]
fn requests_leave_by_the_listener_of_their_peer_and_a_dialog_stays_with_its_own() {
    let mut w = world(|c| {
        let second = ListenerConfig {
            id: "nodes-2".into(),
            side: Side::Node,
            bind: addr("10.0.0.2:5070"),
            ..Default::default()
        };
        c.listeners.push(second);
        c.nodes.truncate(1);
        c.nodes[0].listener = Some("nodes-2".into());
    });
    let second = 5;
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let (hop, offered) = w.next("INVITE", 0);
    assert_eq!(hop, Hop::to(second, n1()));
    let via = Hop::to(second, n1());
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{}>", n1()));
    w.give(Input::Datagram { hop: via, bytes: &ok.bytes() });
    let mut caller = Dialog::caller(t1(), &w.expect(t1(), "INVITE", 200));
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    assert_eq!(w.next("ACK", 0).0, Hop::to(second, n1()));
    // A call that the node makes comes by the listener that it likes, and its dialog stays there.
    w.send(n1(), &invite(n1(), edge_node(), "b", "+4922155558001", 1));
    w.expect(n1(), "INVITE", 100);
    let (carrier, offered) = w.next("INVITE", 0);
    let ok = offered.reply(200, "OK", "c").with("Contact", &format!("<sip:far@{}>", carrier.addr));
    w.send(carrier.addr, &ok);
    w.expect(n1(), "INVITE", 200);
    w.send(carrier.addr, &Dialog::callee(carrier.addr, &offered, &ok).request("BYE"));
    assert_eq!(w.next("BYE", 0).0, Hop::to(NODE_SIDE, n1()));
}

#[test]
fn after_a_restart_nobody_waits_for_a_connection_that_is_gone() {
    // A client that does not listen: its dialog waits for it, and nothing is connected to the port that it once had.
    let mut w = world(|_| {});
    let (mut caller, mut callee, node) = w.tcp_call("<sip:uac@192.0.2.10:41000;transport=tcp>");
    w.restart(std::time::Duration::from_millis(500));
    w.send(node, &callee.request("INFO"));
    w.expect(node, "INFO", 430);
    w.quiet();
    let info = by_tcp(caller.request("INFO"));
    w.message(line(8), &info);
    let (_, seen) = w.next("INFO", 0);
    w.restart(std::time::Duration::from_millis(100));
    // The answer finds the port that the Via names; its connection died with the edge.
    w.send(node, &seen.reply(200, "OK", ""));
    assert_eq!(w.next("INFO", 200).0, Hop::to(TRUNK_TCP, t1()));
    w.send(node, &callee.request("BYE"));
    w.expect(node, "BYE", 430);
    let end = w.event("ended").dialog.clone().unwrap();
    assert_eq!((end.bye_status, end.released_by.as_deref()), (Some(430), Some("callee")));
    w.drained();
}
