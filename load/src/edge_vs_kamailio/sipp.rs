//! SIPp as the caller and as the two nodes. Both peers meet the same scenarios with the same options.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// A loopback address that nobody has now.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr())?)
}

/// Killed when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The scenarios stand beside this crate.
fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

pub fn node(at: SocketAddr, dir: &Path) -> anyhow::Result<Process> {
    let mut sipp = sipp(at, dir);
    sipp.arg("-sf").arg(scenario("node.xml"));
    Ok(Process(sipp.spawn().context("sipp does not start")?))
}

/// What one run of the caller came to.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    pub good: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub rate: u32,
    pub calls: u64,
    pub hold: Duration,
}

/// Places the calls and waits for the last to end.
pub fn call(from: SocketAddr, to: SocketAddr, load: Load, dir: &Path) -> anyhow::Result<Calls> {
    let figures = dir.join(format!("calls-{}.csv", from.port()));
    // SIPp appends to what is there.
    let _absent = fs::remove_file(&figures);
    let limit = load.calls / u64::from(load.rate) + load.hold.as_secs() + 40;
    let status = sipp(from, dir)
        .arg("-sf")
        .arg(scenario("caller.xml"))
        .args(["-s", "+4930123456", "-r", &load.rate.to_string(), "-m", &load.calls.to_string()])
        .args(["-d", &load.hold.as_millis().to_string(), "-l", "15000"])
        // Kamailio's processes may overtake each other: a 180 behind its 200 is no failed call.
        .args(["-default_behaviors", "all,-abortunexp"])
        .args(["-timeout", &format!("{limit}s"), "-trace_stat", "-fd", "1", "-stf"])
        .arg(&figures)
        .arg(to.to_string())
        .status()
        .context("sipp does not start")?;
    let text =
        fs::read_to_string(&figures).with_context(|| format!("sipp wrote no figures, it ended with {status}"))?;
    read(&text)
}

fn sipp(at: SocketAddr, dir: &Path) -> Command {
    let mut sipp = Command::new("sipp");
    sipp.args(["-i", &at.ip().to_string(), "-p", &at.port().to_string(), "-nostdin", "-buff_size", "4194304"]);
    sipp.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sipp
}

/// SIPp's figures: names in the first line, the sums so far in the last.
fn read(text: &str) -> anyhow::Result<Calls> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
    let Some(last) = lines.next_back() else { bail!("sipp wrote no line of figures") };
    let values: Vec<&str> = last.split(';').collect();
    let value = |name: &str| -> anyhow::Result<u64> {
        let at = names.iter().position(|n| *n == name).with_context(|| format!("sipp tells no {name}"))?;
        values.get(at).and_then(|v| v.parse().ok()).with_context(|| format!("sipp's {name} is no number"))
    };
    Ok(Calls { good: value("SuccessfulCall(C)")?, failed: value("FailedCall(C)")? })
}

impl Calls {
    /// A run with failed calls measured something else than calls.
    pub fn all_good(self, load: Load) -> anyhow::Result<()> {
        ensure!(self.good == load.calls && self.failed == 0, "void: of {} calls {self:?}", load.calls);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let text = "A;SuccessfulCall(C);FailedCall(C);\n1;10;0;\n1;20;1;\n";
        let calls = read(text).expect("figures");
        assert_eq!((calls.good, calls.failed), (20, 1));
        let load = Load { rate: 1, calls: 21, hold: Duration::ZERO };
        assert!(calls.all_good(load).is_err());
        assert!(read("").is_err());
    }
}
