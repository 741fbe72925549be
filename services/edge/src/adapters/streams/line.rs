//! What waits to be written to one connection. The bytes are capped: a peer that does not read loses its connection, not our
//! memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::Bytes;

use crate::core::{Flow, Hop};

#[derive(Debug)]
pub enum Part {
    /// Still to be put into the form of the wire.
    Message(Bytes),
    Raw(Bytes),
}

#[derive(Debug)]
pub struct Line {
    pub flow: Flow,
    pub hop: Hop,
    parts: RefCell<VecDeque<Part>>,
    bytes: Cell<usize>,
    cap: usize,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

/// How a connection is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After what waits was written.
    Orderly,
    /// At once: its peer does not read.
    Shed,
}

impl Line {
    #[must_use]
    pub fn new(flow: Flow, hop: Hop, cap: usize) -> Line {
        Line {
            flow,
            hop,
            parts: RefCell::default(),
            bytes: Cell::new(0),
            cap,
            end: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// False when it does not go any more: the line is full, or ends.
    pub fn push(&self, part: Part) -> bool {
        if self.end.get().is_some() {
            return false;
        }
        let (Part::Message(bytes) | Part::Raw(bytes)) = &part;
        let waiting = self.bytes.get() + bytes.len();
        if waiting > self.cap {
            self.end(End::Shed);
            return false;
        }
        self.bytes.set(waiting);
        self.parts.borrow_mut().push_back(part);
        self.wake();
        true
    }

    pub fn pop(&self) -> Option<Part> {
        let part = self.parts.borrow_mut().pop_front()?;
        let (Part::Message(bytes) | Part::Raw(bytes)) = &part;
        self.bytes.set(self.bytes.get() - bytes.len());
        Some(part)
    }

    /// Messages that nobody will write any more.
    pub fn abandon(&self) -> usize {
        self.bytes.set(0);
        let parts = std::mem::take(&mut *self.parts.borrow_mut());
        parts.iter().filter(|part| matches!(part, Part::Message(_))).count()
    }

    /// The harder end counts.
    pub fn end(&self, end: End) {
        if self.end.get() != Some(End::Shed) {
            self.end.set(Some(end));
        }
        self.wake();
    }

    #[must_use]
    pub fn ending(&self) -> Option<End> {
        self.end.get()
    }

    /// The connection's task wants to be woken when there is something to do.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn a_line_that_is_not_read_ends_at_its_cap() {
        let hop = Hop::to(0, "192.0.2.1:5060".parse().unwrap());
        let line = Line::new(Flow::new(NonZeroU64::MIN), hop, 10);
        let part = || Part::Message(Bytes::from_static(b"12345"));
        assert!(line.push(part()) && line.push(part()));
        assert!(line.pop().is_some() && line.push(part()));
        assert!(!line.push(Part::Raw(Bytes::from_static(b"1"))));
        line.end(End::Orderly);
        assert_eq!(line.ending(), Some(End::Shed));
        assert!(!line.push(Part::Raw(Bytes::new())));
        assert_eq!(line.abandon(), 2);
    }
}
