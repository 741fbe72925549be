//! One connection to one node: bytes in, bytes out, everything else is the core's.
//!
//! The order of the select: shutdown, then writing (a command is small and a caller waits for it), then reading, then time. Nothing
//! here waits for anybody but the socket: publishing queues and returns, and commands wait in a buffer of [`MAX_OUT`] bytes; a node
//! that lets it fill is not reading, so the connection is given up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::{Buf, BytesMut};
use domain::Clock;
use esl::{Framer, Limits};
use kit::Task;
use stream::Publisher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::{debug, error, info, warn};

use crate::core::{Action, Closing, Input, Node};
use crate::status::NodeHandle;

/// Commands that a node has not taken yet: some thousands.
const MAX_OUT: usize = 1024 * 1024;

/// Read at a time: a handful of the largest events.
const READ: usize = 64 * 1024;

/// The loop turns at least this often, so that a stall shows.
const TURN: Duration = Duration::from_millis(500);

pub(crate) struct Connection {
    pub node: Node,
    pub handle: NodeHandle,
    pub connect_timeout: Duration,
    pub dead_after: Duration,
    pub clock: Arc<dyn Clock>,
    pub publisher: Publisher,
}

/// How a connection ended.
enum End {
    Shutdown,
    Closed(Closing),
}

impl Connection {
    /// Connects, serves, and connects again until shutdown.
    pub async fn run(mut self, task: Task) -> Result<()> {
        let shutdown = task.shutdown();
        let mut told: Option<Closing> = None;
        loop {
            task.beat();
            let end = tokio::select! {
                biased;
                () = shutdown.cancelled() => End::Shutdown,
                connected = self.connect() => match connected {
                    Ok(stream) => self.serve(stream, &task).await,
                    Err(why) => End::Closed(why),
                },
            };
            let End::Closed(why) = end else {
                self.drain(None);
                return Ok(());
            };
            self.node.handle(self.clock.now(), Input::Lost(why.clone()));
            self.drain(None);
            self.tell(&why, told.as_ref());
            let pause = Duration::from_millis(self.node.pause_ms(&why));
            told = Some(why);
            if !wait(pause, &task).await {
                return Ok(());
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, Closing> {
        let io = |error: std::io::Error| Closing::Io(format!("cannot connect to {}: {error}", self.handle.address));
        let stream = match tokio::time::timeout(self.connect_timeout, TcpStream::connect(&self.handle.address)).await {
            Ok(connected) => connected.map_err(io)?,
            Err(_) => return Err(Closing::Io(format!("no answer from {} to our connecting", self.handle.address))),
        };
        stream.set_nodelay(true).map_err(io)?;
        // A peer that has vanished without a word must not keep our writes for the kernel's fifteen minutes.
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.dead_after));
        Ok(stream)
    }

    async fn serve(&mut self, mut stream: TcpStream, task: &Task) -> End {
        let shutdown = task.shutdown();
        let (mut reader, mut writer) = stream.split();
        let mut framer = Framer::new(Limits::default());
        let mut out = BytesMut::new();
        self.node.handle(self.clock.now(), Input::Connected);
        loop {
            task.beat();
            if let Some(why) = self.drain(Some(&mut out)) {
                return End::Closed(why);
            }
            framer.buffer().reserve(READ);
            let pause = self.pause();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                written = writer.write(&out), if !out.is_empty() => match written {
                    Ok(n) => out.advance(n),
                    Err(error) => return End::Closed(Closing::Io(error.to_string())),
                },
                read = reader.read_buf(framer.buffer()) => match read {
                    Ok(0) => return End::Closed(Closing::Io("the node closed the connection".to_owned())),
                    Ok(_) => if let Some(why) = self.frames(&mut framer) { return End::Closed(why) },
                    Err(error) => return End::Closed(Closing::Io(error.to_string())),
                },
                () = tokio::time::sleep(pause) => self.node.handle(self.clock.now(), Input::Tick),
            }
        }
    }

    /// Hands all complete frames to the core and publishes what it says. Commands are left for the loop.
    fn frames(&mut self, framer: &mut Framer) -> Option<Closing> {
        let now = self.clock.now();
        loop {
            match framer.next() {
                Ok(Some(frame)) => self.node.handle(now, Input::Frame(&frame)),
                Ok(None) => return None,
                Err(error) => return Some(Closing::NotEsl(error.to_string())),
            }
        }
    }

    /// Does what the core wants. Without a buffer (the connection is gone) commands are dropped; the core knows.
    fn drain(&mut self, mut out: Option<&mut BytesMut>) -> Option<Closing> {
        let mut close = None;
        while let Some(action) = self.node.poll() {
            match action {
                Action::Channel(event) => drop(self.publisher.publish(*event)),
                Action::Decision(decision) => drop(self.publisher.publish(*decision)),
                Action::Health(report) => drop(self.publisher.publish(*report)),
                Action::Send(command) => {
                    if let Some(out) = &mut out {
                        out.extend_from_slice(command.as_bytes());
                        if out.len() > MAX_OUT {
                            close = Some(Closing::Io("the node does not take our commands".to_owned()));
                        }
                    }
                }
                Action::Close(why) => close = close.or(Some(why)),
            }
        }
        self.show();
        close
    }

    fn show(&self) {
        let node = &self.node;
        self.handle.update(|state| {
            if node.is_up() && !state.up {
                info!(node.id = %self.handle.id, "node {} is connected", self.handle.id);
                state.last_error = None;
            }
            state.up = node.is_up();
            state.connections = node.connections();
            if state.core_uuid.as_deref() != node.core_uuid() {
                state.core_uuid = node.core_uuid().map(str::to_owned);
            }
            state.channels = node.channels();
            state.callers = node.callers();
            state.event_lag_us = node.lag_us();
            state.tally = node.tally;
        });
    }

    /// Says once why there is no link; a password that is wrong is somebody's to mend, a node that is away comes back.
    fn tell(&self, why: &Closing, told: Option<&Closing>) {
        let id = &self.handle.id;
        self.handle.update(|state| state.last_error = Some(why.to_string()));
        match why {
            _ if told == Some(why) => debug!(node.id = %id, error = %why, "node {id} is still not connected"),
            refused if refused.is_refusal() => error!(node.id = %id, error = %why, "node {id} refuses us"),
            _ => warn!(node.id = %id, error = %why, "node {id} is not connected"),
        }
    }

    fn pause(&self) -> Duration {
        let now = self.clock.now().mono_us;
        self.node.deadline().map_or(TURN, |due| Duration::from_micros(due.saturating_sub(now)).min(TURN))
    }
}

/// Waits, but shows that the task lives. False when shutdown came.
async fn wait(pause: Duration, task: &Task) -> bool {
    let shutdown = task.shutdown();
    let mut left = pause;
    while !left.is_zero() {
        task.beat();
        let turn = left.min(TURN);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(turn) => left -= turn,
        }
    }
    true
}
