//! One open connection from its first byte to its last.
//!
//! One wait serves everything: bytes from the peer, room for bytes to it, something new in its line, and time. What was read is
//! handed over before more is read, so a peer that sends faster than the shard works is slowed down by its own TCP. A peer
//! that reads nothing is closed when its line is full, or when nothing could be written for ten seconds.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use sip::framing::Input;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::codec::Event;
use super::counters::bump;
use super::line::{End, Line, Part};
use super::open::Opened;
use super::port::Incoming;
use super::table::Place;
use super::thread::Shared;

/// Without a byte taken by the peer while some wait for it.
const STALL_US: u64 = 10_000_000;
/// For what still waits when the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What is read at once. All connections share one buffer: none keeps bytes in it across a wait.
const CHUNK: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

pub struct Connection {
    shared: Rc<Shared>,
    line: Rc<Line>,
    opened: Opened,
    /// What is being written.
    writing: Bytes,
    /// Said behind everything else.
    goodbye: Bytes,
    needs_flush: bool,
    last_traffic: u64,
    /// Since when bytes wait and none went.
    stalled: Option<u64>,
    /// Where its messages end is not known any more: nothing that it sends is read, and the machine will end it.
    is_broken: bool,
    timer: Pin<Box<Sleep>>,
    timer_at: u64,
    _place: Place,
}

enum Step {
    Read,
    Ended,
    Failed,
    /// Written out after it was told to end.
    Finished,
    Time,
}

impl Connection {
    pub fn new(shared: Rc<Shared>, line: Rc<Line>, opened: Opened, place: Place) -> Connection {
        let now = shared.clock.now().mono_us;
        Connection {
            shared,
            line,
            opened,
            writing: Bytes::new(),
            goodbye: Bytes::new(),
            needs_flush: false,
            last_traffic: now,
            stalled: None,
            is_broken: false,
            timer: Box::pin(sleep_until(Instant::now())),
            timer_at: 0,
            _place: place,
        }
    }

    pub async fn run(mut self) {
        let why = self.work().await;
        let counters = &self.shared.counters;
        match why {
            "slow" => bump(&counters.slow),
            "idle" => bump(&counters.idle),
            "broken" => bump(&counters.broken),
            "shed" => bump(&counters.shed),
            _ => {}
        }
        if !matches!(why, "shed" | "failed") {
            if let Some(bytes) = self.opened.codec.goodbye() {
                self.goodbye = bytes;
            }
            // A peer that does not take this either gets nothing more.
            let _ = timeout(LAST_WORDS, poll_fn(|cx| self.finish(cx))).await;
        }
        self.shared.leave(&self.line).await;
    }

    /// Until it ends; why, in a word.
    async fn work(&mut self) -> &'static str {
        loop {
            let step = poll_fn(|cx| self.step(cx)).await;
            let now = self.shared.clock.now().mono_us;
            match step {
                Step::Read => {}
                Step::Ended => self.opened.codec.handle(now, Input::End),
                Step::Failed => return "failed",
                Step::Finished => {
                    return match self.line.ending() {
                        Some(End::Shed) => "shed",
                        _ if self.is_broken => "broken",
                        _ => "idle",
                    };
                }
                Step::Time => {
                    self.opened.codec.handle(now, Input::Tick);
                    if self.stalled.is_some_and(|since| now >= since + STALL_US) {
                        return "shed";
                    }
                    if now >= self.last_traffic + self.shared.idle_us() {
                        self.last_traffic = now;
                        self.shared.tell(Incoming::Idle { flow: self.line.flow }).await;
                    }
                }
            }
            while let Some(event) = self.opened.codec.poll() {
                match event {
                    Event::Message(bytes) => {
                        bump(&self.shared.counters.messages_in);
                        let identity = self.opened.identity.clone();
                        self.shared.tell(Incoming::Message { hop: self.line.hop, identity, bytes }).await;
                    }
                    Event::Write(bytes) => {
                        self.line.push(Part::Raw(bytes));
                    }
                    Event::Broken { head, reject } => {
                        // The machine answers, and ends the connection behind its answer.
                        self.is_broken = true;
                        let identity = self.opened.identity.clone();
                        self.shared.tell(Incoming::Broken { hop: self.line.hop, identity, head, reject }).await;
                    }
                    Event::Fault => return "broken",
                    Event::Close(why) => return why,
                }
            }
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.line.watch(cx);
        if self.line.ending() == Some(End::Shed) {
            return Poll::Ready(Step::Finished);
        }
        match self.write(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Step::Failed),
            Poll::Ready(Ok(())) if self.line.ending().is_some() => return Poll::Ready(Step::Finished),
            _ => {}
        }
        match self.read(cx) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Step::Ended),
            Poll::Ready(Ok(_)) => return Poll::Ready(Step::Read),
            Poll::Ready(Err(_)) => return Poll::Ready(Step::Failed),
            Poll::Pending => {}
        }
        self.time(cx)
    }

    /// Ready when nothing waits any more.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.writing.is_empty() {
                match self.line.pop() {
                    Some(Part::Message(bytes)) => {
                        bump(&self.shared.counters.messages_out);
                        self.writing = self.opened.codec.encode(bytes);
                    }
                    Some(Part::Raw(bytes)) => self.writing = bytes,
                    None => break,
                }
                continue;
            }
            match Pin::new(&mut self.opened.wire).poll_write(cx, &self.writing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.writing.advance(written);
                    self.needs_flush = true;
                    self.last_traffic = self.shared.clock.now().mono_us;
                    self.stalled = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(|| self.shared.clock.now().mono_us);
                    return Poll::Pending;
                }
            }
        }
        if self.needs_flush {
            std::task::ready!(Pin::new(&mut self.opened.wire).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.write(cx))?;
        if !self.goodbye.is_empty() {
            self.writing = std::mem::take(&mut self.goodbye);
            std::task::ready!(self.write(cx))?;
        }
        Pin::new(&mut self.opened.wire).poll_shutdown(cx)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            std::task::ready!(Pin::new(&mut self.opened.wire).poll_read(cx, &mut buffer))?;
            let got = buffer.filled();
            if !got.is_empty() {
                let now = self.shared.clock.now().mono_us;
                self.last_traffic = now;
                self.opened.codec.handle(now, Input::Bytes(got));
            }
            Poll::Ready(Ok(got.len()))
        })
    }

    /// The timer is moved forward only when it fires too early or too late: most traffic leaves it alone.
    fn time(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let idle = self.last_traffic + self.shared.idle_us();
        let stall = self.stalled.map_or(u64::MAX, |since| since + STALL_US);
        let wanted = self.opened.codec.deadline().unwrap_or(u64::MAX).min(idle).min(stall);
        loop {
            let now = self.shared.clock.now().mono_us;
            if now >= wanted {
                return Poll::Ready(Step::Time);
            }
            if self.timer_at <= now || self.timer_at > wanted {
                self.timer_at = wanted;
                let at = Instant::now() + Duration::from_micros(wanted - now);
                self.timer.as_mut().reset(at);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
            self.timer_at = 0;
        }
    }
}
