//! The least that dropping can cost: a thread that reads and forgets, a batch per system call.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::flood::{Flooder, Sprayed, Wish, cpu_of_thread};
use crate::calls::{Inbox, Socket};
use crate::edge_process::free;

/// Microseconds per packet that was read, and what the flood came to.
pub fn run(
    flooder: &Flooder,
    wish: impl FnOnce(SocketAddrV4) -> Wish,
    time: Duration,
) -> anyhow::Result<(f64, Sprayed)> {
    let at = free()?;
    let socket = Socket::bind(at, false)?;
    let stop = Arc::<AtomicBool>::default();
    let stopped = Arc::clone(&stop);
    let read = move || {
        let (mut inbox, mut count, before) = (Inbox::default(), 0, cpu_of_thread());
        while !stopped.load(Ordering::Relaxed) {
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            // An interrupted wait is a short one.
            let _woken = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&wait));
            count += inbox.take(&socket).unwrap_or(0);
        }
        cpu_of_thread().saturating_sub(before).as_secs_f64() * 1e6 / count as f64
    };
    let reader = std::thread::Builder::new().name("sink".into()).spawn(read)?;
    let flood = flooder.start(wish(at))?;
    std::thread::sleep(time);
    let sprayed = flood.stop()?;
    stop.store(true, Ordering::Relaxed);
    let us = reader.join().map_err(|_| anyhow::anyhow!("the sink panicked"))?;
    Ok((us, sprayed))
}
