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
use domain::Clock;
use schemas::ControlAck;
use stream::Publisher;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::icmp;
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
    pub sockets: Vec<std::net::UdpSocket>,
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
            let sockets =
                self.sockets.iter().map(|s| UdpSocket::from_std(s.try_clone()?)).collect::<Result<Vec<_>, _>>()?;
            Loop {
                proxy: self.proxy,
                sockets,
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
    sockets: Vec<UdpSocket>,
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
                Woken::Packets => self.read(),
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

    fn read(&mut self) {
        for listener in 0..self.sockets.len() {
            for _ in 0..BURST {
                match self.sockets[listener].try_recv_from(&mut self.buffer) {
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
        icmp::drain(&self.sockets[listener], |address| refused.push(address));
        for to in refused.drain(..) {
            self.give(Input::Unreachable { to });
        }
        self.refused = refused;
    }

    fn perform(&mut self) {
        while let Some(action) = self.proxy.poll() {
            match action {
                Action::Send { hop, bytes } => self.send(hop, &bytes),
                // No listener of a stream yet.
                Action::CloseFlow { .. } => {}
                Action::Transaction(event) => drop(self.publisher.publish(*event)),
                Action::Rejections(event) => drop(self.publisher.publish(*event)),
                Action::Health(event) => drop(self.publisher.publish(*event)),
            }
        }
    }

    /// A packet that the system does not take is lost, as on the wire; SIP repeats what matters.
    fn send(&mut self, hop: Hop, bytes: &[u8]) {
        // The first failure may be the echo of an older packet to somewhere else; it is cleared by being told.
        for _ in 0..2 {
            match self.sockets[hop.place()].try_send_to(bytes, hop.addr) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        self.proxy.note_send_error();
    }
}

async fn readable(sockets: &[UdpSocket]) {
    poll_fn(|cx| {
        let ready = sockets.iter().any(|socket| socket.poll_recv_ready(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
