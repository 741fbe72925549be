//! What a test sees of a process that runs beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a test waits for what takes a moment on a machine at rest. A start waits for some thirty syncs of a disk, and beside
/// Kafka and Postgres one alone may take a second; nothing is proved by giving up early.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Below the ports that the system hands out by itself: nobody's outgoing connection, and no socket bound to "any port", takes
/// one between the moment it is chosen and the moment it is bound.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that is free for UDP and TCP, and given once.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 250) as u16 * 80;
    loop {
        let port = PORTS.start + (first + TAKEN.fetch_add(1, Relaxed)) % PORTS.len() as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The body, when the answer is 200.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    reply.starts_with("HTTP/1.1 200").then(|| reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()))?
}

/// Whether there is a SIPp; says what is skipped without it.
pub fn has_sipp(what: &str) -> bool {
    let found = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        tests::skipped(&format!("{what} (sipp is not installed; Debian: sip-tester)"));
    }
    found
}

pub fn sipp(folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new("sipp");
    command.args(args).args(["-i", "127.0.0.1", "-nostdin"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sipp")
}

/// A process that does not outlive its test.
pub struct Ends(pub Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process whose words are kept, so that a test that waits for it in vain can show them.
pub struct Process {
    child: Ends,
    log: PathBuf,
}

impl Process {
    /// What it says goes to a file in the folder.
    pub fn start(mut command: Command, folder: &Path) -> Process {
        let log = folder.join("said");
        let file = File::create(&log).expect("a file for what it says");
        let errors = file.try_clone().expect("the same file");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        Process { child: Ends(child.expect("started")), log }
    }

    /// Looks until there is something to see; fails as soon as the process has ended, or when patience has.
    pub fn until<T>(&mut self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.within(PATIENCE, what, look)
    }

    /// The same for what is promised within a time.
    pub fn within<T>(&mut self, limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let ended = self.child.0.try_wait().expect("its state");
            assert!(ended.is_none(), "it ended before {what}: {ended:?}\n{}", self.said());
            assert!(started.elapsed() < limit, "waited {limit:?} for {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let kill = Command::new("kill").args(["-TERM", &self.child.0.id().to_string()]).status().expect("kill");
        assert!(kill.success());
        tests::wait(&mut self.child.0, PATIENCE).unwrap_or_else(|error| panic!("{error}\n{}", self.said()))
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
