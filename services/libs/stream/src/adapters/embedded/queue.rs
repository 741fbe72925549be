//! The way from callers to the writer thread, bounded in bytes: a caller of `append` waits for room, it never piles up memory.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use schemas::TopicSpec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::checkpoint::Change;
use crate::{LogError, Outgoing};

pub type Reply = oneshot::Sender<Result<(), LogError>>;

pub enum Work {
    Append {
        batch: Arc<Vec<Outgoing>>,
        bytes: usize,
        /// Freed when the batch has been answered.
        _room: OwnedSemaphorePermit,
    },
    Topics(Vec<&'static TopicSpec>),
    Changes(Vec<Change>),
}

pub struct Request {
    pub work: Work,
    pub reply: Reply,
}

pub struct Queue {
    inner: Mutex<Inner>,
    ready: Condvar,
    room: Arc<Semaphore>,
    room_kib: u32,
}

#[derive(Default)]
struct Inner {
    /// Appends are bounded by `room`; the other kinds by the callers, who each wait for their one answer.
    requests: VecDeque<Request>,
    bytes: usize,
    stop: bool,
}

/// Dropped after the receiver of the answer: then a request that still waits is nobody's.
struct TakeBack<'a> {
    queue: &'a Queue,
    answered: bool,
}

impl Drop for TakeBack<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.queue.take_back();
        }
    }
}

/// Starts a commit without waiting any longer.
const COMMIT_BYTES: usize = 1 << 20;
/// One commit takes no more than this, so that its callers wait for one write of bounded size.
const COMMIT_MAX_BYTES: usize = 4 << 20;

impl Queue {
    pub fn new(max_bytes: usize) -> Self {
        let room_kib = u32::try_from(max_bytes >> 10).unwrap_or(u32::MAX >> 4).max(64);
        Self {
            inner: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(room_kib as usize)),
            room_kib,
        }
    }

    /// Waits for room, queues, and answers when the batch is durable.
    pub async fn append(&self, batch: Arc<Vec<Outgoing>>, bytes: usize) -> Result<(), LogError> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.room_kib);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| LogError::Closed)?;
        self.ask(Work::Append { batch, bytes, _room: room }).await
    }

    /// Queues and waits for the answer. A caller that gives up before the writer came to it takes its request back.
    pub async fn ask(&self, work: Work) -> Result<(), LogError> {
        let mut caller = TakeBack { queue: self, answered: false };
        let (reply, answer) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if inner.stop {
                return Err(LogError::Closed);
            }
            if let Work::Append { bytes, .. } = &work {
                inner.bytes += bytes;
            }
            inner.requests.push_back(Request { work, reply });
        }
        self.ready.notify_one();
        let answer = answer.await;
        caller.answered = true;
        answer.unwrap_or(Err(LogError::Closed))
    }

    /// For the writer: everything for the next commit. Waits until there is something, and then until `not_before` unless enough
    /// has come. `None`: nothing came until `idle`. An empty vector: stopped and drained.
    pub fn take(&self, not_before: Instant, idle: Duration) -> Option<Vec<Request>> {
        let mut inner = self.inner.lock();
        let give_up = Instant::now() + idle;
        while inner.requests.is_empty() && !inner.stop {
            if self.ready.wait_until(&mut inner, give_up).timed_out() {
                return None;
            }
        }
        while inner.bytes < COMMIT_BYTES && !inner.stop {
            if self.ready.wait_until(&mut inner, not_before).timed_out() {
                break;
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(request) = inner.requests.pop_front() {
            if let Work::Append { bytes: b, .. } = &request.work {
                bytes += b;
                inner.bytes -= b;
            }
            taken.push(request);
            if bytes >= COMMIT_MAX_BYTES {
                break;
            }
        }
        Some(taken)
    }

    pub fn stop(&self) {
        self.inner.lock().stop = true;
        self.room.close();
        self.ready.notify_all();
    }

    /// Removes the requests whose callers are gone, with the room that they hold.
    fn take_back(&self) {
        let mut inner = self.inner.lock();
        let mut bytes = 0;
        inner.requests.retain(|request| {
            let gone = request.reply.is_closed();
            if let (true, Work::Append { bytes: b, .. }) = (gone, &request.work) {
                bytes += b;
            }
            !gone
        });
        inner.bytes -= bytes;
    }

    /// Drops what nobody will take any more; its callers get `Closed`.
    pub fn abandon(&self) {
        let left = std::mem::take(&mut self.inner.lock().requests);
        drop(left);
    }
}
