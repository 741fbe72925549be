//! The edge from outside: the machine in virtual time against scripted and random peers, and the service on real sockets.

#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions; a test fails where it stands")]

mod admission;
mod announce;
mod bench_files;
mod calls;
mod cancel;
mod carriers;
mod connections;
mod cost;
mod dead_log;
mod dialogs;
mod dispatch;
mod dns;
mod ends;
mod event_fields;
mod failover;
mod farm;
mod faults;
mod feedback;
mod firewall;
mod guard;
mod handshake_flood;
mod hot_state;
mod limits;
mod lossy;
mod lost;
mod many_connections;
mod memory;
mod names;
mod node_faults;
mod operate;
mod peers;
mod phones;
mod policies;
mod proxy_rules;
mod register;
mod reload;
mod restart;
mod secure;
mod service;
mod sockets;
mod storm;
mod stream_storm;
mod streams;
mod text;
mod torture;
mod world;

/// A task of the test's own.
#[expect(clippy::disallowed_methods, reason = "a test has no lifecycle; its runtime ends what it began")]
fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}
