//! The edge as a process of its own, with settings of a benchmark's choice.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{cpu, memory, place};

/// A log of its own, synced with group commits.
pub const EMBEDDED: &str = "[stream.embedded]\nalone = true\n";

/// What differs between benchmarks.
pub struct Settings<'a> {
    /// The sections `[stream…]`.
    pub stream: &'a str,
    /// Keys of `[edge]`.
    pub edge: &'a str,
    /// Tables that come last, `[[edge.trunks]]` for one.
    pub trunks: &'a str,
    pub nodes: &'a [SocketAddrV4],
    /// Mebibytes of the disk that its data is on: a tmpfs of its own that can be filled.
    pub small_disk: Option<u64>,
}

pub struct Edge {
    process: Process,
    pub trunk_side: SocketAddrV4,
    admin: SocketAddr,
    /// The edge's own pages; none in `standalone`, where they are the process's.
    pages: SocketAddr,
    /// Where the process sees its data.
    data: PathBuf,
    said: PathBuf,
    _disk: TempDir,
    _memory: TempDir,
}

impl Edge {
    pub fn start(binary: &Path, settings: &Settings<'_>) -> anyhow::Result<Self> {
        let (disk, memory) = (place::on_disk()?, place::in_memory()?);
        let (trunk_side, node_side, admin, pages) = (free()?, free()?, process::free()?, process::free()?);
        let (data, keys) = (disk.path().join("data"), disk.path().join("keys"));
        fs::create_dir_all(&data)?;
        write_key(&keys)?;
        let nodes: String = settings
            .nodes
            .iter()
            .enumerate()
            .map(|(i, at)| format!("[[edge.nodes]]\nid = \"node-{i}\"\naddress = \"{at}\"\n\n"))
            .collect();
        let text = format!(
            "data_dir = {data:?}\nrun_dir = {run:?}\nidentity.keys_dir = {keys:?}\n\n[log]\nfilter = \"warn\"\n\n\
             [admin]\nbind = \"{admin}\"\n\n{stream}\n[edge]\nid = \"bench\"\nadmin.bind = \"{pages}\"\n{edge}\n\
             [[edge.listeners]]\nid = \"trunks\"\nside = \"trunk\"\nbind = \"{trunk_side}\"\n\n\
             [[edge.listeners]]\nid = \"nodes\"\nside = \"node\"\nbind = \"{node_side}\"\n\n{nodes}{trunks}",
            run = memory.path(),
            stream = settings.stream,
            edge = settings.edge,
            trunks = settings.trunks,
        );
        let config = disk.path().join("edge.toml");
        fs::write(&config, text)?;
        let mut command = match settings.small_disk {
            None => Command::new(binary),
            Some(mebibytes) => on_small_disk(binary, &data, mebibytes),
        };
        command.arg("edge").arg("--config").arg(&config);
        Self::up(command, trunk_side, [admin, pages], data, disk, memory)
    }

    /// All services in one process, with the settings that are shipped: only addresses and folders are others.
    pub fn standalone(binary: &Path, node: SocketAddrV4) -> anyhow::Result<Self> {
        let (disk, memory) = (place::on_disk()?, place::in_memory()?);
        let (trunk_side, node_side, admin) = (free()?, free()?, process::free()?);
        let data = disk.path().join("data");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/config/standalone.toml");
        let mut text = fs::read_to_string(&shipped).with_context(|| shipped.display().to_string())?;
        let others = [
            ("\"./trunkline-data\"", format!("{data:?}\nrun_dir = {:?}", memory.path())),
            ("\"127.0.0.1:9600\"", format!("\"{admin}\"")),
            ("\"127.0.0.1:8080\"", format!("\"{}\"", process::free()?)),
            ("\"127.0.0.1:5060\"", format!("\"{trunk_side}\"")),
            ("\"127.0.0.1:5070\"", format!("\"{node_side}\"")),
            ("\"127.0.0.1:5080\"", format!("\"{node}\"")),
        ];
        for (shipped, ours) in others {
            ensure!(text.contains(shipped), "the shipped settings have no {shipped} any more");
            text = text.replacen(shipped, &ours, 1);
        }
        let config = disk.path().join("standalone.toml");
        fs::write(&config, text)?;
        let mut command = Command::new(binary);
        command.arg("standalone").arg("--config").arg(&config);
        Self::up(command, trunk_side, [admin, admin], data, disk, memory)
    }

    fn up(
        command: Command,
        trunk_side: SocketAddrV4,
        [admin, pages]: [SocketAddr; 2],
        data: PathBuf,
        disk: TempDir,
        memory: TempDir,
    ) -> anyhow::Result<Self> {
        let said = disk.path().join("said.log");
        let mut process = process::spawn(command, &said)?;
        process::up(&mut process, trunk_side.into(), &said)?;
        Ok(Self { process, trunk_side, admin, pages, data, said, _disk: disk, _memory: memory })
    }

    pub fn pid(&self) -> u32 {
        self.process.group()
    }

    pub fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(cpu::of_process(self.pid())?.sum())
    }

    pub fn resident(&self) -> anyhow::Result<u64> {
        memory::resident(self.pid())
    }

    /// Everything that it logged so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Takes every byte of its small disk.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        let data = self.data.strip_prefix("/")?;
        let ballast = Path::new("/proc").join(self.pid().to_string()).join("root").join(data).join("ballast");
        let mut file = fs::File::create(&ballast).with_context(|| ballast.display().to_string())?;
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0_u8; size];
            while file.write(&piece).is_ok_and(|n| n > 0) {}
        }
        Ok(())
    }

    /// What one of the edge's pages says.
    pub fn page(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&get(self.pages, path)?)?)
    }

    /// The sum of a metric over all its labels; zero when there is none of that name.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        Ok(sum(&get(self.admin, "/metrics")?, name))
    }
}

fn get(at: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(at).context("the admin server")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// An address of this machine that nobody has now.
pub fn free() -> anyhow::Result<SocketAddrV4> {
    match process::free()? {
        SocketAddr::V4(at) => Ok(at),
        SocketAddr::V6(at) => bail!("{at} is no IPv4"),
    }
}

/// Whether this machine lets us mount a tmpfs in a namespace of our own.
pub fn can_mount() -> bool {
    let scratch = tempfile::tempdir();
    let mount = |dir: &Path| {
        Command::new("unshare")
            .args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs"])
            .arg(dir)
            .stderr(Stdio::null())
            .status()
    };
    scratch.is_ok_and(|dir| mount(dir.path()).is_ok_and(|status| status.success()))
}

fn on_small_disk(binary: &Path, data: &Path, mebibytes: u64) -> Command {
    const MOUNT: &str = r#"mount -t tmpfs -o "size=$1m" tmpfs "$2" && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]).arg(mebibytes.to_string());
    command.arg(data).arg(binary);
    command
}

fn write_key(keys: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(keys)?;
    let key = keys.join("bench");
    fs::write(&key, [b'k'; 32])?;
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

fn sum(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        // As a counter it may have an end of its own.
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    };
    // The sum of nothing would be -0.
    metrics.lines().filter(|line| !line.starts_with('#')).filter_map(value).fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_nothing_else() {
        let text =
            "# TYPE edge_a counter\nedge_a_total{x=\"1\"} 2\nedge_a_total{x=\"2\"} 3.5\nedge_ab_total 9\nedge_b 1\n";
        assert_eq!((sum(text, "edge_a"), sum(text, "edge_b"), sum(text, "edge_c")), (5.5, 1.0, 0.0));
    }
}
