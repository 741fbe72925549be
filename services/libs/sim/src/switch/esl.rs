//! The sockets of ESL: frames in, batches of bytes out. What a command means is decided by the switch's own task.
//!
//! Each connection has a reading and a writing task and nothing else. Reading stops when the switch does not take commands (its
//! channel is bounded), which is what a hanging FreeSWITCH looks like from outside.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::ConnId;
use super::channel::ChannelId;

/// A command line with its headers and body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub line: String,
    pub headers: Vec<(Box<str>, Box<str>)>,
    pub body: String,
}

#[derive(Debug)]
pub(super) struct Link {
    pub conn: ConnId,
    pub queue: mpsc::Sender<Bytes>,
    pub stop: CancellationToken,
}

#[derive(Debug)]
pub(super) enum Input {
    Opened(Link),
    Command {
        conn: ConnId,
        command: Command,
    },
    Closed {
        conn: ConnId,
    },
    /// The outcome of dialling out for the `socket` application.
    Dialled {
        channel: ChannelId,
        host: String,
        link: Option<Link>,
    },
}

/// A command longer than this is not a command.
const MAX_COMMAND: usize = 1024 * 1024;

/// Opens sockets for one life of the switch; everything ends with `life`.
#[derive(Clone)]
pub(super) struct Sockets {
    pub life: CancellationToken,
    pub tasks: TaskTracker,
    /// Commands from all connections, in the order in which they arrived. Bounded: a switch that hangs stops reading.
    pub input: mpsc::Sender<Input>,
    /// Length of each connection's outgoing queue, in events and replies.
    pub queue: usize,
    pub next: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Sockets {
    pub fn listen(&self, listener: TcpListener) {
        let sockets = self.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = sockets.life.cancelled() => return,
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            let link = sockets.serve(stream);
                            if sockets.input.send(Input::Opened(link)).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        });
    }

    /// Dials the first address that answers, as `socket host1:port|host2:port` does.
    pub fn dial(&self, channel: ChannelId, hosts: Vec<SocketAddr>) {
        let sockets = self.clone();
        self.tasks.spawn(async move {
            let mut result = (String::new(), None);
            for host in hosts {
                let connected = tokio::select! {
                    () = sockets.life.cancelled() => return,
                    connected = tokio::time::timeout(std::time::Duration::from_secs(5), TcpStream::connect(host)) => connected,
                };
                if let Ok(Ok(stream)) = connected {
                    result = (host.ip().to_string(), Some(sockets.serve(stream)));
                    break;
                }
            }
            let (host, link) = result;
            // The switch may have ended meanwhile; then nobody waits for this either.
            let _ = sockets.input.send(Input::Dialled { channel, host, link }).await;
        });
    }

    fn serve(&self, stream: TcpStream) -> Link {
        let conn = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        // Small replies must not wait for the acknowledgement of the previous one; without it only latency suffers.
        let _ = stream.set_nodelay(true);
        let stop = self.life.child_token();
        let (queue, outgoing) = mpsc::channel(self.queue);
        let (read, write) = stream.into_split();
        let input = self.input.clone();
        let stopped = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = reading(conn, read, &input) => {}
            }
            // Nobody to tell when the switch is gone.
            let _ = input.send(Input::Closed { conn }).await;
        });
        let (life, stopped) = (self.life.clone(), stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = life.cancelled() => {}
                () = writing(write, outgoing) => {}
            }
            stopped.cancel();
        });
        Link { conn, queue, stop }
    }
}

async fn reading(conn: ConnId, mut read: tokio::net::tcp::OwnedReadHalf, input: &mpsc::Sender<Input>) {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        while let Some(command) = take(&mut buffer) {
            if input.send(Input::Command { conn, command }).await.is_err() {
                return;
            }
        }
        match read.read_buf(&mut buffer).await {
            Ok(n) if n > 0 && buffer.len() <= MAX_COMMAND => {}
            _ => return,
        }
    }
}

/// Writes until the switch drops its end of the queue; what was queued is still written.
async fn writing(mut write: tokio::net::tcp::OwnedWriteHalf, mut outgoing: mpsc::Receiver<Bytes>) {
    let mut parts = Vec::with_capacity(64);
    let mut batch = BytesMut::with_capacity(64 * 1024);
    while outgoing.recv_many(&mut parts, 64).await > 0 {
        for part in parts.drain(..) {
            batch.extend_from_slice(&part);
        }
        if write.write_all(&batch).await.is_err() {
            return;
        }
        batch.clear();
    }
    // The far end may be gone already.
    let _ = write.shutdown().await;
}

/// Cuts one complete command off the buffer.
fn take(buffer: &mut BytesMut) -> Option<Command> {
    while buffer.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        buffer.advance(1);
    }
    let (head_end, body_start) = blank_line(buffer)?;
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut command = Command { line: lines.next().unwrap_or_default().trim().to_owned(), ..Command::default() };
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            command.headers.push((name.trim().into(), value.trim().into()));
        }
    }
    let length: usize = command
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    if buffer.len() < body_start + length {
        return None;
    }
    command.body = String::from_utf8_lossy(&buffer[body_start..body_start + length]).into_owned();
    buffer.advance(body_start + length);
    Some(command)
}

fn blank_line(buffer: &[u8]) -> Option<(usize, usize)> {
    (0..buffer.len()).find_map(|at| match &buffer[at..] {
        [b'\n', b'\n', ..] => Some((at, at + 2)),
        [b'\r', b'\n', b'\r', b'\n', ..] => Some((at, at + 4)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_at_the_blank_line_and_the_body_by_its_length() {
        let mut buffer = BytesMut::from(
            &b"api status\n\nsendmsg u-1\ncall-command: execute\nexecute-app-arg: a: b\ncontent-length: 5\n\nhe\n\noexit\r\n\r\nnoev"[..],
        );
        assert_eq!(take(&mut buffer).unwrap().line, "api status");
        let sendmsg = take(&mut buffer).unwrap();
        assert_eq!((sendmsg.line.as_str(), sendmsg.body.as_str()), ("sendmsg u-1", "he\n\no"));
        assert_eq!(sendmsg.headers[1], ("execute-app-arg".into(), "a: b".into()));
        assert_eq!(take(&mut buffer).unwrap().line, "exit");
        assert_eq!(take(&mut buffer), None);
        assert_eq!(&buffer[..], b"noev");
    }
}
