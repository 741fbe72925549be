//! Calls of our own over real sockets: callers behind trunks and the nodes that answer them, in one thread that costs a few per cent of
//! a core, so that the proxy between them has the machine. Each message that was forwarded leaves a sample of its latency.
//!
//! Calls begin as a Poisson process, so bursts are as frequent as with real callers. Both ends follow RFC 3261: requests and the 200 of
//! an INVITE are sent again until they are answered, so whatever the proxy or a full buffer drops costs time and not at once the call.

mod call;
mod caller;
mod name;
mod node;
mod read;
mod samples;
mod socket;
mod text;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::call::{Call, Due, PATIENCE_NS, Timers};
use self::name::Name;
use self::read::{Read, Start};
use crate::stream::Random;

pub use self::samples::{Kind, Samples, quantile};
pub use self::socket::{BATCH, Inbox, Sent, Socket, Spray, now_ns};
pub use self::text::put;

/// An INVITE as our own callers send it, of a call that none of them has.
pub fn write_invite(out: &mut Vec<u8>, number: u32, from: SocketAddrV4, to: SocketAddrV4) {
    text::invite(out, Name { slot: u32::MAX, serial: number }, from, to);
}

/// A node rings for so long.
pub const RINGS: Duration = Duration::from_millis(20);

/// What one trunk's calls came to, of those that were counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub placed: u64,
    /// Answered and acknowledged; those that are to stay end here.
    pub answered: u64,
    /// Over, with every request answered.
    pub ended: u64,
    /// By status.
    pub refused: BTreeMap<u16, u64>,
    /// Of these, with a Retry-After.
    pub retry_after: u64,
    pub timed_out: u64,
    /// Messages that either end sent once more.
    pub resent: u64,
    /// From the first INVITE to the 200, in microseconds.
    pub setups: Vec<f32>,
    /// The same from the INVITE that was taken.
    pub setups_taken: Vec<f32>,
    pub samples: Samples,
}

impl Tally {
    pub fn join(&mut self, other: Tally) {
        self.placed += other.placed;
        self.answered += other.answered;
        self.ended += other.ended;
        self.timed_out += other.timed_out;
        self.retry_after += other.retry_after;
        self.resent += other.resent;
        self.setups.extend(other.setups);
        self.setups_taken.extend(other.setups_taken);
        self.samples.join(other.samples);
        other.refused.into_iter().for_each(|(status, count)| *self.refused.entry(status).or_default() += count);
    }
}

/// A trunk's caller.
struct Line {
    socket: Socket,
    at: SocketAddrV4,
    to: SocketAddrV4,
    tally: Tally,
}

struct NodeEnd {
    socket: Socket,
    at: SocketAddrV4,
    /// INVITEs that no call of ours sent.
    strangers: u64,
}

/// Calls for some time.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Calls per second of each trunk.
    pub rates: Vec<f64>,
    pub time: Duration,
    /// None: they stay.
    pub hold: Option<Duration>,
    pub counted: bool,
}

pub struct Fleet {
    lines: Vec<Line>,
    nodes: Vec<NodeEnd>,
    calls: Vec<Option<Call>>,
    free: Vec<u32>,
    /// Calls that are under way and do not stay.
    pub busy: u64,
    /// Calls that are up.
    pub up: u64,
    serial: u32,
    timers: Timers,
    /// Taken out while its datagrams are worked on.
    inbox: Option<Box<Inbox>>,
    out: Vec<u8>,
    random: Random,
}

