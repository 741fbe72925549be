//! Asking the admin server of a running process.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kit::admin::AdminConfig;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is longer.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// `GET` of a route that answers with JSON. `setting` names the section that says where.
pub fn get(admin: &AdminConfig, setting: &str, path: &str) -> anyhow::Result<Value> {
    let to = reachable(admin.bind);
    let mut token = String::new();
    if let Some(file) = &admin.token_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("{setting}.token_file {}", file.display()))?;
        token = format!("Authorization: Bearer {}\r\n", text.trim());
    }
    let no_answer =
        || format!("nothing answers on {to}: does the edge run, and is {setting}.bind that of its settings?");
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE).with_context(no_answer)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends with the connection, so it needs no decoding.
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {to}\r\n{token}\r\n")?;
    let mut answer = String::new();
    connection.take(MOST_BYTES).read_to_string(&mut answer).with_context(no_answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(no_answer)?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the process on {to} refused {path}: {status}: {}", body.trim());
    }
    serde_json::from_str(body).with_context(|| format!("the answer of {to} to {path}"))
}

/// Where to connect to for a listener on this address.
pub fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
