//! The ring itself: frames written round and round by many threads, taken out in order by one.
//!
//! Invariants:
//! * everything below `tail` is whole: a frame is written first, then `tail` moves (`Release`), all under one lock of this process. A
//!   process that is killed in between leaves a frame that does not exist, and its `publish` never returned;
//! * `head` moves only when what stood below is safe elsewhere; bytes between `head` and `tail` are never written;
//! * a line's next number in the file is at least one above every number below `tail` that left the ring: the taker raises it before
//!   it moves `head`, because the publisher's own store comes after the frame.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::Class;

use super::{
    admission::{self, SHED_ORDER, rank},
    file::Held,
    frame::{self, Bad, Frame},
    layout::{
        AT_CAPACITY, AT_CLOSED, AT_EPOCH, AT_HEAD, AT_LINE_COUNT, AT_LOSS_COUNT, AT_POPPED, AT_PRODUCER, AT_PUSHED,
        AT_TAIL, DATA, LINE_NAME, LINE_NEXT, LINE_PARTITION, LINE_SAFE, LINES, LOSSES, NAME_WORDS, PRODUCER_WORDS,
        line, loss, text, text_words,
    },
    losses::{Loss, Reason},
    memory::{self, Memory, WORD},
};

pub struct Buffer {
    pub(super) memory: Memory,
    capacity: u64,
    /// Held while a frame is written.
    writing: Mutex<()>,
    /// The file behind the memory, if there is one.
    pub(super) held: Mutex<Option<Held>>,
}

/// One partition of a topic, as the ring knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineEntry {
    pub topic: String,
    pub partition: i32,
    pub next_seq: i64,
    /// Everything below left the ring safely or was declared.
    pub safe_seq: i64,
}

/// Frames in order, and where the next ones begin.
pub struct Taken {
    pub frames: Vec<Frame>,
    pub end: u64,
    /// What stands at `end` is no frame: nothing behind it can be found.
    pub damaged: bool,
}

