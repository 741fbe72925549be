//! Thousands of connections that end at once hold up nobody: what each costs does not grow with what else is going on.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use edge::core::{Flow, Hop, Input};
use edge::{ListenerConfig, Side, Transport};

use super::text::{Dialog, invite};
use super::world::*;

const TCP: u16 = 2;
const CONNECTIONS: u64 = 1_000;

fn flow(n: u64) -> Flow {
    Flow::new(NonZeroU64::new(n + 1).unwrap())
}

/// A world with so many calls in set-up by UDP, and as many connections as ever, each with a call of its own.
fn world(standing: usize) -> World {
    let mut config = config();
    config.listeners.push(ListenerConfig {
        id: "tcp".into(),
        side: Side::Trunk,
        transport: Transport::Tcp,
        ..ListenerConfig::default()
    });
    config.limits.open_invites = 40_000;
    let mut w = World::bound(config, vec![edge_trunk(), edge_node(), edge_trunk()]);
    for n in 0..standing {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("u{n}"), "+4930123456", 1));
    }
    for n in 0..CONNECTIONS {
        let from = std::net::SocketAddr::from(([192, 0, 2, 10], 20_000 + n as u16));
        let bytes = invite(from, edge_trunk(), &format!("t{n}"), "+4930123456", 1).bytes();
        w.give(Input::Message { hop: Hop::on(TCP, from, flow(n)), identity: None, bytes: &bytes });
    }
    w.wire.clear();
    w
}

/// All connections fall silent, are asked for and end, and as many cannot be made.
fn end_all(w: &mut World) -> Duration {
    let start = Instant::now();
    for n in 0..CONNECTIONS {
        w.give(Input::FlowIdle { flow: flow(n) });
        w.give(Input::FlowClosed { flow: flow(n) });
        let to = std::net::SocketAddr::from(([192, 0, 2, 10], 40_000 + n as u16));
        w.give(Input::NoConnection { hop: Hop::to(TCP, to), stood: false });
    }
    start.elapsed()
}

#[test]
fn the_end_of_a_connection_costs_the_same_however_many_calls_there_are() {
    let best = |standing: usize| (0..3).map(|_| end_all(&mut world(standing))).min().unwrap();
    let (few, many) = (best(100), best(4_000));
    println!("{CONNECTIONS} connections end: {few:?} beside 100 calls, {many:?} beside 4,000");
    assert!(many < 3 * few + Duration::from_millis(30), "{few:?} and {many:?}");
}

#[test]
fn a_connection_that_a_call_needs_is_kept_and_one_that_none_needs_goes() {
    let mut w = world(1);
    w.give(Input::FlowIdle { flow: flow(0) });
    assert!(w.closed.is_empty(), "a call in set-up came by it");
    w.give(Input::FlowIdle { flow: flow(CONNECTIONS + 5) });
    assert_eq!(w.closed, [flow(CONNECTIONS + 5)]);
    w.pass(Duration::from_secs(400));
    w.closed.clear();
    w.give(Input::FlowIdle { flow: flow(0) });
    assert_eq!(w.closed, [flow(0)], "its call is over and forgotten");
    assert_eq!(w.proxy.ways_in_use(), 0, "nothing is remembered of any connection");
}

#[test]
fn dialogs_by_connections_that_ended_are_still_ended_by_their_parties() {
    let mut w = world(0);
    let (mut caller, _, node) = w.answered("a");
    end_all(&mut w);
    w.wire.clear();
    let bye = Dialog::request(&mut caller, "BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
}
