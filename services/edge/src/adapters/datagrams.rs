//! Datagrams in batches: one system call takes or sends many, which is a third of what each costs alone.
//!
//! Everything that the kernel writes to is allocated once, when the shard starts. Order: datagrams of one socket are taken and
//! sent in their order; sockets are independent of each other.

#![expect(
    unsafe_code,
    reason = "recvmmsg and sendmmsg have no safe interface that keeps its buffers; each call is one system call on our own memory"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;

/// Datagrams per call. The first of a batch waits for the work on the last one at most, which bounds what a batch adds to a
/// caller's answer: 16 × 10 µs.
pub const BATCH: usize = 16;
/// No datagram is larger.
const LARGEST: usize = 65_536;

/// Room for one batch that comes in.
pub struct Inbox {
    room: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    /// `heads` point to these.
    _parts: Box<[libc::iovec]>,
    heads: Box<[libc::mmsghdr]>,
    taken: usize,
}

impl Inbox {
    pub fn new() -> Inbox {
        let mut room = vec![0u8; BATCH * LARGEST].into_boxed_slice();
        // SAFETY: both are C structures of integers and pointers, for which all zeroes is a valid value.
        let (name, head) = unsafe { (zeroed::<libc::sockaddr_storage>(), zeroed::<libc::mmsghdr>()) };
        let mut names = vec![name; BATCH].into_boxed_slice();
        let mut parts: Box<[libc::iovec]> = room
            .chunks_exact_mut(LARGEST)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: LARGEST })
            .collect();
        let mut heads = vec![head; BATCH].into_boxed_slice();
        for ((head, name), part) in heads.iter_mut().zip(&mut names).zip(&mut parts) {
            head.msg_hdr.msg_name = (&raw mut *name).cast();
            head.msg_hdr.msg_iov = &raw mut *part;
            head.msg_hdr.msg_iovlen = 1;
        }
        Inbox { room, names, _parts: parts, heads, taken: 0 }
    }

    /// Takes what is there, up to a batch; an empty socket is `WouldBlock`.
    pub fn take(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.taken = 0;
        for head in &mut self.heads {
            head.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: every head points to a name and to a part, and every part to a chunk of the room, of the lengths that stand beside
        // the pointers; all live in boxes that `self` owns and never moves them in memory.
        let got = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(socket.as_raw_fd(), self.heads.as_mut_ptr(), BATCH as _, flags as _, std::ptr::null_mut())
        };
        self.taken = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        Ok(self.taken)
    }

    /// Who sent the datagram at a place of the batch, and its bytes.
    pub fn get(&self, at: usize) -> Option<(SocketAddr, &[u8])> {
        if at >= self.taken {
            return None;
        }
        let length = (self.heads[at].msg_len as usize).min(LARGEST);
        Some((to_address(&self.names[at])?, &self.room[at * LARGEST..at * LARGEST + length]))
    }
}

/// What one socket has to send.
pub struct Outbox {
    waiting: Vec<(SocketAddr, Bytes)>,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox { waiting: Vec::with_capacity(BATCH) }
    }

    /// True when it should be sent before more is put in.
    pub fn push(&mut self, to: SocketAddr, bytes: Bytes) -> bool {
        self.waiting.push((to, bytes));
        self.waiting.len() >= BATCH
    }

    /// Sends everything, in order. Tells how many could not be sent.
    pub fn send(&mut self, socket: &impl AsRawFd) -> u64 {
        let mut failed = 0;
        for batch in self.waiting.chunks(BATCH) {
            failed += send_batch(socket.as_raw_fd(), batch);
        }
        self.waiting.clear();
        failed
    }
}

