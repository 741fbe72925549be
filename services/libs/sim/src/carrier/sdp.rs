//! The session description that carriers offer and answer with. Nobody listens on its port: media is not simulated.

use std::net::SocketAddr;

#[must_use]
pub fn body(local: SocketAddr, session: u64) -> String {
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let host = local.ip();
    let port = 20_000 + (session % 10_000) * 2;
    format!(
        "v=0\r\no=- {session} 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}
