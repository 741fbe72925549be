//! Other programs that a benchmark starts, and the one that it measures.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

/// A loopback address that nobody has now.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr())?)
}

/// Leads a process group of its own; killed when dropped, with everything in the group.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).stdin(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("{program} does not start"))?))
    }

    pub fn group(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Kamailio's children outlive their parent when that is killed alone. All of it may have ended by itself.
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// With what it says in a file.
pub fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Process> {
    let said = fs::File::create(log)?;
    command.stdout(said.try_clone()?).stderr(said);
    Process::start(command)
}

/// Waits until somebody has the port: then nobody else can bind it.
pub fn up(process: &mut Process, at: SocketAddr, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while UdpSocket::bind(at).is_ok() {
        if let Some(status) = process.ended()? {
            bail!("it ended with {status}:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        ensure!(Instant::now() < deadline, "it has not bound {at} within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The port is taken before the last child reads from it.
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// What is measured: a file, or a build that is brought up to date first, for nobody measures yesterday's code.
#[derive(Clone, Debug, Default)]
pub enum Binary {
    /// `cargo build --release`.
    #[default]
    Plain,
    /// `infra/release/build`: what operators run.
    Shipped,
    File(PathBuf),
}

impl Binary {
    /// From `--binary`: `shipped`, or a path.
    pub fn named(value: &str) -> anyhow::Result<Binary> {
        if value == "shipped" { Ok(Binary::Shipped) } else { Ok(Binary::File(std::path::absolute(value)?)) }
    }

    /// Builds it where needed; gives where it is.
    pub fn ready(&self) -> anyhow::Result<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        match self {
            Binary::File(file) => Ok(file.clone()),
            Binary::Plain => {
                let own = std::env::current_exe().context("where this benchmark's executable is")?;
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut build = Command::new(cargo);
                build.args(["build", "--release", "--quiet", "-p", "trunkline"]).current_dir(root);
                ensure!(build.status().context("cargo does not start")?.success(), "trunkline does not build");
                Ok(own.with_file_name("trunkline"))
            }
            Binary::Shipped => {
                let mut build = Command::new(root.join("infra/release/build"));
                // What it says on the way is for people; the last line is where the binary is.
                let built = build.stderr(Stdio::inherit()).output().context("infra/release/build does not start")?;
                ensure!(built.status.success(), "infra/release/build failed");
                let said = String::from_utf8(built.stdout)?;
                Ok(said.lines().last().context("infra/release/build does not say where the binary is")?.into())
            }
        }
    }
}
