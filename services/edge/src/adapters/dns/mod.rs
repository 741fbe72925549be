//! A stub resolver: asks the recursive servers of the settings or of the system, by UDP and, for long answers, by TCP.
//!
//! Each question has a number and a socket of its own, so whoever wants to answer in a server's place must guess both. It keeps
//! nothing: who asks keeps what it learned, for as long as it may.

pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::config::DnsConfig;
use wire::{Data, Fault, Kind};

/// Where systems keep the addresses of their name servers.
const SYSTEM: &str = "/etc/resolv.conf";
/// Rounds over all servers.
const ROUNDS: usize = 2;

#[derive(Clone, Debug)]
pub struct Resolver {
    /// Empty: those of the system, which may change while we run.
    servers: Vec<SocketAddr>,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Answer(#[from] Fault),
}

impl Resolver {
    #[must_use]
    pub fn new(settings: &DnsConfig) -> Resolver {
        Resolver { servers: settings.servers.clone(), timeout: Duration::from_millis(settings.timeout_ms) }
    }

    /// The records of one kind and their shortest life. None of them is an answer, an error is not.
    pub async fn records(&self, name: &str, kind: Kind) -> Result<(Vec<Data>, Duration), String> {
        let servers = if self.servers.is_empty() { of_system(SYSTEM) } else { self.servers.clone() };
        let mut last = "no name server".to_owned();
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            match self.ask(*server, name, kind).await {
                Ok((found, ttl)) => return Ok((found, Duration::from_secs(ttl.into()))),
                Err(error) => last = format!("{server}: {error}"),
            }
        }
        Err(format!("{kind:?} {name}: {last}"))
    }

    async fn ask(&self, server: SocketAddr, name: &str, kind: Kind) -> Result<(Vec<Data>, u32), Error> {
        let random = uuid::Uuid::new_v4();
        let id = u16::from_be_bytes([random.as_bytes()[0], random.as_bytes()[1]]);
        let question = wire::question(id, name, kind).ok_or(Fault::Broken)?;
        let read = |bytes: &[u8]| wire::answer(bytes, id, name, kind);
        let slow = |_| Error::Silent(self.timeout);
        match timeout(self.timeout, by_udp(server, &question, read)).await.map_err(slow)? {
            Err(Error::Answer(Fault::Truncated)) => {
                timeout(self.timeout, by_tcp(server, &question, read)).await.map_err(slow)?
            }
            other => other,
        }
    }
}

type Found = (Vec<Data>, u32);

async fn by_udp(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Result<Found, Fault>,
) -> Result<Found, Error> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(&buffer[..length]) {
            // Not for us, whoever sent it: the answer may still come.
            Err(Fault::Foreign | Fault::Broken) => {}
            other => return Ok(other?),
        }
    }
}

async fn by_tcp(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Result<Found, Fault>,
) -> Result<Found, Error> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| Fault::Broken)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(read(&answer)?)
}

/// The servers in a file as `resolv.conf`; without any the one on this machine.
fn of_system(path: &str) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    let servers: Vec<SocketAddr> = text.lines().filter_map(server).collect();
    if servers.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], 53))] } else { servers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers_are_read_and_without_any_it_is_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        std::fs::write(
            &path,
            "# by dhcp\nsearch example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver x\n",
        )
        .unwrap();
        let found = of_system(path.to_str().unwrap());
        assert_eq!(found, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse::<SocketAddr>().unwrap()]);
        assert_eq!(of_system("/nowhere"), ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
    }
}
