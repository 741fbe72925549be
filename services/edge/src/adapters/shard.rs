//! The thread that owns the proxy: its sockets, its timer and its mailbox, on a runtime of its own.
//!
//! Order of the select, most urgent first: stop, control (rare and small), packets, time. After every packet the actions
//! that follow from it are carried out before the next packet is read, so that one caller's answer never waits for another's
//! request. Nothing in here waits for anything but the sockets and the clock.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::Clock;
use schemas::ControlAck;
use stream::Publisher;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::icmp;
use super::streams::{Incoming, Port};
use crate::core::control::Control;
use crate::core::{Action, Hop, Input, Proxy, Snapshot};

/// Packets taken from one socket before the others and the clock get their turn.
const BURST: usize = 64;
/// How often the outside sees a new picture, and the thread shows that it lives.
const REFRESH: Duration = Duration::from_millis(100);

/// A state of the control topics and the acknowledgement that is due once it is in force.
pub struct Update {
    pub control: Arc<Control>,
    pub ack: Option<Box<ControlAck>>,
}

pub struct Shard {
    pub proxy: Proxy,
    /// By place in the settings; none for the listeners of streams.
    pub sockets: Vec<Option<std::net::UdpSocket>>,
    /// The connections, when a listener has any.
    pub streams: Option<Port>,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is in force, for the admin pages.
    pub in_force: Arc<ArcSwap<Control>>,
    pub updates: mpsc::Receiver<Update>,
    pub drain: Duration,
}

impl Shard {
    /// Runs until shutdown and the drain after it.
    pub fn run(self, task: &kit::Task) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        runtime.block_on(async move {
            let ready =
                |s: &Option<std::net::UdpSocket>| s.as_ref().map(|s| UdpSocket::from_std(s.try_clone()?)).transpose();
            let sockets = self.sockets.iter().map(ready).collect::<Result<Vec<_>, _>>()?;
            Loop {
                proxy: self.proxy,
                sockets,
                streams: self.streams,
                publisher: self.publisher,
                clock: self.clock,
                snapshot: self.snapshot,
                in_force: self.in_force,
                updates: self.updates,
                buffer: vec![0; 65_536],
                refused: Vec::new(),
            }
            .work(task, self.drain)
            .await;
            Ok(())
        })
    }
}

struct Loop {
    proxy: Proxy,
    sockets: Vec<Option<UdpSocket>>,
    streams: Option<Port>,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    in_force: Arc<ArcSwap<Control>>,
    updates: mpsc::Receiver<Update>,
    buffer: Vec<u8>,
    refused: Vec<SocketAddr>,
}

enum Woken {
    Stop,
    Update(Option<Update>),
    Stream(Option<Incoming>),
    Packets,
    Time,
}

