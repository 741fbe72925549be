//! What a service is given when it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Clock;
use domain::identity::Keyring;

use crate::{Instance, InstanceError, Lifecycle, Metrics};

#[derive(Clone)]
pub struct Service {
    pub name: &'static str,
    /// The service's own part of the process's lifecycle: can be stopped alone.
    pub life: Lifecycle,
    /// The service's own registry.
    pub metrics: Metrics,
    pub clock: Arc<dyn Clock>,
    /// `<data_dir>/<service>`.
    pub data_dir: PathBuf,
    /// A tmpfs folder for rings and journals; see [`default_run_dir`].
    pub run_dir: PathBuf,
    pub instance: Arc<Instance>,
    pub keys: Arc<Keyring>,
}

/// What the services of one process share.
#[derive(Clone)]
pub struct Host {
    pub life: Lifecycle,
    pub metrics: Metrics,
    pub clock: Arc<dyn Clock>,
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
    pub keys: Arc<Keyring>,
}

impl Service {
    /// Takes the instance lock of this service and gives it a child lifecycle and a registry under its name.
    ///
    /// Called again for a stopped service it needs the lock back: drop every clone of the old `Service` first.
    pub fn open(name: &'static str, host: &Host) -> Result<Service, InstanceError> {
        let instance = Instance::open(&host.data_dir, name)?;
        Ok(Service {
            name,
            life: host.life.child(name),
            metrics: host.metrics.scope(name),
            clock: Arc::clone(&host.clock),
            data_dir: instance.dir.clone(),
            run_dir: host.run_dir.clone(),
            instance: Arc::new(instance),
            keys: Arc::clone(&host.keys),
        })
    }
}

/// `$XDG_RUNTIME_DIR/trunkline`, else `/dev/shm/trunkline-<uid>`.
#[must_use]
pub fn default_run_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_dir()) {
        Some(dir) => PathBuf::from(dir).join("trunkline"),
        None => PathBuf::from(format!("/dev/shm/trunkline-{}", uid())),
    }
}

fn uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid())
}
