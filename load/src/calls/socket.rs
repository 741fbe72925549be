//! A UDP socket that says when the kernel received each datagram, many per system call; and one that sends from any loopback address.
//!
//! Everything that the kernel writes to is allocated once. IPv4 only: all of 127.0.0.0/8 is ours on any Linux machine, and that is
//! where benchmarks live.

#![expect(
    unsafe_code,
    reason = "receive stamps and source addresses are control messages, for which nobody has a safe interface; each call is one system call on our own memory"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::time::{ClockId, clock_gettime};

/// Datagrams per system call.
pub const BATCH: usize = 64;
/// No message of ours is larger.
const LARGEST: usize = 4096;
/// Room for the control messages of one datagram, aligned as the kernel wants them.
type Control = [u64; 8];
const BUFFER_BYTES: libc::c_int = 4 * 1024 * 1024;

/// The clock of the kernel's stamps, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Just before and just after the system call that sent something. On loopback the kernel stamps the receiver's datagram in between.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub before: u64,
    pub after: u64,
}

#[derive(Debug)]
pub struct Socket(UdpSocket);

impl Socket {
    /// `shared`: others of ours may bind the same port. Datagrams then go to the socket whose address says most.
    pub fn bind(at: SocketAddrV4, shared: bool) -> io::Result<Self> {
        // SAFETY: makes a descriptor or fails; nobody else has the number, so it is ours to own.
        let fd = unsafe {
            let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let fd = libc::socket(libc::AF_INET, kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd)
        };
        set(&fd, libc::SO_RCVBUF, BUFFER_BYTES)?;
        set(&fd, libc::SO_SNDBUF, BUFFER_BYTES)?;
        set(&fd, libc::SO_TIMESTAMPNS, 1)?;
        if shared {
            set(&fd, libc::SO_REUSEADDR, 1)?;
        }
        let name = sockaddr(at);
        // SAFETY: the name is a whole `sockaddr_in` of the length that stands beside it.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), NAME_BYTES) };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(fd.into()))
    }

    pub fn send(&self, to: SocketAddrV4, bytes: &[u8]) -> io::Result<Sent> {
        let before = now_ns();
        self.0.send_to(bytes, to)?;
        Ok(Sent { before, after: now_ns() })
    }

    pub fn address(&self) -> io::Result<SocketAddrV4> {
        match self.0.local_addr()? {
            std::net::SocketAddr::V4(at) => Ok(at),
            std::net::SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn set(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an `int` of the length that stands beside it.
    let done = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn sockaddr(at: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: at.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// One datagram that came.
#[derive(Debug, Clone, Copy)]
pub struct Came<'a> {
    pub from: SocketAddrV4,
    /// When the kernel received it.
    pub at: u64,
    pub bytes: &'a [u8],
}

/// Headers, names and control messages of one batch, in boxes that never move.
struct Batch {
    names: Box<[libc::sockaddr_in]>,
    controls: Box<[Control]>,
    parts: Box<[libc::iovec]>,
    heads: Box<[libc::mmsghdr]>,
}

impl Batch {
    fn new() -> Self {
        // SAFETY: all are C structures of integers and pointers, for which all zeroes is a valid value.
        let (name, part, head) =
            unsafe { (zeroed::<libc::sockaddr_in>(), zeroed::<libc::iovec>(), zeroed::<libc::mmsghdr>()) };
        let mut batch = Self {
            names: vec![name; BATCH].into(),
            controls: vec![Control::default(); BATCH].into(),
            parts: vec![part; BATCH].into(),
            heads: vec![head; BATCH].into(),
        };
        for at in 0..BATCH {
            let head = &mut batch.heads[at].msg_hdr;
            head.msg_name = (&raw mut batch.names[at]).cast();
            head.msg_iov = &raw mut batch.parts[at];
            head.msg_iovlen = 1;
            head.msg_control = (&raw mut batch.controls[at]).cast();
        }
        batch
    }
}

/// Room for one batch that comes in.
pub struct Inbox {
    batch: Batch,
    room: Box<[u8]>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (mut batch, mut room) = (Batch::new(), vec![0; BATCH * LARGEST].into_boxed_slice());
        for (part, chunk) in batch.parts.iter_mut().zip(room.chunks_exact_mut(LARGEST)) {
            *part = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: LARGEST };
        }
        Self { batch, room }
    }
}

impl Inbox {
    /// Takes what is there, up to a batch. Nothing is nothing.
    pub fn take(&mut self, socket: &Socket) -> io::Result<usize> {
        for head in &mut self.batch.heads {
            head.msg_hdr.msg_namelen = NAME_BYTES;
            head.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: every head points to a name, a part and a control buffer, and every part to a chunk of the room, of the lengths that
        // stand beside the pointers; all live in boxes that `self` owns.
        let got = unsafe {
            let (heads, flags) = (self.batch.heads.as_mut_ptr(), libc::MSG_DONTWAIT);
            libc::recvmmsg(socket.0.as_raw_fd(), heads, BATCH as _, flags as _, ptr::null_mut())
        };
        match usize::try_from(got) {
            Ok(got) => Ok(got),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The datagram at a place of the batch that was taken last.
    pub fn get(&self, at: usize) -> Came<'_> {
        let (head, name) = (&self.batch.heads[at], &self.batch.names[at]);
        let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
        let length = (head.msg_len as usize).min(LARGEST);
        Came {
            from: SocketAddrV4::new(ip, u16::from_be(name.sin_port)),
            at: stamp(&head.msg_hdr).unwrap_or_else(now_ns),
            bytes: &self.room[at * LARGEST..at * LARGEST + length],
        }
    }
}

fn stamp(head: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel filled the control buffer of this head, of the length that it wrote beside it; the macros stay inside that.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(head);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time = ptr::read_unaligned(libc::CMSG_DATA(control).cast::<libc::timespec>());
                return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
            }
            control = libc::CMSG_NXTHDR(head, control);
        }
    }
    None
}

/// A batch that goes out, each datagram from a loopback address of its own and the port of the socket.
pub struct Spray {
    batch: Batch,
    texts: Vec<Vec<u8>>,
}

impl Spray {
    pub fn new() -> Self {
        Self { batch: Batch::new(), texts: vec![Vec::new(); BATCH] }
    }

