//! A Kafka broker on this machine: its CPU is printed beside ours, and not counted. Kafka is found by the port that it listens on.

use std::fs;

use anyhow::{Context, ensure};

use crate::cpu::{self, Used};

#[derive(Debug)]
pub struct Broker {
    pub bootstrap: String,
    process: u32,
}

impl Broker {
    pub fn find(bootstrap: &str) -> anyhow::Result<Self> {
        let port = bootstrap.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port: u16 = port.with_context(|| format!("{bootstrap:?} is no HOST:PORT"))?;
        let mut sockets = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            // A machine without IPv6 has no second table.
            sockets.extend(fs::read_to_string(table).unwrap_or_default().lines().filter_map(|l| listening(l, port)));
        }
        ensure!(!sockets.is_empty(), "nobody listens on port {port} of this machine: its CPU could not be told");
        let process =
            owner(&sockets).with_context(|| format!("whose port {port} is cannot be seen: try as its user"))?;
        Ok(Self { bootstrap: bootstrap.to_owned(), process })
    }

    pub fn cpu(&self) -> anyhow::Result<Used> {
        cpu::of_process(self.process)
    }
}

/// The inode of a socket that listens on the port, from a line of the kernel's table.
fn listening(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, at) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(at, 16).ok()? == port && *fields.get(3)? == LISTEN;
    is_it.then(|| fields.get(9)?.parse().ok()).flatten()
}

fn owner(sockets: &[u64]) -> Option<u32> {
    let names: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        // Another user's, or gone.
        let Ok(open) = fs::read_dir(entry.path().join("fd")) else { continue };
        let targets = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        if targets.filter_map(|t| t.to_str().map(str::to_owned)).any(|t| names.contains(&t)) {
            return Some(pid);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_found_by_the_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound").to_string();
        let found = Broker::find(&address).expect("found");
        assert_eq!(found.process, std::process::id());
        assert!(found.cpu().is_ok());
        drop(socket);
        assert!(Broker::find(&address).is_err());
        assert!(Broker::find("nonsense").is_err());
    }
}
