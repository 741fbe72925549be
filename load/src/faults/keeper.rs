//! The parent's side of a child: starts it, tells it what to do, kills it.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    child::{self, Life},
    notes::Notes,
};

pub struct Keeper {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Keeper {
    pub fn start(life: &Life) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["stream-faults", "child"]).arg(serde_json::to_string(life)?);
        Self::spawn(command)
    }

    /// On a tmpfs of its own of this size, mounted over the folder of its data where only the child sees it.
    pub fn start_on_small_disk(life: &Life, mebibytes: u64) -> anyhow::Result<Self> {
        const MOUNT: &str = r#"mount -t tmpfs -o "size=$1m" tmpfs "$2" && shift 2 && exec "$@""#;
        std::fs::create_dir_all(&life.data)?;
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"])
            .arg(mebibytes.to_string())
            .arg(&life.data)
            .arg(std::env::current_exe()?)
            .args(["stream-faults", "child"])
            .arg(serde_json::to_string(life)?);
        Self::spawn(command)
    }

    /// Whether this machine lets us mount a tmpfs in a namespace of our own.
    pub fn can_mount(scratch: &Path) -> bool {
        let mount = Command::new("unshare")
            .args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs"])
            .arg(scratch)
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success())
    }

    fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the child")?;
        let orders = process.stdin.take().context("piped")?;
        let answers = BufReader::new(process.stdout.take().context("piped")?).lines();
        Ok(Self { process, orders, answers })
    }

    /// Waits until it has accepted its first event.
    pub fn wait_until_it_publishes(&mut self, notes: &Notes, life: u64) -> anyhow::Result<()> {
        let started = Instant::now();
        while notes.count(life) == 0 {
            if let Some(status) = self.process.try_wait()? {
                bail!("the child ended with {status} before it published");
            }
            ensure!(started.elapsed() < Duration::from_secs(60), "the child does not publish");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub fn ask(&mut self, order: &str) -> anyhow::Result<Value> {
        writeln!(self.orders, "{order}").with_context(|| format!("the child does not take {order:?}"))?;
        let answer = self.answers.next().with_context(|| format!("the child ended instead of {order:?}"))??;
        serde_json::from_str(&answer).with_context(|| format!("the child said {answer:?}"))
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Tells it to bring everything to the log and end; gives what it counted.
    pub fn stop(mut self) -> anyhow::Result<Value> {
        let said = self.ask("stop")?;
        let started = Instant::now();
        while started.elapsed() < child::STOP_LIMIT {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the child ended with {status}");
                return Ok(said);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the child does not end")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Usually it has ended by now.
        let _ended = self.kill();
    }
}