    /// `fill` writes datagram after datagram and says from which address it goes. Tells how many the kernel took.
    pub fn send(
        &mut self,
        socket: &Socket,
        to: SocketAddrV4,
        count: usize,
        mut fill: impl FnMut(&mut Vec<u8>) -> Ipv4Addr,
    ) -> io::Result<usize> {
        let count = count.min(BATCH);
        for at in 0..count {
            let text = &mut self.texts[at];
            text.clear();
            let from = fill(text);
            self.batch.names[at] = sockaddr(to);
            self.batch.parts[at] = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
            let head = &mut self.batch.heads[at].msg_hdr;
            head.msg_namelen = NAME_BYTES;
            set_source(head, from);
        }
        // SAFETY: the heads up to `count` were set above and point to boxes that `self` owns; the texts are only read.
        let sent = unsafe { libc::sendmmsg(socket.0.as_raw_fd(), self.batch.heads.as_mut_ptr(), count as _, 0) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(sent),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }
}

fn set_source(head: &mut libc::msghdr, from: Ipv4Addr) {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let length = size_of::<libc::in_pktinfo>() as u32;
    // SAFETY: the control buffer has 64 bytes, more than one control message with this structure takes.
    unsafe {
        head.msg_controllen = libc::CMSG_SPACE(length) as _;
        let control = libc::CMSG_FIRSTHDR(head);
        (*control).cmsg_level = libc::IPPROTO_IP;
        (*control).cmsg_type = libc::IP_PKTINFO;
        (*control).cmsg_len = libc::CMSG_LEN(length) as _;
        ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)
    }

    #[test]
    fn the_kernels_stamp_lies_between_those_of_the_sender() {
        let (from, to) = (Socket::bind(any(), false).unwrap(), Socket::bind(any(), false).unwrap());
        let mut inbox = Inbox::default();
        // The first one may find the kernel's stamping switched off still.
        for _ in 0..3 {
            let sent = from.send(to.address().unwrap(), b"x").unwrap();
            assert_eq!(inbox.take(&to).unwrap(), 1);
            let came = inbox.get(0);
            assert_eq!((came.from, came.bytes), (from.address().unwrap(), &b"x"[..]));
            assert!(came.at <= now_ns() && sent.before <= sent.after);
            assert!(came.at + 1_000_000 >= sent.before, "{} {sent:?}", came.at);
        }
        assert_eq!(inbox.take(&to).unwrap(), 0);
    }

    #[test]
    fn datagrams_go_out_from_any_loopback_address_and_answers_find_the_way_back() {
        let from = Socket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), true).unwrap();
        let port = from.address().unwrap().port();
        let to = Socket::bind(any(), false).unwrap();
        let mut last = 0;
        let fill = |text: &mut Vec<u8>| {
            last += 1;
            text.push(last);
            Ipv4Addr::new(127, 9, 9, last)
        };
        assert_eq!(Spray::new().send(&from, to.address().unwrap(), 5, fill).unwrap(), 5);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.take(&to).unwrap(), 5);
        for at in 0..5 {
            let came = inbox.get(at);
            let n = at as u8 + 1;
            assert_eq!((came.from, came.bytes), (SocketAddrV4::new(Ipv4Addr::new(127, 9, 9, n), port), &[n][..]));
        }
        to.send(SocketAddrV4::new(Ipv4Addr::new(127, 9, 9, 3), port), b"back").unwrap();
        assert_eq!(inbox.take(&from).unwrap(), 1);
    }

    #[test]
    fn a_socket_with_an_address_gets_what_is_sent_to_it_and_not_the_one_without() {
        let wild = Socket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), true).unwrap();
        let own = SocketAddrV4::new(Ipv4Addr::new(127, 9, 9, 77), wild.address().unwrap().port());
        let own = Socket::bind(own, true).unwrap();
        wild.send(own.address().unwrap(), b"x").unwrap();
        let mut inbox = Inbox::default();
        assert_eq!((inbox.take(&wild).unwrap(), inbox.take(&own).unwrap()), (0, 1));
    }
}
