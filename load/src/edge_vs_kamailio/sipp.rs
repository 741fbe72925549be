//! SIPp as the caller and as the two nodes. Both peers meet the same scenarios with the same options.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::process::Process;

/// Where the two scenarios are, `uac_call.xml` and `uas_answer.xml`: beside this crate unless somebody brings others.
#[derive(Debug, Clone)]
pub struct Scenarios(PathBuf);

impl Scenarios {
    pub fn ours() -> Self {
        Self(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))
    }

    pub fn in_folder(folder: &str) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        for name in ["uac_call.xml", "uas_answer.xml"] {
            ensure!(folder.join(name).is_file(), "{} has no {name}", folder.display());
        }
        Ok(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

pub fn node(at: SocketAddr, scenarios: &Scenarios, dir: &Path) -> anyhow::Result<Process> {
    let mut sipp = sipp(at, dir);
    sipp.arg("-sf").arg(scenarios.file("uas_answer.xml"));
    Process::start(sipp)
}

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub rate: u32,
    /// The calls run for so long before anything is measured, and then for the window.
    pub before: Duration,
    pub window: Duration,
    pub hold: Duration,
}

impl Load {
    /// Calls that the window should see.
    pub fn inside(self) -> f64 {
        f64::from(self.rate) * self.window.as_secs_f64()
    }

    /// A little more than both times take, so that the calls go on to the end of the window.
    fn calls(self) -> u64 {
        u64::from(self.rate) * ((self.before + self.window).as_secs() + 2)
    }
}

/// How long calls may last beyond their time: as long as SIPp sends a request again.
const SLACK: Duration = Duration::from_secs(40);

/// SIPp while it places its calls.
pub struct Caller {
    process: Process,
    figures: PathBuf,
    started: Instant,
    load: Load,
}

impl Caller {
    pub fn start(
        from: SocketAddr,
        to: SocketAddr,
        load: Load,
        scenarios: &Scenarios,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let figures = dir.join(format!("calls-{}.csv", from.port()));
        let mut command = sipp(from, dir);
        command
            .arg("-sf")
            .arg(scenarios.file("uac_call.xml"))
            .args(["-s", "+4930123456", "-r", &load.rate.to_string(), "-m", &load.calls().to_string()])
            .args(["-d", &load.hold.as_millis().to_string(), "-l", "15000"])
            // Kamailio's processes may overtake each other: a 180 behind its 200 is no failed call.
            .args(["-default_behaviors", "all,-abortunexp"])
            .args(["-trace_stat", "-fd", "1", "-stf"])
            .arg(&figures)
            .arg(to.to_string());
        Ok(Self { process: Process::start(command)?, figures, started: Instant::now(), load })
    }

    /// Waits until so much time has gone since the start and SIPp has told its figures anew. Gives the calls placed until then.
    pub fn run_for(&mut self, time: Duration) -> anyhow::Result<u64> {
        std::thread::sleep(time.saturating_sub(self.started.elapsed()));
        let told = |text: &str| text.lines().count();
        let before = told(&fs::read_to_string(&self.figures).unwrap_or_default());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(&self.figures).unwrap_or_default();
            if told(&text) > before && text.ends_with('\n') {
                return Ok(Figures::read(&text)?.placed);
            }
            ensure!(Instant::now() < deadline, "sipp tells no figures");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the last call to end. Gives how many there were and how many of them were not good.
    pub fn finish(mut self) -> anyhow::Result<Ended> {
        let limit = Duration::from_secs(self.load.calls() / u64::from(self.load.rate)) + self.load.hold + SLACK;
        // SIPp's own limit waits for the calls that are up, so one that does not end would keep it for ever.
        while self.process.ended()?.is_none() && self.started.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = fs::read_to_string(&self.figures).context("sipp wrote no figures")?;
        Figures::read(&text)?.ended(self.load.calls())
    }
}

/// What the calls of a turn came to.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub placed: u64,
    /// Failed, or still up long after the last began.
    pub not_good: u64,
}

impl Ended {
    /// A run with failed calls measured something else than calls.
    pub fn all_good(self) -> anyhow::Result<()> {
        ensure!(self.not_good == 0, "void: {} of {} calls were not good", self.not_good, self.placed);
        Ok(())
    }
}

fn sipp(at: SocketAddr, dir: &Path) -> Command {
    let mut sipp = Command::new("sipp");
    sipp.args(["-i", &at.ip().to_string(), "-p", &at.port().to_string(), "-nostdin", "-buff_size", "4194304"]);
    sipp.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    sipp
}

/// What the calls came to so far.
#[derive(Debug, Clone, Copy)]
struct Figures {
    placed: u64,
    good: u64,
}

impl Figures {
    /// SIPp gives names in the first line, the sums so far in the last.
    fn read(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
        let Some(last) = lines.next_back() else { bail!("sipp wrote no line of figures") };
        let values: Vec<&str> = last.split(';').collect();
        let value = |name: &str| -> anyhow::Result<u64> {
            let at = names.iter().position(|n| *n == name).with_context(|| format!("sipp tells no {name}"))?;
            values.get(at).and_then(|v| v.parse().ok()).with_context(|| format!("sipp's {name} is no number"))
        };
        Ok(Self { placed: value("TotalCallCreated")?, good: value("SuccessfulCall(C)")? })
    }

    /// What is not known to be good is not good; a run that placed fewer calls than it was asked to is none.
    fn ended(self, asked: u64) -> anyhow::Result<Ended> {
        ensure!(self.placed == asked, "void: {} of {asked} calls were placed", self.placed);
        Ok(Ended { placed: asked, not_good: asked.saturating_sub(self.good) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let text = "A;TotalCallCreated;SuccessfulCall(C);FailedCall(C);\n1;15;10;0;\n1;25;20;1;\n";
        let figures = Figures::read(text).expect("figures");
        assert_eq!((figures.placed, figures.good), (25, 20));
        assert_eq!(figures.ended(25).expect("all were placed").not_good, 5);
        assert!(figures.ended(26).is_err());
        assert!(Figures::read("").is_err());
    }
}