impl Fleet {
    /// `callers` with where each sends to; `nodes` answer.
    pub fn new(callers: &[(SocketAddrV4, SocketAddrV4)], nodes: &[SocketAddrV4], shared: bool) -> anyhow::Result<Self> {
        let bind = |at: SocketAddrV4| Socket::bind(at, shared).with_context(|| format!("binding {at}"));
        let line = |&(at, to)| anyhow::Ok(Line { socket: bind(at)?, at, to, tally: Tally::default() });
        let node = |&at| anyhow::Ok(NodeEnd { socket: bind(at)?, at, strangers: 0 });
        Ok(Self {
            lines: callers.iter().map(line).collect::<Result<_, _>>()?,
            nodes: nodes.iter().map(node).collect::<Result<_, _>>()?,
            calls: Vec::new(),
            free: Vec::new(),
            busy: 0,
            up: 0,
            serial: 0,
            timers: Timers::default(),
            inbox: None,
            out: Vec::with_capacity(2048),
            random: Random::new(5060),
        })
    }

    /// Places the calls of a plan. `each_second` is told so often.
    pub fn run(
        &mut self,
        plan: &Plan,
        mut each_second: impl FnMut(&Fleet) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let began = now_ns();
        let end = began + plan.time.as_nanos() as u64;
        let mut next: Vec<u64> = plan.rates.iter().map(|&rate| self.pause(rate, began)).collect();
        let mut second = began + 1_000_000_000;
        loop {
            let now = now_ns();
            if now >= end {
                return Ok(());
            }
            for (line, at) in next.iter_mut().enumerate() {
                while *at <= now {
                    self.place(line, plan, now_ns());
                    *at = self.pause(plan.rates[line], *at);
                }
            }
            if now >= second {
                second += 1_000_000_000;
                each_second(self)?;
            }
            let until = next.iter().copied().min().unwrap_or(end).min(end).min(second);
            self.turn(until)?;
        }
    }

    /// No new calls, until those under way are over. Whatever is not over by then timed out.
    pub fn finish(&mut self, limit: Duration) -> anyhow::Result<()> {
        let end = now_ns() + limit.as_nanos() as u64;
        while self.busy > 0 && now_ns() < end {
            self.turn(now_ns() + 10_000_000)?;
        }
        for slot in 0..self.calls.len() {
            let stays = |call: &Call| call.hold.is_none() && call.caller == call::Caller::Up;
            let Some(serial) = self.calls[slot].as_ref().filter(|c| !stays(c)).map(|c| c.serial) else { continue };
            self.time_out(Name { slot: slot as u32, serial });
        }
        Ok(())
    }

    /// What one trunk's counted calls came to since the last time.
    pub fn take(&mut self, line: usize) -> Tally {
        std::mem::take(&mut self.lines[line].tally)
    }

    /// INVITEs that reached the nodes and that no call of ours sent.
    pub fn take_strangers(&mut self) -> u64 {
        self.nodes.iter_mut().map(|node| std::mem::take(&mut node.strangers)).sum()
    }

    fn pause(&mut self, rate: f64, from: u64) -> u64 {
        if rate <= 0.0 {
            return u64::MAX;
        }
        // Never zero, of which there is no logarithm.
        let share = ((self.random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        from + (-share.ln() / rate * 1e9) as u64
    }

    fn place(&mut self, line: usize, plan: &Plan, now: u64) {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() as u32 - 1
        });
        let name = Name { slot, serial: self.serial };
        self.calls[slot as usize] = Some(Call::new(self.serial, line, plan.counted, plan.hold, now));
        self.busy += 1;
        if plan.counted {
            self.lines[line].tally.placed += 1;
        }
        self.timers.set(now + PATIENCE_NS, name, Due::GiveUp);
        self.invite(name, 0);
    }

