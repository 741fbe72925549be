//! The caller's end.

use super::call::{Caller, Due, is_last, pause_after};
use super::name::Name;
use super::read::{Dialog, Method, Read};
use super::samples::Kind;
use super::text::{self, Request};
use super::{Fleet, is_final, now_ns, sent_or_lost};

const ACK: Request<'_> = Request { method: "ACK", cseq: 1, branch: "a" };
/// Of a refusal: it belongs to the INVITE's own transaction.
const ACK_REFUSAL: Request<'_> = Request { method: "ACK", cseq: 1, branch: "i" };
const BYE: Request<'_> = Request { method: "BYE", cseq: 2, branch: "b" };

impl Fleet {
    pub(super) fn invite(&mut self, name: Name, n: u32) {
        let Some(call) = self.calls[name.slot as usize].as_ref() else { return };
        let line = &self.lines[call.line];
        text::invite(&mut self.out, name, line.at, line.to);
        let sent = sent_or_lost(line.socket.send(line.to, &self.out));
        if let Some(sent) = sent {
            self.sent(name, Kind::Invite, sent);
            if let Some(call) = self.call(name) {
                call.taken = sent.before;
            }
        }
        self.timers.set(now_ns() + pause_after(n, true), name, Due::Invite(n + 1));
    }

    pub(super) fn invite_again(&mut self, name: Name, n: u32) {
        if self.call(name).is_none_or(|c| c.caller != Caller::Inviting) {
            return;
        }
        if is_last(n, true) {
            self.time_out(name);
            return;
        }
        self.note_resent(name);
        self.invite(name, n)
    }

    pub(super) fn answered(&mut self, read: &Read<'_>, status: u16, at: u64) {
        let Some(name) = read.call else { return };
        match (read.method, status) {
            (Method::Invite, 180) => self.arrived(name, Kind::Ringing, at),
            (Method::Invite, 200) => self.arrived(name, Kind::Answer, at),
            (Method::Bye, 200) => self.arrived(name, Kind::Goodbye, at),
            _ => {}
        }
        let Some(call) = self.call(name) else { return };
        match (read.method, call.caller) {
            (Method::Invite, Caller::Inviting | Caller::Proceeding) if !is_final(status) => {
                call.caller = Caller::Proceeding;
            }
            (Method::Invite, Caller::Inviting | Caller::Proceeding) if status < 300 => self.take_up(name, read, at),
            (Method::Invite, Caller::Inviting | Caller::Proceeding) => self.take_refusal(name, read, status),
            // The ACK was lost, or is on its way.
            (Method::Invite, Caller::Up) if status == 200 => self.send_in_dialog(name, &ACK, Kind::Ack),
            (Method::Bye, Caller::Ending) if status == 200 => self.over(name, |tally| tally.ended += 1),
            (Method::Bye, Caller::Ending) if is_final(status) => {
                self.over(name, |tally| *tally.refused.entry(status).or_default() += 1);
            }
            _ => {}
        }
    }

    fn take_up(&mut self, name: Name, read: &Read<'_>, at: u64) {
        let Some(call) = self.call(name) else { return };
        call.caller = Caller::Up;
        call.dialog = read.dialog();
        let (hold, line, counted) = (call.hold, call.line, call.counted);
        let us = |from: u64| at.saturating_sub(from) as f32 / 1e3;
        let (whole, taken) = (us(call.began), us(call.taken));
        self.up += 1;
        self.busy -= u64::from(hold.is_none());
        if counted {
            let tally = &mut self.lines[line].tally;
            tally.answered += 1;
            tally.setups.push(whole);
            tally.setups_taken.push(taken);
        }
        if let Some(hold) = hold {
            self.timers.set(now_ns() + hold.as_nanos() as u64, name, Due::HangUp);
        }
        self.send_in_dialog(name, &ACK, Kind::Ack)
    }

    fn take_refusal(&mut self, name: Name, read: &Read<'_>, status: u16) {
        let Some(call) = self.call(name) else { return };
        // The same target as the INVITE's, and only To of the answer.
        let lines = read.dialog().map(|d| only_to(&d.lines)).unwrap_or_default();
        call.dialog = Some(Dialog { target: Box::default(), lines });
        self.send_request(name, &ACK_REFUSAL, None);
        let retry_after = read.has("Retry-After");
        self.over(name, |tally| {
            *tally.refused.entry(status).or_default() += 1;
            tally.retry_after += u64::from(retry_after);
        });
    }

    pub(super) fn hang_up(&mut self, name: Name) {
        let Some(call) = self.call(name).filter(|c| c.caller == Caller::Up) else { return };
        call.caller = Caller::Ending;
        self.up -= 1;
        self.bye(name, 0)
    }

    fn bye(&mut self, name: Name, n: u32) {
        self.send_in_dialog(name, &BYE, Kind::Bye);
        self.timers.set(now_ns() + pause_after(n, false), name, Due::Bye(n + 1));
    }

    pub(super) fn bye_again(&mut self, name: Name, n: u32) {
        if self.call(name).is_none_or(|c| c.caller != Caller::Ending) {
            return;
        }
        if is_last(n, false) {
            self.time_out(name);
            return;
        }
        self.note_resent(name);
        self.bye(name, n)
    }

    fn send_in_dialog(&mut self, name: Name, request: &Request<'_>, kind: Kind) {
        self.send_request(name, request, Some(kind))
    }

    fn send_request(&mut self, name: Name, request: &Request<'_>, kind: Option<Kind>) {
        let Some(call) = self.calls[name.slot as usize].as_ref() else { return };
        let Some(dialog) = &call.dialog else { return };
        let line = &self.lines[call.line];
        text::follow_up(&mut self.out, request, dialog, name, line.at, line.to);
        let sent = sent_or_lost(line.socket.send(line.to, &self.out));
        if let (Some(sent), Some(kind)) = (sent, kind) {
            self.sent(name, kind, sent);
        }
    }
}

fn only_to(lines: &[u8]) -> Box<[u8]> {
    let start = lines.windows(4).position(|w| w == b"To: ").unwrap_or(0);
    lines[start..].into()
}