impl Loop {
    async fn work(mut self, task: &kit::Task, drain: Duration) {
        let shutdown = task.shutdown();
        let mut stop_by: Option<Instant> = None;
        let mut refresh_at = Instant::now();
        let mut control_open = true;
        loop {
            task.beat();
            let now = Instant::now();
            if now >= refresh_at {
                refresh_at = now + REFRESH;
                self.snapshot.store(Arc::new(self.proxy.snapshot(self.clock.now().wall_us)));
            }
            if stop_by.is_some_and(|at| now >= at || self.proxy.is_idle()) {
                self.snapshot.store(Arc::new(self.proxy.snapshot(self.clock.now().wall_us)));
                return;
            }
            let wake_at = self.wake_at(now).min(refresh_at);
            let woken = tokio::select! {
                biased;
                () = shutdown.cancelled(), if stop_by.is_none() => Woken::Stop,
                update = self.updates.recv(), if control_open => Woken::Update(update),
                incoming = next(&mut self.streams) => Woken::Stream(incoming),
                () = readable(&self.sockets) => Woken::Packets,
                () = sleep_until(wake_at) => Woken::Time,
            };
            match woken {
                Woken::Stop => {
                    stop_by = Some(Instant::now() + drain);
                    self.give(Input::Drain);
                }
                Woken::Update(Some(update)) => self.apply(update),
                Woken::Update(None) => control_open = false,
                Woken::Stream(Some(incoming)) => {
                    self.give(incoming.input());
                    self.take_streams();
                    self.read();
                }
                // That thread has ended; its lifecycle tells why.
                Woken::Stream(None) => self.streams = None,
                Woken::Packets => {
                    self.read();
                    self.take_streams();
                }
                Woken::Time => self.give(Input::Timer),
            }
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        match self.proxy.deadline() {
            Some(at) => now + Duration::from_micros(at.saturating_sub(self.clock.now().mono_us)),
            None => now + REFRESH,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        let now = self.clock.now();
        self.proxy.handle(now, input);
        self.perform();
    }

    fn apply(&mut self, update: Update) {
        self.give(Input::Control(Arc::clone(&update.control)));
        if let Some(mut ack) = update.ack {
            ack.since_us = self.clock.now().wall_us;
            self.publisher.publish(*ack);
        }
        self.in_force.store(update.control);
    }

    /// What the connections handed over, as much as one burst.
    fn take_streams(&mut self) {
        for _ in 0..BURST {
            let Some(incoming) = self.streams.as_mut().and_then(Port::try_recv) else { return };
            self.give(incoming.input());
        }
    }

    fn read(&mut self) {
        for listener in 0..self.sockets.len() {
            for _ in 0..BURST {
                let Some(socket) = &self.sockets[listener] else { break };
                match socket.try_recv_from(&mut self.buffer) {
                    Ok((length, from)) => {
                        let now = self.clock.now();
                        let bytes = &self.buffer[..length];
                        let hop = Hop::to(listener as u16, from);
                        self.proxy.handle(now, Input::Datagram { hop, bytes });
                        self.perform();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => self.take_refusals(listener),
                }
            }
        }
        // A packet handed over in a burst may have let a timer pass.
        self.give(Input::Timer);
    }

    fn take_refusals(&mut self, listener: usize) {
        let mut refused = std::mem::take(&mut self.refused);
        if let Some(socket) = &self.sockets[listener] {
            icmp::drain(socket, |address| refused.push(address));
        }
        for to in refused.drain(..) {
            self.give(Input::Unreachable { to });
        }
        self.refused = refused;
    }

    fn perform(&mut self) {
        while let Some(action) = self.proxy.poll() {
            match action {
                Action::Send { hop, bytes } => self.send(hop, bytes),
                Action::CloseFlow { flow } => drop(self.streams.as_ref().map(|port| port.close(flow))),
                Action::Transaction(event) => drop(self.publisher.publish(*event)),
                Action::Rejections(event) => drop(self.publisher.publish(*event)),
                Action::Health(event) => drop(self.publisher.publish(*event)),
            }
        }
    }

    /// A packet that the system does not take is lost, as on the wire; SIP repeats what matters.
    fn send(&mut self, hop: Hop, bytes: Bytes) {
        let Some(socket) = &self.sockets[hop.place()] else {
            if !self.streams.as_ref().is_some_and(|port| port.send(hop, bytes)) {
                self.proxy.note_send_error();
            }
            return;
        };
        // The first failure may be the echo of an older packet to somewhere else; it is cleared by being told.
        for _ in 0..2 {
            match socket.try_send_to(&bytes, hop.addr) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        self.proxy.note_send_error();
    }
}

/// Never, without connections.
async fn next(streams: &mut Option<Port>) -> Option<Incoming> {
    match streams {
        Some(port) => port.recv().await,
        None => std::future::pending().await,
    }
}

async fn readable(sockets: &[Option<UdpSocket>]) {
    poll_fn(|cx| {
        let ready = sockets.iter().flatten().any(|socket| socket.poll_recv_ready(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