impl Buffer {
    pub(super) fn new(memory: Memory, held: Option<Held>) -> Self {
        let capacity = memory.words()[AT_CAPACITY].load(Acquire);
        Self { memory, capacity, writing: Mutex::new(()), held: Mutex::new(held) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.memory.words()[at]
    }

    pub fn epoch(&self) -> i64 {
        self.word(AT_EPOCH).load(Relaxed).cast_signed()
    }

    pub fn producer(&self) -> String {
        let words: Vec<u64> = (0..PRODUCER_WORDS).map(|w| self.word(AT_PRODUCER + w).load(Relaxed)).collect();
        text(&words)
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn head(&self) -> u64 {
        self.word(AT_HEAD).load(Acquire)
    }

    pub fn tail(&self) -> u64 {
        self.word(AT_TAIL).load(Acquire)
    }

    pub fn used(&self) -> u64 {
        self.tail().saturating_sub(self.head())
    }

    /// Events between head and tail.
    pub fn events(&self) -> u64 {
        let popped = self.word(AT_POPPED).load(Acquire);
        self.word(AT_PUSHED).load(Acquire).saturating_sub(popped)
    }

    /// Puts a frame in, if its class is let in. Never waits for more than other writers' copies.
    pub fn push(&self, frame: &[u8], class: Class, spool_fill: u64) -> bool {
        let length = frame.len() as u64;
        let _alone = self.writing.lock();
        let tail = self.word(AT_TAIL).load(Relaxed);
        let used = tail - self.head();
        if !admission::admits(class, used, length, self.capacity, spool_fill) {
            return false;
        }
        let data = &self.memory.words()[DATA..];
        let at = (tail % self.capacity) as usize / WORD;
        let words = frame.len() / WORD;
        let first = words.min(data.len() - at);
        memory::store(&data[at..at + first], &frame[..first * WORD]);
        memory::store(&data[..words - first], &frame[first * WORD..]);
        self.word(AT_PUSHED).fetch_add(1, Release);
        self.word(AT_TAIL).store(tail + length, Release);
        // The next frame is most likely as long as this one. Its memory was last touched a whole round ago.
        let next = ((tail + length) % self.capacity) as usize / WORD;
        memory::soon(&data[next..data.len().min(next + words)]);
        true
    }

    /// Whole frames from `from` on, up to a number of bytes, but at least one if there is one. One reader at a time.
    pub fn take(&self, from: u64, max_bytes: u64) -> Taken {
        let mut taken = Taken { frames: Vec::new(), end: from, damaged: false };
        let mut wanted = max_bytes.next_multiple_of(WORD as u64);
        loop {
            let there = self.tail().saturating_sub(from);
            if there == 0 {
                return taken;
            }
            let block = self.copy(from, there.min(wanted));
            let (mut at, mut need) = (0, 0);
            while at < block.len() {
                match frame::read(&block, at) {
                    Ok(frame) => {
                        at += frame.size;
                        taken.frames.push(frame);
                    }
                    // The end of the block cut it; the rest is there.
                    Err(Bad::Short(size)) if (at + size) as u64 <= there && (at + size) > block.len() => {
                        need = size;
                        break;
                    }
                    Err(_) => {
                        taken.damaged = true;
                        break;
                    }
                }
            }
            if at > 0 || taken.damaged {
                taken.end = from + at as u64;
                return taken;
            }
            // The first frame is longer than was asked for.
            wanted = need as u64;
        }
    }

    fn copy(&self, from: u64, bytes: u64) -> Bytes {
        let mut block = vec![0; bytes as usize];
        let data = &self.memory.words()[DATA..];
        let at = (from % self.capacity) as usize / WORD;
        let first = (block.len() / WORD).min(data.len() - at);
        let (one, two) = block.split_at_mut(first * WORD);
        memory::load(&data[at..at + first], one);
        memory::load(&data[..two.len() / WORD], two);
        Bytes::from(block)
    }

    /// What stands below `end` is safe elsewhere.
    pub fn advance(&self, end: u64, frames: &[Frame]) {
        for frame in frames {
            if let Some(seq) = frame.meta.seq {
                let entry = line(usize::from(frame.meta.line));
                let next = seq.cast_unsigned() + 1;
                self.word(entry + LINE_NEXT).fetch_max(next, Relaxed);
                self.word(entry + LINE_SAFE).fetch_max(next, Relaxed);
            }
        }
        self.word(AT_POPPED).fetch_add(frames.len() as u64, Release);
        self.word(AT_HEAD).store(end, Release);
    }

    /// Gives up what cannot be read: from here on the ring counts as empty.
    pub fn give_up(&self) {
        let _alone = self.writing.lock();
        self.word(AT_POPPED).store(self.word(AT_PUSHED).load(Acquire), Release);
        self.word(AT_HEAD).store(self.tail(), Release);
    }

    /// A new line, or `None` when the table is full. The caller sees to it that one line is added at a time.
    pub fn add_line(&self, topic: &str, partition: i32) -> Option<u16> {
        let at = self.word(AT_LINE_COUNT).load(Relaxed) as usize;
        if at >= LINES {
            return None;
        }
        let entry = line(at);
        for (word, value) in text_words::<NAME_WORDS>(topic).into_iter().enumerate() {
            self.word(entry + LINE_NAME + word).store(value, Relaxed);
        }
        self.word(entry + LINE_PARTITION).store(u64::from(partition.cast_unsigned()), Relaxed);
        self.word(AT_LINE_COUNT).store(at as u64 + 1, Release);
        u16::try_from(at).ok()
    }

    /// The next number of a line. Called under the line's lock, after the frame of the number below is in.
    pub fn set_next(&self, at: u16, next: i64) {
        self.word(line(usize::from(at)) + LINE_NEXT).store(next.cast_unsigned(), Release);
    }

    pub fn lines(&self) -> Vec<LineEntry> {
        let count = (self.word(AT_LINE_COUNT).load(Acquire) as usize).min(LINES);
        let entry = |at: usize| {
            let entry = line(at);
            let name: Vec<u64> = (0..NAME_WORDS).map(|w| self.word(entry + LINE_NAME + w).load(Relaxed)).collect();
            LineEntry {
                topic: text(&name),
                partition: (self.word(entry + LINE_PARTITION).load(Relaxed) as u32).cast_signed(),
                next_seq: self.word(entry + LINE_NEXT).load(Acquire).cast_signed(),
                safe_seq: self.word(entry + LINE_SAFE).load(Acquire).cast_signed(),
            }
        };
        (0..count).map(entry).collect()
    }

    /// Writes one entry of the table of losses.
    pub fn set_loss(&self, at: usize, value: &Loss) {
        let entry = loss(at);
        let reason = Reason::ALL.iter().position(|r| *r == value.reason).unwrap_or(0) as u64;
        let kind = u64::from(value.line) | (rank(value.class) as u64) << 16 | reason << 24;
        let words = [kind, value.first.cast_unsigned(), value.last.cast_unsigned(), value.events];
        for (word, value) in words.into_iter().enumerate() {
            self.word(entry + word).store(value, Relaxed);
        }
        let count = self.word(AT_LOSS_COUNT);
        if at as u64 >= count.load(Relaxed) {
            count.store(at as u64 + 1, Release);
        }
    }

    pub fn losses(&self) -> Vec<Loss> {
        let count = (self.word(AT_LOSS_COUNT).load(Acquire) as usize).min(LOSSES);
        let entry = |at: usize| {
            let at = loss(at);
            let word = |w: usize| self.word(at + w).load(Relaxed);
            Some(Loss {
                line: word(0) as u16,
                class: *SHED_ORDER.get((word(0) >> 16) as usize & 0xff)?,
                reason: *Reason::ALL.get((word(0) >> 24) as usize & 0xff)?,
                first: word(1).cast_signed(),
                last: word(2).cast_signed(),
                events: word(3),
            })
        };
        (0..count).filter_map(entry).collect()
    }

    /// The epoch ended in good order.
    pub fn set_closed(&self) {
        self.word(AT_CLOSED).store(1, Release);
    }

    pub fn is_closed(&self) -> bool {
        self.word(AT_CLOSED).load(Acquire) == 1
    }
}
