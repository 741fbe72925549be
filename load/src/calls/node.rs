//! The node's end: rings at once, picks up a little later, ends when it is told to. It answers probes, and refuses what no call of ours
//! sent without keeping anything of it.

use super::call::{Caller, Due, Node, is_last, pause_after};
use super::name::Name;
use super::read::{Method, Read};
use super::samples::Kind;
use super::socket::{Came, Sent};
use super::text;
use super::{Fleet, RINGS, now_ns, sent_or_lost};

impl Fleet {
    pub(super) fn asked(&mut self, node: usize, read: &Read<'_>, method: Method, came: &Came<'_>) {
        let known = read.call.filter(|&name| self.call(name).is_some());
        match (method, known) {
            (Method::Invite, Some(name)) => self.rung(node, name, read, came),
            (Method::Ack, Some(name)) => {
                self.arrived(name, Kind::Ack, came.at);
                if let Some(call) = self.call(name).filter(|c| c.node == Node::Answered) {
                    call.node = Node::Up;
                    call.copied = Vec::new();
                }
            }
            (Method::Bye, Some(name)) => {
                self.arrived(name, Kind::Bye, came.at);
                if let Some(sent) = self.say(node, 200, &read.copied("n"), came) {
                    self.sent(name, Kind::Goodbye, sent);
                }
            }
            (Method::Ack, None) => {}
            (Method::Invite, None) => {
                self.nodes[node].strangers += 1;
                self.say(node, 486, &read.copied("x"), came);
            }
            // Probes, and the end of calls that are over here.
            _ => {
                self.say(node, 200, &read.copied("x"), came);
            }
        }
    }

    fn rung(&mut self, node: usize, name: Name, read: &Read<'_>, came: &Came<'_>) {
        self.arrived(name, Kind::Invite, came.at);
        let Some(call) = self.call(name) else { return };
        match call.node {
            Node::Idle => {
                call.node = Node::Ringing;
                self.timers.set(now_ns() + RINGS.as_nanos() as u64, name, Due::Answer);
            }
            Node::Ringing | Node::Answered => {}
            Node::Up => return,
        }
        let Some(call) = self.call(name) else { return };
        // Also of a copy: it may have come by another way.
        call.copied = read.copied(&format!("n{:x}", name.serial));
        call.at = Some((node, came.from));
        let (status, kind) = if call.node == Node::Answered { (200, Kind::Answer) } else { (180, Kind::Ringing) };
        self.respond(name, status, kind);
    }

    pub(super) fn pick_up(&mut self, name: Name) {
        let Some(call) = self.call(name).filter(|c| c.node == Node::Ringing) else { return };
        call.node = Node::Answered;
        self.respond(name, 200, Kind::Answer);
        self.timers.set(now_ns() + pause_after(0, false), name, Due::AnswerAgain(1));
    }

    pub(super) fn answer_again(&mut self, name: Name, n: u32) {
        if self.call(name).is_none_or(|c| c.node != Node::Answered) {
            return;
        }
        if is_last(n, false) {
            // Nobody acknowledges it: the call is none, whatever the caller thinks.
            if self.call(name).is_some_and(|c| c.caller == Caller::Up) {
                self.time_out(name);
            }
            return;
        }
        self.note_resent(name);
        self.respond(name, 200, Kind::Answer);
        self.timers.set(now_ns() + pause_after(n, false), name, Due::AnswerAgain(n + 1));
    }

    fn respond(&mut self, name: Name, status: u16, kind: Kind) {
        let Some(call) = self.calls[name.slot as usize].as_ref() else { return };
        let Some((node, to)) = call.at else { return };
        let end = &self.nodes[node];
        text::response(&mut self.out, status, &call.copied, end.at, status == 200);
        if let Some(sent) = sent_or_lost(end.socket.send(to, &self.out)) {
            self.sent(name, kind, sent);
        }
    }

    /// The answer to whatever needs no memory.
    fn say(&mut self, node: usize, status: u16, copied: &[u8], came: &Came<'_>) -> Option<Sent> {
        let end = &self.nodes[node];
        text::response(&mut self.out, status, copied, end.at, false);
        sent_or_lost(end.socket.send(came.from, &self.out))
    }
}
