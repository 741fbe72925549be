//! The second thread of a log that answers before the sync: it brings to the disk what the writer has written, and holds up nobody.
//!
//! A sync starts when the previous one ended and 1 MiB has come or the time is up. A failed sync is final for its segment: the kernel
//! may call pages clean that never reached the disk, so nothing more is written there.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{files::Files, shared::Shared};
use crate::LogError;

/// Starts a sync without waiting any longer.
const SYNC_BYTES: u64 = 1 << 20;

pub struct Syncer {
    inner: Mutex<Inner>,
    ready: Condvar,
    progress: watch::Sender<Progress>,
    /// 1 + the newest segment whose sync failed; 0: none.
    failed: AtomicU64,
    every: Duration,
}

#[derive(Default)]
struct Inner {
    /// One entry per segment with unsynced bytes: bounded by the number of segments that the log may have.
    dirty: Vec<Dirty>,
    /// Of `dirty`.
    bytes: u64,
    since: Option<Instant>,
    /// All bytes ever noted.
    written: u64,
    stop: bool,
}

struct Dirty {
    segment: u64,
    file: Arc<File>,
    /// Its name is not on the disk either.
    new: bool,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    synced: u64,
    failures: u64,
    ended: bool,
}

impl Syncer {
    pub fn new(every: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            ready: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            failed: AtomicU64::new(0),
            every,
        }
    }

    /// The writer has added bytes to a segment.
    pub fn note(&self, segment: u64, file: &Arc<File>, bytes: u64, new: bool) {
        let mut inner = self.inner.lock();
        if inner.dirty.last().is_none_or(|d| d.segment != segment) {
            inner.dirty.push(Dirty { segment, file: file.clone(), new });
        }
        inner.bytes += bytes;
        inner.written += bytes;
        let first = inner.since.is_none();
        if first {
            inner.since = Some(Instant::now());
        }
        let wake = first || inner.bytes >= SYNC_BYTES;
        drop(inner);
        if wake {
            self.ready.notify_one();
        }
    }

    /// Whether a sync of this segment failed.
    pub fn failed(&self, segment: u64) -> bool {
        self.failed.load(Ordering::Acquire) > segment
    }

    pub fn unsynced(&self) -> u64 {
        let written = self.inner.lock().written;
        written.saturating_sub(self.progress.borrow().synced)
    }

    /// Waits until everything written so far is on the disk.
    pub async fn synced(&self) -> Result<(), LogError> {
        let mut progress = self.progress.subscribe();
        let failures = progress.borrow().failures;
        let mark = self.inner.lock().written;
        let reached = progress.wait_for(|p| p.synced >= mark || p.ended).await.map_err(|_| LogError::Closed)?;
        if reached.failures > failures {
            let (what, message) = ("cannot sync the event log".to_owned(), "a sync failed meanwhile".to_owned());
            return Err(LogError::Io { what, kind: std::io::ErrorKind::Other, message });
        }
        if reached.synced >= mark { Ok(()) } else { Err(LogError::Closed) }
    }

    /// Syncs what is left and ends the thread.
    pub fn stop(&self) {
        self.inner.lock().stop = true;
        self.ready.notify_one();
    }

    pub fn run(&self, shared: &Shared, files: &dyn Files) {
        while let Some((dirty, upto)) = self.take() {
            for segment in &dirty {
                self.sync(segment, shared, files);
            }
            self.progress.send_modify(|p| p.synced = upto);
        }
        self.progress.send_modify(|p| p.ended = true);
    }

    fn take(&self) -> Option<(Vec<Dirty>, u64)> {
        let mut inner = self.inner.lock();
        loop {
            let due = inner.since.map(|since| since + self.every);
            match due {
                _ if inner.stop => break,
                None => self.ready.wait(&mut inner),
                Some(due) if inner.bytes < SYNC_BYTES && Instant::now() < due => {
                    self.ready.wait_until(&mut inner, due);
                }
                Some(_) => break,
            }
        }
        let dirty = std::mem::take(&mut inner.dirty);
        (inner.bytes, inner.since) = (0, None);
        (!dirty.is_empty()).then_some((dirty, inner.written))
    }

    fn sync(&self, dirty: &Dirty, shared: &Shared, files: &dyn Files) {
        let dir: &PathBuf = &shared.dir;
        let done = files.sync(&dirty.file).and_then(|()| if dirty.new { files.sync_dir(dir) } else { Ok(()) });
        let Err(error) = done else {
            shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.failed.fetch_max(dirty.segment + 1, Ordering::AcqRel);
        self.progress.send_modify(|p| p.failures += 1);
        shared.counters.failures.fetch_add(1, Ordering::Relaxed);
        shared.counters.failed_syncs.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            dir = %dir.display(), segment = dirty.segment, %error,
            "a sync of the event log failed: a power failure now could cost records; writing goes on in a new segment"
        );
    }
}
