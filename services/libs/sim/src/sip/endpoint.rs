//! An [`Agent`] on a UDP socket, driven by the one task that owns the calls.
//!
//! Sending never waits: a datagram that the kernel will not take is dropped and counted, and the transaction sends it again, as after
//! any loss on the way.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::agent::{Agent, AgentConfig, AgentStats, ClientTx, Incoming, ServerTx, Timing};
use super::message::Message;

/// Asked of the kernel in both directions: room for a burst of thousands of datagrams while the task is busy. It may give less.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub struct Endpoint {
    socket: UdpSocket,
    /// The same socket: a direct send needs no readiness bookkeeping, so the first datagram after `bind` leaves at once.
    sender: std::net::UdpSocket,
    agent: Agent,
    buffer: Box<[u8]>,
    local: SocketAddr,
    unsent: u64,
}

impl Endpoint {
    /// Opens the socket (port 0: any). `trying`: answer each new INVITE with 100 at once.
    ///
    /// # Errors
    /// What the kernel says, for instance that the port is taken.
    pub fn bind(bind: SocketAddr, seed: u64, trying: bool) -> io::Result<Self> {
        Self::bind_timed(bind, seed, trying, Timing::default())
    }

    /// As [`Endpoint::bind`] with other base timers.
    ///
    /// # Errors
    /// As [`Endpoint::bind`].
    pub fn bind_timed(bind: SocketAddr, seed: u64, trying: bool, timing: Timing) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Less than asked for is fine: retransmission covers the difference.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&bind.into())?;
        let sender: std::net::UdpSocket = socket.into();
        let local = sender.local_addr()?;
        let socket = UdpSocket::from_std(sender.try_clone()?)?;
        let agent = Agent::new(AgentConfig { local, seed, trying, timing });
        Ok(Self { socket, sender, agent, buffer: vec![0; 65_536].into_boxed_slice(), local, unsent: 0 })
    }

    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    #[must_use]
    pub fn stats(&self) -> AgentStats {
        self.agent.stats()
    }

    /// Datagrams that the kernel did not take.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// The next event. Cancel safe: dropped while it waits, it has lost nothing.
    pub async fn next(&mut self) -> Incoming {
        loop {
            self.agent.tick(Instant::now());
            self.flush();
            if let Some(event) = self.agent.poll_event() {
                return event;
            }
            let deadline = self.agent.deadline();
            let wake = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.socket.recv_from(&mut self.buffer) => {
                    // An error here is about an earlier send (ICMP); the transaction's timer covers it.
                    if let Ok((length, from)) = received {
                        self.agent.handle_datagram(Instant::now(), &self.buffer[..length], from);
                    }
                }
                () = wake => {}
            }
        }
    }

    pub fn send_request(&mut self, message: Message, to: SocketAddr) -> ClientTx {
        let tx = self.agent.send_request(Instant::now(), message, to);
        self.flush();
        tx
    }

    pub fn ack(&mut self, tx: ClientTx, message: Message, to: SocketAddr) {
        self.agent.ack(tx, message, to);
        self.flush();
    }

    pub fn cancel(&mut self, tx: ClientTx) -> bool {
        let sent = self.agent.cancel(Instant::now(), tx);
        self.flush();
        sent
    }

    pub fn respond(&mut self, tx: ServerTx, response: &Message) -> bool {
        let sent = self.agent.respond(Instant::now(), tx, response);
        self.flush();
        sent
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.agent.poll_transmit() {
            if self.sender.send_to(&datagram.bytes, datagram.to).is_err() {
                self.unsent += 1;
            }
        }
    }
}