fn send_batch(fd: RawFd, batch: &[(SocketAddr, Bytes)]) -> u64 {
    // SAFETY: all three are C structures of integers and pointers, for which all zeroes is a valid value.
    let (name, part, head): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) =
        unsafe { (zeroed(), zeroed(), zeroed()) };
    let (mut names, mut parts, mut heads) = ([name; BATCH], [part; BATCH], [head; BATCH]);
    for (at, (to, bytes)) in batch.iter().enumerate() {
        let header = &mut heads[at].msg_hdr;
        header.msg_namelen = from_address(*to, &mut names[at]);
        header.msg_name = (&raw mut names[at]).cast();
        parts[at] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
    }
    let (mut done, mut failed, mut told) = (0, 0, 0);
    while done < batch.len() {
        let left = batch.len() - done;
        // SAFETY: heads, names and parts of the batch were set above and live on this stack; the bytes are only read.
        let sent = unsafe { libc::sendmmsg(fd, heads[done..].as_mut_ptr(), left as _, libc::MSG_DONTWAIT as _) };
        match usize::try_from(sent) {
            Ok(sent @ 1..) => (done, told) = (done + sent, 0),
            // An error that an earlier packet met is told by the first send after it, which then did not happen: the error queue has
            // the particulars. Each address can be told of once per try.
            _ if told < 2 && io::Error::last_os_error().kind() == io::ErrorKind::ConnectionRefused => told += 1,
            _ => (done, failed, told) = (done + 1, failed + 1, 0),
        }
    }
    failed
}

fn to_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is larger and aligned for every address, holds this one.
            let v4 = unsafe { *std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { *std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes the address and tells its length.
fn from_address(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is larger than and aligned for every address.
            unsafe { *std::ptr::from_mut(name).cast() = v4 };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { *std::ptr::from_mut(name).cast() = v6 };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    fn socket(at: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn a_batch_arrives_in_order_with_its_senders_over_both_families() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let ((from, from_at), (to, to_at)) = (socket(at), socket(at));
            let mut out = Outbox::new();
            let sizes: Vec<usize> = (0..BATCH + 3).map(|i| 1 + i * 100).collect();
            for (i, &size) in sizes.iter().enumerate() {
                let full = out.push(to_at, Bytes::from(vec![i as u8; size]));
                assert_eq!(full, i + 1 >= BATCH);
            }
            assert_eq!(out.send(&from), 0);
            let mut inbox = Inbox::new();
            let mut seen = Vec::new();
            while seen.len() < sizes.len() {
                let taken = inbox.take(&to).unwrap();
                assert!(inbox.get(taken).is_none());
                for at in 0..taken {
                    let (sender, bytes) = inbox.get(at).unwrap();
                    assert_eq!(sender, from_at);
                    assert!(bytes.iter().all(|&b| usize::from(b) == seen.len()));
                    seen.push(bytes.len());
                }
            }
            assert_eq!(seen, sizes);
            assert_eq!(inbox.take(&to).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_refusal_in_the_middle_costs_nobody_else_a_packet() {
        let ((from, _), (to, to_at)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        assert!(super::super::icmp::enable(&from, false));
        let closed = socket("127.0.0.1:0").1;
        let mut out = Outbox::new();
        for i in 0..6u8 {
            out.push(to_at, Bytes::from(vec![i]));
            out.push(closed, Bytes::from_static(b"x"));
        }
        assert_eq!(out.send(&from), 0);
        let mut inbox = Inbox::new();
        let (mut seen, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(5));
        while seen.len() < 6 {
            assert!(Instant::now() < deadline, "only {seen:?} arrived");
            let taken = inbox.take(&to).unwrap_or(0);
            seen.extend((0..taken).filter_map(|at| inbox.get(at).map(|(_, bytes)| bytes[0])));
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_the_rest_goes() {
        let ((from, _), (to, to_at)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut out = Outbox::new();
        out.push(to_at, Bytes::from_static(b"a"));
        out.push(to_at, Bytes::from(vec![0; 70_000]));
        out.push(to_at, Bytes::from_static(b"b"));
        assert_eq!(out.send(&from), 1);
        let mut inbox = Inbox::new();
        assert_eq!(inbox.take(&to).unwrap(), 2);
    }
}
