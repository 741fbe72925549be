//! How other threads wake the shard while it waits for packets: a pair of sockets, of which one end stands beside its own.
//!
//! Ringing twice costs one system call: the bell remembers that it rang. Whoever rings has put something into a mailbox
//! before; the shard calls [`Bell::quiet`] before it looks into the mailboxes, so nothing that was put in stays unseen.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clapper: UnixStream,
    ear: UnixStream,
    rang: AtomicBool,
}

impl Bell {
    pub fn new() -> io::Result<Bell> {
        let (clapper, ear) = UnixStream::pair()?;
        clapper.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Bell(Arc::new(Inner { clapper, ear, rang: AtomicBool::new(false) })))
    }

    /// The shard looks into its mailboxes soon.
    pub fn ring(&self) {
        if !self.0.rang.swap(true, Ordering::SeqCst) {
            // There is room: one byte at a time is in there. And the shard looks by itself ten times a second.
            let _ = (&self.0.clapper).write(&[1]);
        }
    }

    /// For the shard: from here on a ring wakes again.
    pub fn quiet(&self) {
        if self.0.rang.load(Ordering::SeqCst) {
            // First emptied, then marked: a ring in between finds the mark, and its mail is looked for right after this. The swap, unlike a
            // store, sees what that ringer did before it rang.
            let _ = (&self.0.ear).read(&mut [0; 8]);
            self.0.rang.swap(false, Ordering::SeqCst);
        }
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.ear.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::wait::Waiting;
    use std::time::Duration;

    fn rings(bell: &Bell, at_most: Duration) -> bool {
        let mut waiting = Waiting::new();
        waiting.add(bell);
        waiting.wait(at_most).unwrap();
        waiting.told(0).readable
    }

    #[test]
    fn it_rings_until_it_is_quietened_and_again_after_that() {
        let bell = Bell::new().unwrap();
        assert!(!rings(&bell, Duration::ZERO));
        for _ in 0..2 {
            bell.ring();
            bell.clone().ring();
            assert!(rings(&bell, Duration::ZERO));
            bell.quiet();
            assert!(!rings(&bell, Duration::ZERO));
        }
    }

    #[test]
    fn no_mail_is_missed_however_many_ring() {
        let bell = Bell::new().unwrap();
        let (post, mail) = std::sync::mpsc::sync_channel(4);
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (bell, post) = (bell.clone(), post.clone());
                std::thread::spawn(move || {
                    for _ in 0..2_000 {
                        post.send(()).unwrap();
                        bell.ring();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 6_000 {
            assert!(rings(&bell, Duration::from_secs(5)), "asleep after {seen} with mail in the box");
            bell.quiet();
            seen += mail.try_iter().count();
        }
        senders.into_iter().for_each(|s| s.join().unwrap());
    }
}
