//! The state of one call at both of its ends, and what is due later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::name::Name;
use super::read::Dialog;
use super::samples::Kind;
use super::socket::Sent;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Not even a 100 yet: the INVITE is sent again and again.
    Inviting,
    Proceeding,
    Up,
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Idle,
    Ringing,
    /// The answer is sent again and again until its ACK.
    Answered,
    Up,
}

#[derive(Debug)]
pub struct Call {
    pub serial: u32,
    pub line: usize,
    /// Began inside the measured time.
    pub counted: bool,
    pub hold: Option<Duration>,
    pub caller: Caller,
    pub node: Node,
    /// Which node has it, and where that one's answers go.
    pub at: Option<(usize, SocketAddrV4)>,
    /// When each message was sent first, until it arrived.
    pub sent: [Option<Sent>; 6],
    /// Which were sent once, a bit each.
    noted: u8,
    pub began: u64,
    /// The INVITE that was sent last: the one that was taken, once something came back.
    pub taken: u64,
    /// What the node's answers repeat of the INVITE, until the ACK.
    pub copied: Vec<u8>,
    pub dialog: Option<Dialog>,
}

impl Call {
    pub fn new(serial: u32, line: usize, counted: bool, hold: Option<Duration>, now: u64) -> Self {
        Self {
            serial,
            line,
            counted,
            hold,
            caller: Caller::Inviting,
            node: Node::Idle,
            at: None,
            sent: [None; 6],
            noted: 0,
            began: now,
            taken: now,
            copied: Vec::new(),
            dialog: None,
        }
    }

    /// The first copy counts.
    pub fn note_sent(&mut self, kind: Kind, sent: Sent) {
        let bit = 1 << kind as u8;
        if self.noted & bit == 0 {
            self.noted |= bit;
            self.sent[kind as usize] = Some(sent);
        }
    }
}

/// What is due at some time, if the call is then still where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The INVITE again, for the nth time.
    Invite(u32),
    /// The node picks up.
    Answer,
    /// The answer again.
    AnswerAgain(u32),
    HangUp,
    Bye(u32),
    /// A call that is not up by now never will be.
    GiveUp,
}

#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(u64, Name, Due)>>);

impl Timers {
    pub fn set(&mut self, at: u64, name: Name, due: Due) {
        self.0.push(Reverse((at, name, due)));
    }

    pub fn next(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    pub fn pop(&mut self, now: u64) -> Option<(Name, Due)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, name, due))| (name, due))
    }
}

const T1_NS: u64 = 500_000_000;
const T2_NS: u64 = 4_000_000_000;
pub const PATIENCE_NS: u64 = 64 * T1_NS;

/// How long after the nth try the next one follows: of an INVITE doubled each time, of the rest at most T2 (RFC 3261 §17).
pub fn pause_after(n: u32, is_invite: bool) -> u64 {
    let doubled = T1_NS << n.min(6);
    if is_invite { doubled } else { doubled.min(T2_NS) }
}

/// Whether there is a try after the nth.
pub fn is_last(n: u32, is_invite: bool) -> bool {
    n >= if is_invite { 6 } else { 10 }
}
