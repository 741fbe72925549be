//! A bad wire between a carrier and the edge, on real sockets: packets are lost, held back and overtaken, in both directions.
//! Everything that it does follows from its seed and the order of the packets.

use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::peers::Rng;

/// Percent of packets that are lost, and that are held back for a while.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: u64,
    pub late: u64,
    pub late_ms: u64,
}

struct Wire {
    weather: Weather,
    stop: AtomicBool,
    lost: AtomicU64,
    late: AtomicU64,
}

/// The carrier sends to `front` and hears from it; the edge knows the carrier as `back`.
pub struct Lossy {
    pub front: SocketAddr,
    pub back: SocketAddr,
    edge: Arc<OnceLock<SocketAddr>>,
    wire: Arc<Wire>,
    threads: Vec<JoinHandle<()>>,
}

impl Lossy {
    pub fn start(carrier: SocketAddr, weather: Weather, seed: u64) -> Lossy {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            socket
        };
        let (front, back) = (socket(), socket());
        let wire =
            Arc::new(Wire { weather, stop: AtomicBool::new(false), lost: AtomicU64::new(0), late: AtomicU64::new(0) });
        let edge = Arc::new(OnceLock::new());
        let known = Arc::new(OnceLock::from(carrier));
        let (front_addr, back_addr) = (front.local_addr().unwrap(), back.local_addr().unwrap());
        let way = |from: &UdpSocket, by: &UdpSocket, to: &Arc<OnceLock<SocketAddr>>, seed: u64| {
            let (from, by) = (from.try_clone().unwrap(), by.try_clone().unwrap());
            let (to, wire) = (Arc::clone(to), Arc::clone(&wire));
            std::thread::spawn(move || carry(&from, &by, &to, &wire, &mut Rng(seed)))
        };
        let threads = vec![way(&front, &back, &edge, seed), way(&back, &front, &known, seed ^ 0xff)];
        Lossy { front: front_addr, back: back_addr, edge, wire, threads }
    }

    pub fn set_edge(&self, edge: SocketAddr) {
        self.edge.set(edge).expect("set once");
    }

    /// Packets that were lost, and that others may have overtaken.
    pub fn counts(&self) -> (u64, u64) {
        (self.wire.lost.load(Ordering::Relaxed), self.wire.late.load(Ordering::Relaxed))
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.wire.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

struct Packet {
    due: Instant,
    line: u64,
    bytes: Vec<u8>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Packet) -> bool {
        self.line == other.line
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Packet) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    /// The heap gives the greatest first: the one that is due first.
    fn cmp(&self, other: &Packet) -> std::cmp::Ordering {
        (other.due, other.line).cmp(&(self.due, self.line))
    }
}

fn carry(from: &UdpSocket, by: &UdpSocket, to: &OnceLock<SocketAddr>, wire: &Wire, rng: &mut Rng) {
    let mut air: BinaryHeap<Packet> = BinaryHeap::new();
    let mut buffer = vec![0; 65_536];
    let mut line = 0;
    while !wire.stop.load(Ordering::Relaxed) {
        if let Ok((length, _)) = from.recv_from(&mut buffer) {
            let weather = wire.weather;
            if rng.chance(weather.loss) {
                wire.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                let late = rng.chance(weather.late);
                wire.late.fetch_add(u64::from(late), Ordering::Relaxed);
                let wait = if late { 1 + rng.below(weather.late_ms) } else { 0 };
                line += 1;
                let due = Instant::now() + Duration::from_millis(wait);
                air.push(Packet { due, line, bytes: buffer[..length].to_vec() });
            }
        }
        while air.peek().is_some_and(|p| p.due <= Instant::now()) {
            if let (Some(packet), Some(to)) = (air.pop(), to.get()) {
                let _ = by.send_to(&packet.bytes, to);
            }
        }
    }
}
