//! What the black-box tests share: building and starting the one binary, and reading what it says.
//!
//! The binary is always brought up to date first, in the profile that the tests themselves run in, so nobody tests
//! yesterday's code.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The workspace's root folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The `trunkline` binary, built from the sources as they stand. Built once per test process.
pub fn binary() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build("trunkline").map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)
}

/// Builds the binary of a package in this test's own profile and says where it is.
pub fn build(package: &str) -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("where this test's executable is")?;
    let profile = exe
        .ancestors()
        .find(|p| p.file_name().is_some_and(|n| n == "debug" || n == "release"))
        .context("the test's executable is not below a debug or release folder of target")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The workspace has no examples. Asking for them makes cargo choose the features of third-party crates as for `cargo test
    // --workspace`; `-p` alone would choose others, and compile almost everything a second time.
    build.args(["build", "--workspace", "--bin", package, "--examples", "--quiet"]).current_dir(root());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().with_context(|| format!("cargo build -p {package}"))?;
    if !status.success() {
        bail!("{package} does not build: {status}");
    }
    Ok(profile.join(format!("{package}{}", std::env::consts::EXE_SUFFIX)))
}

/// Says what this machine lacks, past the harness that swallows the output of tests that pass.
pub fn skipped(what: &str) {
    // Nobody reads it when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// What a finished process said.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The object on the last line of standard output: the rule of every command that has `--json`.
    pub fn last_json(&self) -> anyhow::Result<serde_json::Value> {
        let line = self.out.lines().rev().find(|l| !l.trim().is_empty()).context("standard output is empty")?;
        serde_json::from_str(line).with_context(|| format!("the last line is no JSON: {line}\nstderr:\n{}", self.err))
    }
}

/// Runs the binary to its end, or kills it after `limit` and says so.
pub fn run(folder: &Path, args: &[&str], limit: Duration) -> anyhow::Result<Said> {
    let mut child = spawn(folder, args)?;
    let mut out = child.stdout.take().context("stdout")?;
    let mut err = child.stderr.take().context("stderr")?;
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let status = wait(&mut child, limit)?;
    let joined = |t: std::thread::JoinHandle<std::io::Result<String>>| {
        t.join().map_err(|_| anyhow::anyhow!("a reader of the output panicked"))?.context("the output")
    };
    Ok(Said { status, out: joined(out)?, err: joined(err)? })
}

/// Starts the binary with its output piped; the caller reads it, and ends it.
pub fn spawn(folder: &Path, args: &[&str]) -> anyhow::Result<Child> {
    let mut command = command(folder, args)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting trunkline")
}

/// The binary in a folder, free of what the environment of the tests would make of its settings.
pub fn command(folder: &Path, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(args).current_dir(folder);
    for (key, _) in std::env::vars().filter(|(k, _)| k.starts_with("TRUNKLINE__")) {
        command.env_remove(key);
    }
    Ok(command)
}

/// Waits for the end of a process; past the limit it is killed and the wait fails.
pub fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads lines of a started process until one satisfies `want`; fails at the end of the output.
pub fn line_with(from: &mut BufReader<impl Read>, want: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            bail!("the output ended without the line that was waited for");
        }
        if want(&line) {
            return Ok(line);
        }
    }
}
