//! The least that any proxy could do: a thread that sends every datagram on, unread. Also as a process of its own, for who counts its CPU.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const USAGE: &str = "relay AT CALLER NODE, three addresses; it ends when it is killed";

/// `load relay AT CALLER NODE`.
pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let [at, caller, node] = args else { bail!("{USAGE}") };
    let address = |text: &String| text.parse::<SocketAddrV4>().with_context(|| format!("{text:?}: {USAGE}"));
    let _relay = Relay::start(address(at)?, address(caller)?, address(node)?)?;
    loop {
        std::thread::park();
    }
}

pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// `at` is where the caller sends.
    pub fn start(at: SocketAddrV4, caller: SocketAddrV4, node: SocketAddrV4) -> anyhow::Result<Self> {
        let trunks = UdpSocket::bind(at).context("the relay's socket")?;
        let nodes = UdpSocket::bind("127.0.0.1:0").context("the relay's other socket")?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let ways = [(trunks.try_clone()?, nodes.try_clone()?, node), (nodes, trunks, caller)];
        let work = move || {
            let mut room = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let mut polled = ways.each_ref().map(|(from, ..)| PollFd::new(from, PollFlags::IN));
                let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                // An interrupted wait is a short one.
                let _woken = poll(&mut polled, Some(&wait));
                let ready = polled.each_ref().map(|p| !p.revents().is_empty());
                for ((from, to, address), _) in ways.iter().zip(ready).filter(|(_, ready)| *ready) {
                    pass_on(from, to, *address, &mut room);
                }
            }
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Everything that is there.
fn pass_on(from: &UdpSocket, to: &UdpSocket, address: SocketAddrV4, room: &mut [u8]) {
    // A port that nobody has any more is told by errors; there is nothing to do about it.
    if let Ok(length) = from.recv(room) {
        let _sent = to.send_to(&room[..length], SocketAddr::V4(address));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
