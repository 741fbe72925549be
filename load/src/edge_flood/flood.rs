//! A thread that floods: so many packets a second, from anybody or from one address, and counts what comes back.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use super::packets::{Packets, Text};
use crate::calls::{BATCH, Inbox, Socket, Spray};

/// Different sources of a flood from everywhere.
const SOURCES: u64 = 1_000_000;
const PAUSE: Duration = Duration::from_micros(500);
/// Copies that wait for their half second.
const WAITING: usize = 20_000;

#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A million addresses of loopback that no peer has.
    Anybody,
    One(Ipv4Addr),
}

#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub source: Source,
    pub to: SocketAddrV4,
    pub per_second: f64,
    pub text: Text,
}

/// What a flood came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sprayed {
    pub sent: u64,
    pub took: Duration,
    /// Of the thread that sends, the kernel's delivery to the receiver's socket included.
    pub cpu: Duration,
    pub bytes_back: u64,
}

impl Sprayed {
    pub fn per_second(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.sent as f64
    }
}

/// The sockets' place: an address that says less than a peer's own, at the same port. What is sent back to the peer's address goes to the
/// peer, as it would with a forged one.
#[derive(Debug)]
pub struct Flooder {
    socket: Arc<Socket>,
    pub port: u16,
}

impl Flooder {
    pub fn new() -> anyhow::Result<Self> {
        let socket = Socket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), true).context("the flood's socket")?;
        Ok(Self { port: socket.address()?.port(), socket: Arc::new(socket) })
    }

    pub fn start(&self, wish: Wish) -> anyhow::Result<Running> {
        let stop = Arc::<AtomicBool>::default();
        let (socket, port, stopped) = (Arc::clone(&self.socket), self.port, Arc::clone(&stop));
        let work = move || flood(&socket, port, wish, &stopped);
        let thread = std::thread::Builder::new().name("flood".into()).spawn(work)?;
        Ok(Running { stop, thread: Some(thread) })
    }
}

pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Sprayed>>>,
}

impl Running {
    pub fn stop(mut self) -> anyhow::Result<Sprayed> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn flood(socket: &Socket, port: u16, wish: Wish, stop: &AtomicBool) -> anyhow::Result<Sprayed> {
    let (mut spray, mut inbox, mut sprayed) = (Spray::new(), Inbox::default(), Sprayed::default());
    let mut packets = Packets::new(wish.text, wish.to);
    // Of those that are sent twice, when the second time is due.
    let mut again: VecDeque<(Instant, u32)> = VecDeque::new();
    let (began, cpu) = (Instant::now(), cpu_of_thread());
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * wish.per_second) as u64;
        let behind = due.saturating_sub(sprayed.sent);
        if behind == 0 {
            sprayed.bytes_back += drain(socket, &mut inbox);
            std::thread::sleep(PAUSE);
            continue;
        }
        let now = Instant::now();
        sprayed.sent += spray.send(socket, wish.to, (behind as usize).min(BATCH), |text| {
            let from = match wish.source {
                Source::Anybody => anybody(packets.random(SOURCES)),
                Source::One(ip) => ip,
            };
            let copy = again.front().filter(|(at, _)| *at <= now).map(|(_, number)| *number);
            if copy.is_some() {
                again.pop_front();
            }
            let number = packets.write(text, SocketAddrV4::new(from, port), copy);
            if wish.text == Text::InviteTwice && copy.is_none() && again.len() < WAITING {
                again.push_back((now + Duration::from_millis(500), number));
            }
            from
        })? as u64;
    }
    sprayed.took = began.elapsed();
    sprayed.cpu = cpu_of_thread().saturating_sub(cpu);
    sprayed.bytes_back += drain(socket, &mut inbox);
    Ok(sprayed)
}

fn drain(socket: &Socket, inbox: &mut Inbox) -> u64 {
    // An error is told for a packet that nobody wanted: no byte came back for it.
    let taken = inbox.take(socket).unwrap_or(0);
    (0..taken).map(|at| inbox.get(at).bytes.len() as u64).sum()
}

/// Beyond the addresses that peers have here.
fn anybody(number: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_be_bytes([127, 64, 0, 0]) + number as u32)
}

pub fn cpu_of_thread() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_flood_keeps_its_rate_comes_from_everywhere_and_counts_what_comes_back() {
        let to = Socket::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), false).unwrap();
        let at = to.address().unwrap();
        let flooder = Flooder::new().unwrap();
        let wish = Wish { source: Source::Anybody, to: at, per_second: 2_000.0, text: Text::Options };
        let running = flooder.start(wish).unwrap();
        let (mut inbox, mut sources) = (Inbox::default(), BTreeSet::new());
        let deadline = Instant::now() + Duration::from_secs(20);
        while sources.len() < 500 && Instant::now() < deadline {
            for place in 0..inbox.take(&to).unwrap() {
                let came = inbox.get(place);
                assert_eq!(came.from.port(), flooder.port);
                if sources.insert(*came.from.ip()) && sources.len() == 1 {
                    to.send(came.from, b"back").unwrap();
                }
            }
        }
        let sprayed = running.stop().unwrap();
        assert!(sources.len() >= 500, "{} sources, {sprayed:?}", sources.len());
        assert_eq!(sprayed.bytes_back, 4);
    }
}
