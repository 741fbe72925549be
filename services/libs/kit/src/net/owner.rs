//! Who has a port: the socket's inode from `/proc/net`, then the process that has it open from `/proc/<pid>/fd`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub pid: u32,
    /// The program and, where it looks like one, its sub-command. Never all arguments: they may hold passwords.
    pub command: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == std::process::id() {
            write!(f, "this process itself (pid {})", self.pid)
        } else {
            write!(f, "pid {} ({})", self.pid, self.command)
        }
    }
}

/// The processes that stand in the way of binding `addr`. Empty when this user may not see them.
#[must_use]
pub fn owner_of(transport: Transport, addr: SocketAddr) -> Vec<Owner> {
    let mut inodes = BTreeSet::new();
    for family in ["", "6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{transport}{family}")).unwrap_or_default();
        inodes.extend(table.lines().skip(1).filter_map(|line| inode_in_the_way(line, transport, addr)));
    }
    if inodes.is_empty() { Vec::new() } else { holders(&inodes) }
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn inode_in_the_way(line: &str, transport: Transport, addr: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let local = parse_address(fields.get(1)?)?;
    let listening = transport == Transport::Udp || *fields.get(3)? == "0A";
    let overlaps = local.ip() == addr.ip() || local.ip().is_unspecified() || addr.ip().is_unspecified();
    if !listening || local.port() != addr.port() || !overlaps {
        return None;
    }
    fields.get(9)?.parse().ok().filter(|inode| *inode != 0)
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's byte order, the port in hex.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn holders(inodes: &BTreeSet<u64>) -> Vec<Owner> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut owners: Vec<Owner> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok().map(|pid| (pid, entry.path())))
        .filter(|(_, proc)| holds(proc, inodes))
        .map(|(pid, proc)| Owner { pid, command: command(&proc) })
        .collect();
    owners.sort();
    owners
}

fn holds(proc: &Path, inodes: &BTreeSet<u64>) -> bool {
    let Ok(fds) = std::fs::read_dir(proc.join("fd")) else { return false };
    fds.flatten().any(|fd| {
        let Ok(target) = std::fs::read_link(fd.path()) else { return false };
        let inode = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

fn command(proc: &Path) -> String {
    let comm = std::fs::read_to_string(proc.join("comm")).unwrap_or_default();
    let line = std::fs::read(proc.join("cmdline")).unwrap_or_default();
    let second = line.split(|b| *b == 0).nth(1).and_then(|arg| std::str::from_utf8(arg).ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    let is_subcommand =
        second.len() <= 20 && second.starts_with(|c: char| c.is_ascii_lowercase()) && second.chars().all(plain);
    let name = comm.trim();
    if is_subcommand { format!("{name} {second}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_in_both_families() {
        let v4 = "  1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let v6 = "  1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 4712 2 0 0";
        let addr: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(inode_in_the_way(v4, Transport::Tcp, addr), Some(4711));
        assert_eq!(
            inode_in_the_way(v6, Transport::Udp, addr),
            Some(4712),
            "a socket on [::] stands in the way of IPv4"
        );
        assert_eq!(inode_in_the_way(v6, Transport::Tcp, addr), None, "not listening");
        assert_eq!(inode_in_the_way(v4, Transport::Tcp, "127.0.0.2:8080".parse().unwrap()), None);
    }
}