    /// Waits for datagrams, but not beyond `until`, and deals with them and with what is due.
    fn turn(&mut self, until: u64) -> anyhow::Result<()> {
        let now = now_ns();
        let wait = until.min(self.timers.next().unwrap_or(until)).saturating_sub(now);
        let wait = Timespec { tv_sec: (wait / 1_000_000_000) as _, tv_nsec: (wait % 1_000_000_000) as _ };
        let sockets = self.lines.iter().map(|l| &l.socket).chain(self.nodes.iter().map(|n| &n.socket));
        let mut polled: Vec<PollFd<'_>> = sockets.map(|s| PollFd::new(s, PollFlags::IN)).collect();
        poll(&mut polled, Some(&wait)).or_else(|e| if e == rustix::io::Errno::INTR { Ok(0) } else { Err(e) })?;
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        drop(polled);
        for (at, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            self.read(at);
        }
        while let Some((name, due)) = self.timers.pop(now_ns()) {
            self.due(name, due);
        }
        Ok(())
    }

    /// Sockets are numbered through: the lines' first.
    fn read(&mut self, at: usize) {
        let mut inbox = self.inbox.take().unwrap_or_default();
        let lines = self.lines.len();
        loop {
            let socket = if at < lines { &self.lines[at].socket } else { &self.nodes[at - lines].socket };
            // A port that refused is a proxy that went away: the calls will say so.
            let taken = inbox.take(socket).unwrap_or(0);
            for place in 0..taken {
                let came = inbox.get(place);
                let Some(read) = Read::message(came.bytes) else { continue };
                match read.start {
                    Start::Response(status) if at < lines => self.answered(&read, status, came.at),
                    Start::Request(method) if at >= lines => self.asked(at - lines, &read, method, &came),
                    // An edge asks trunks nothing here.
                    _ => {}
                }
            }
            if taken < BATCH {
                break;
            }
        }
        self.inbox = Some(inbox);
    }

    fn call(&mut self, name: Name) -> Option<&mut Call> {
        self.calls.get_mut(name.slot as usize)?.as_mut().filter(|call| call.serial == name.serial)
    }

    fn arrived(&mut self, name: Name, kind: Kind, at: u64) {
        let Some(call) = self.call(name) else { return };
        let (line, counted) = (call.line, call.counted);
        if let Some(sent) = call.sent[kind as usize].take()
            && counted
        {
            self.lines[line].tally.samples.add(kind, sent, at);
        }
    }

    fn sent(&mut self, name: Name, kind: Kind, sent: Sent) {
        if let Some(call) = self.call(name) {
            call.note_sent(kind, sent);
        }
    }

    fn over(&mut self, name: Name, ended: impl FnOnce(&mut Tally)) {
        let Some(call) = self.call(name) else { return };
        let (line, counted, was_up) = (call.line, call.counted, call.caller == call::Caller::Up);
        let stays = was_up && call.hold.is_none();
        self.calls[name.slot as usize] = None;
        self.free.push(name.slot);
        self.busy -= u64::from(!stays);
        self.up -= u64::from(was_up);
        if counted {
            ended(&mut self.lines[line].tally);
        }
    }

    fn time_out(&mut self, name: Name) {
        self.over(name, |tally| tally.timed_out += 1);
    }

    fn note_resent(&mut self, name: Name) {
        if let Some((line, true)) = self.call(name).map(|c| (c.line, c.counted)) {
            self.lines[line].tally.resent += 1;
        }
    }

    fn due(&mut self, name: Name, due: Due) {
        match due {
            Due::Invite(n) => self.invite_again(name, n),
            Due::HangUp => self.hang_up(name),
            Due::Bye(n) => self.bye_again(name, n),
            Due::Answer => self.pick_up(name),
            Due::AnswerAgain(n) => self.answer_again(name, n),
            Due::GiveUp => {
                use call::Caller::{Inviting, Proceeding};
                if self.call(name).is_some_and(|c| matches!(c.caller, Inviting | Proceeding)) {
                    self.time_out(name);
                }
            }
        }
    }
}

/// A send that the kernel refuses (a full buffer, a port that is closed for a moment) is a lost datagram, and those are sent again.
fn sent_or_lost(sent: std::io::Result<Sent>) -> Option<Sent> {
    sent.ok()
}

fn is_final(status: u16) -> bool {
    status >= 200
}

#[cfg(test)]
mod tests;
