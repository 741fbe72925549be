//! `trunkline demo`: the whole platform with a simulated world around it, and books that have to balance.
//!
//! | module | what |
//! |---|---|
//! | `script` | when what is staged |
//! | `world` | simulated nodes and carriers, and the settings under which the services meet them |
//! | `conductor` | the loop: traffic, staged events, keys, the standing line |
//! | `stage`, `staged` | staging an attack and a dead node; what was seen and done about them |
//! | `rebuild` | all records again, beside the running calls |
//! | `finish` | quiesce, rebuild, judge, the last word |
//! | `sabotage`, `doubling` | spoiling calls on purpose; delivering everything twice |
//! | `terminal`, `status` | where and how it speaks |

mod conductor;
mod doubling;
mod finish;
mod rebuild;
mod sabotage;
mod script;
mod stage;
mod staged;
mod status;
mod terminal;
pub mod world;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::DemoArgs;
use crate::runtimes::{Place, Runtimes};

pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = Folder::new()?;
    let log = Arc::new(File::create(folder.path().join("trunkline.log")).context("the demo's log file")?);
    let logs = kit::telemetry::subscriber(&kit::LogConfig::default(), move || Arc::clone(&log))?;
    tracing::dispatcher::set_global_default(logs).context("logs")?;

    let runtimes = Runtimes::new()?;
    let world =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("world").enable_all().build()?;
    let places = Places { live: runtimes.live(), downstream: runtimes.downstream(), world: Place::of(world.handle()) };
    let outcome = runtimes.block_on(conductor::conduct(args, &folder, &places));
    // Whatever the world still holds must not outlive the verdict.
    world.shutdown_background();
    outcome
}

/// Where things run.
#[derive(Clone)]
pub struct Places {
    pub live: Place,
    pub downstream: Place,
    pub world: Place,
}

/// This run's own folder below `./trunkline-data/demo`. Its tmpfs part goes with the run; the rest stays to be looked at.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let all = Path::new("trunkline-data").join("demo");
        fs::create_dir_all(&all).with_context(|| format!("making {}", all.display()))?;
        for number in 1..100_000_u32 {
            let path = all.join(format!("run-{number:04}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("making {}", path.display())),
            }
        }
        anyhow::bail!("{} is full of old runs: remove it", all.display())
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On a tmpfs, and of this process alone.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        kit::default_run_dir().join(format!("demo-{}", std::process::id()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.run_dir());
    }
}
