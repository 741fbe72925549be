//! "Nobody listens there", as the system tells an unconnected UDP socket: by its error queue.
//!
//! With `IP_RECVERR` on, an ICMP error shows as a failed receive or send, and the queue names the address that the refused
//! packet was sent to. It is how a dead node is known within a millisecond instead of after three probes.

#![expect(
    unsafe_code,
    reason = "the error queue has no safe interface; each call is one system call on our own buffers"
)]

use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::SockAddrStorage;

/// Asks for errors. Where the system knows no such option, refused packets are found by time-outs only.
pub fn enable(socket: &impl AsRawFd, ipv6: bool) -> bool {
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a live c_int and the length is its size.
    let done = unsafe {
        let value = std::ptr::from_ref(&on).cast();
        libc::setsockopt(socket.as_raw_fd(), level, name, value, size_of::<libc::c_int>() as libc::socklen_t)
    };
    done == 0
}

/// Takes the queued errors; at most 64 at a time, so that a flood of them cannot hold up the calls.
pub fn drain(socket: &impl AsRawFd, mut refused: impl FnMut(SocketAddr)) {
    for _ in 0..64 {
        match next(socket.as_raw_fd()) {
            Some(address) => refused(address),
            None => return,
        }
    }
}

fn next(fd: RawFd) -> Option<SocketAddr> {
    let mut payload = [0u8; 64];
    let mut control = [0u64; 64];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    // SAFETY: a zeroed msghdr is a valid one without buffers; the fields set below point to live buffers of the given sizes.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `message` is to a live buffer of the length that stands beside it.
    let got = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if got < 0 {
        return None;
    }
    // SAFETY: the storage was zeroed, so it is initialised whatever the kernel wrote.
    let storage = unsafe { name.assume_init() };
    address(&storage)
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let mut copy = SockAddrStorage::zeroed();
    // SAFETY: both are the C structure `sockaddr_storage`, of one size.
    unsafe {
        *copy.view_as::<libc::sockaddr_storage>() = *storage;
        socket2::SockAddr::new(copy, size_of::<libc::sockaddr_storage>() as libc::socklen_t).as_socket()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    #[test]
    fn a_packet_to_a_closed_port_names_that_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(enable(&socket, false));
        let gone = {
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            other.local_addr().unwrap()
        };
        socket.send_to(b"x", gone).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let told = || socket.recv_from(&mut [0; 8]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        while !told() {
            assert!(Instant::now() < deadline, "the refusal never showed");
            std::thread::yield_now();
        }
        let mut seen = Vec::new();
        drain(&socket, |address| seen.push(address));
        assert_eq!(seen, [gone]);
    }
}
