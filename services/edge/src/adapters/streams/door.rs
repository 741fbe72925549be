//! Who may connect. An unknown address is closed before a byte is read or written; a known one gets a place under the caps.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::counters::bump;
use super::open::{accept, prepare, proxied};
use super::port::Incoming;
use super::table::Place;
use super::thread::{Shared, StreamListener};
use crate::adapters::proxy_protocol::Claim;
use crate::core::Hop;

/// A balancer's PROXY header; the handshake has its own time. Whoever takes longer holds a place for nothing.
const PROXY_HEADER: Duration = Duration::from_secs(2);
/// When the system has no socket for us: it will not have one in the next microsecond either.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts until the service stops.
pub async fn serve(shared: Rc<Shared>, at: Rc<StreamListener>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => enter(&shared, &at, tcp, SocketAddr::new(from.ip().to_canonical(), from.port())),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                bump(&shared.counters.accept_errors);
                sleep(BREATH).await;
            }
        }
    }
}

fn enter(shared: &Rc<Shared>, at: &Rc<StreamListener>, tcp: TcpStream, from: SocketAddr) {
    let is_balancer = at.balancers.iter().any(|source| source.contains(from));
    if !is_balancer && !admits(shared, at, from) {
        return deny(shared, at, from);
    }
    let Some(mut place) = Place::take(&shared.table) else { return over_cap(shared, at, from, "connections") };
    if !is_balancer && !place.count(from.ip()) {
        return over_cap(shared, at, from, "connections_per_source");
    }
    bump(&shared.counters.accepted);
    prepare(&tcp, shared.settings.line_bytes);
    let (shared, at) = (Rc::clone(shared), Rc::clone(at));
    let tracker = shared.tasks.clone();
    tracker.spawn_local(async move {
        let opened =
            timeout(PROXY_HEADER + shared.handshake_time(), open(&shared, &at, tcp, from, is_balancer, &mut place))
                .await;
        match opened {
            Ok(Some((from, opened))) => {
                let line = shared.table.borrow_mut().add(Hop::to(at.place, from));
                Connection::new(Rc::clone(&shared), line, opened, place).run().await;
            }
            Ok(None) => {}
            Err(_) => bump(&shared.counters.unopened),
        }
    });
}

/// The client's address and its connection; `None` when it was closed, which was counted.
async fn open(
    shared: &Shared,
    at: &StreamListener,
    mut tcp: TcpStream,
    mut from: SocketAddr,
    is_balancer: bool,
    place: &mut Place,
) -> Option<(SocketAddr, super::open::Opened)> {
    if is_balancer {
        match proxied(&mut tcp).await {
            Ok(Claim::Proxied { from: client, .. }) => {
                from = SocketAddr::new(client.ip().to_canonical(), client.port());
            }
            // The balancer looks whether we are there.
            Ok(Claim::Local) => return None,
            Err(_) => {
                bump(&shared.counters.unopened);
                shared.refused(Hop::to(at.place, from), "proxy_header");
                return None;
            }
        }
        if !admits(shared, at, from) {
            deny(shared, at, from);
            return None;
        }
        if !place.count(from.ip()) {
            over_cap(shared, at, from, "connections_per_source");
            return None;
        }
    }
    match accept(shared, at, tcp, from, is_balancer).await {
        Ok(opened) => Some((from, opened)),
        Err(reason) => {
            bump(&shared.counters.unopened);
            shared.refused(Hop::to(at.place, from), reason);
            None
        }
    }
}

fn admits(shared: &Shared, at: &StreamListener, from: SocketAddr) -> bool {
    shared.topology.load().admits(at.place, from) || shared.callees.is_named(at.side, from)
}

fn deny(shared: &Shared, at: &StreamListener, from: SocketAddr) {
    bump(&shared.counters.denied);
    shared.refused(Hop::to(at.place, from), "unknown_source");
}

fn over_cap(shared: &Shared, at: &StreamListener, from: SocketAddr, reason: &'static str) {
    bump(&shared.counters.over_cap);
    shared.refused(Hop::to(at.place, from), reason);
}

impl Shared {
    /// For the report of refused traffic. In a flood the counters say how many there were.
    pub fn refused(&self, hop: Hop, reason: &'static str) {
        if self.incoming.try_send(Incoming::Refused { hop, reason }).is_ok() {
            (self.ring)();
        }
    }
}
