//! A name server on the loopback network: it answers what is in its zone, or that it cannot. Written by hand and on purpose without
//! the product's own reader.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

/// A record of the zone: the name without its last dot, the type, and the bytes of its data.
#[derive(Clone, Debug)]
pub struct Record {
    name: String,
    kind: u16,
    data: Vec<u8>,
}

pub struct Dns {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    zone: ArcSwap<Vec<Record>>,
    is_dead: AtomicBool,
    by_tcp: AtomicU64,
}

impl Dns {
    pub fn start(zone: Vec<Record>) -> Dns {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let state = Arc::new(State { zone: ArcSwap::from_pointee(zone), ..State::default() });
        // Both end with the process: they do nothing but wait for questions.
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                // Whoever answers without knowing the number is not heard.
                let _ = socket.send_to(&[0; 40], from);
                let _ = socket.send_to(&own.answer(&buffer[..length], 512), from);
            }
        });
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (mut stream, mut length) = (stream.unwrap(), [0; 2]);
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let answer = own.answer(&question, usize::from(u16::MAX));
                own.by_tcp.fetch_add(1, Ordering::Relaxed);
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).unwrap();
            }
        });
        Dns { address, state }
    }

    /// From now on it answers this.
    pub fn serve(&self, zone: Vec<Record>) {
        self.state.zone.store(Arc::new(zone));
    }

    /// From now on it answers that it cannot, or no longer so.
    pub fn die(&self, dead: bool) {
        self.state.is_dead.store(dead, Ordering::Relaxed);
    }

    /// Questions that came by TCP.
    pub fn by_tcp(&self) -> u64 {
        self.state.by_tcp.load(Ordering::Relaxed)
    }
}

impl State {
    fn answer(&self, asked: &[u8], most: usize) -> Vec<u8> {
        let (mut name, mut at) = (Vec::new(), 12);
        while asked[at] > 0 {
            let end = at + 1 + usize::from(asked[at]);
            name.push(String::from_utf8(asked[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let (name, kind) = (name.join("."), u16::from_be_bytes([asked[at + 1], asked[at + 2]]));
        let question = &asked[12..at + 5];
        let zone = self.zone.load();
        let found: Vec<&Record> = zone.iter().filter(|r| r.name == name && r.kind == kind).collect();
        let head = |flags: u16, count: u16| {
            [&asked[..2], &flags.to_be_bytes(), &[0, 1], &count.to_be_bytes(), &[0; 4], question].concat()
        };
        if self.is_dead.load(Ordering::Relaxed) {
            return head(0x8182, 0);
        }
        let mut out = head(0x8180, u16::try_from(found.len()).unwrap());
        for record in found {
            let length = u16::try_from(record.data.len()).unwrap();
            // The name of the question again, class IN, one second to live.
            out.extend([&[0xC0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 1], &length.to_be_bytes()].concat());
            out.extend(&record.data);
        }
        if out.len() > most { head(0x8380, 0) } else { out }
    }
}

fn name(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    text.split('.').flat_map(label).chain([0]).collect()
}

pub fn srv(of: &str, priority: u16, port: u16, host: &str) -> Record {
    let data = [&priority.to_be_bytes()[..], &[0, 1], &port.to_be_bytes(), &name(host)].concat();
    Record { name: of.into(), kind: 33, data }
}

pub fn host(of: &str) -> Record {
    Record { name: of.into(), kind: 1, data: vec![127, 0, 0, 1] }
}

/// SIP over UDP, there.
pub fn naptr(of: &str, to: &str) -> Record {
    let data = [&[0, 1, 0, 1, 1, b's', 7][..], b"SIP+D2U", &[0], &name(to)].concat();
    Record { name: of.into(), kind: 35, data }
}
