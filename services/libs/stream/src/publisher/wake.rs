//! Waking the forwarder: costs a publisher nothing while the forwarder is busy or looks again by itself soon.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::Thread,
    time::Duration,
};

#[derive(Default)]
pub struct Wake {
    /// The forwarder sleeps until somebody wakes it.
    asleep: AtomicBool,
    /// Somebody waits for what is in the ring now: no lingering.
    urgent: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Wake {
    /// Names the thread that sleeps here: the caller's.
    pub fn here(&self) {
        let _once = self.thread.set(std::thread::current());
    }

    /// There is something new. The fence and the one in `sleep` see to it that either the sleeper sees the news or we see the sleeper.
    pub fn news(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub fn hurry(&self) {
        self.urgent.store(true, Ordering::Release);
        self.unpark();
    }

    pub fn calm_down(&self) {
        self.urgent.store(false, Ordering::Release);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub fn in_a_hurry(&self) -> bool {
        self.urgent.load(Ordering::Acquire) || self.is_stopped()
    }

    /// Sleeps until news, a call to hurry or stop, or the time. `empty` is asked once more before.
    pub fn sleep(&self, at_most: Duration, empty: impl Fn() -> bool) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if empty() && !self.in_a_hurry() {
            std::thread::park_timeout(at_most);
        }
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Waits some of the time; only a call to hurry or to stop may end it early.
    pub fn nap(&self, at_most: Duration) {
        if !self.is_stopped() {
            std::thread::park_timeout(at_most);
        }
    }

    /// A short rest from which news do not wake.
    pub fn rest(&self, time: Duration) {
        if !self.in_a_hurry() {
            std::thread::park_timeout(time);
        }
    }
}
