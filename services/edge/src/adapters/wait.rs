//! Waiting for several descriptors at once, to the microsecond: `ppoll`.

#![expect(unsafe_code, reason = "std has no poll; the one call reads and writes a slice that lives through it")]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Descriptors in the order in which they were added. Whoever adds one keeps it open for as long as this is used: a closed
/// one is told as an error, never touched.
#[derive(Debug, Default)]
pub struct Waiting(Vec<libc::pollfd>);

/// What a descriptor has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub readable: bool,
    /// Something stands in its error queue.
    pub error: bool,
}

impl Waiting {
    pub fn new() -> Waiting {
        Waiting::default()
    }

    pub fn add(&mut self, what: &impl AsRawFd) {
        self.0.push(libc::pollfd { fd: what.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }

    /// Until one of them has something to say, or the time has gone, or a signal came.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: pointer and length are those of a live slice of `pollfd`; the time lives on this stack; no mask is given.
        let woken = unsafe {
            libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, &raw const time, std::ptr::null())
        };
        if woken >= 0 {
            return Ok(());
        }
        self.0.iter_mut().for_each(|fd| fd.revents = 0);
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
    }

    /// What the descriptor that was added as the nth said at the end of the last wait.
    pub fn told(&self, nth: usize) -> Told {
        let said = self.0.get(nth).map_or(0, |fd| fd.revents);
        Told { readable: said & libc::POLLIN != 0, error: said & libc::POLLERR != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn only_what_has_something_to_say_is_told() {
        let sockets = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        let mut waiting = Waiting::new();
        sockets.iter().for_each(|socket| waiting.add(socket));
        let none = Told { readable: false, error: false };
        waiting.wait(Duration::from_micros(200)).unwrap();
        assert_eq!((waiting.told(0), waiting.told(1), waiting.told(2)), (none, none, none));
        sockets[0].send_to(b"x", sockets[1].local_addr().unwrap()).unwrap();
        waiting.wait(Duration::from_secs(5)).unwrap();
        assert_eq!((waiting.told(0), waiting.told(1)), (none, Told { readable: true, error: false }));
    }
}
