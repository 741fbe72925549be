//! The called side: what a carrier does with an INVITE that the edge sends out to it.

use std::collections::HashMap;

use super::CalleeBehaviour;
use super::sdp;
use super::task::{Context, Due, answer_in_dialog};
use crate::clock::Stamp;
use crate::ledger::{LegKey, NewLeg};
use crate::sip::{ClientTx, Dialog, Message, ServerTx};

#[derive(Clone, Copy, Debug)]
pub(super) enum CalleeTimer {
    Answer,
    RingLimit,
    HangUp,
    /// Everybody leaves: whatever the call is doing by then.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ringing,
    Talking,
    Leaving,
}

struct Callee {
    leg: LegKey,
    tx: ServerTx,
    /// Needed until the final answer is built from it.
    invite: Option<Message>,
    dialog: Dialog,
    phase: Phase,
    hangs_up: bool,
}

/// What the last four digits of the called number ask for.
enum Part {
    Answer { early_media: bool, hangs_up: bool },
    RingOnly,
    Refuse(u16, &'static str),
}

/// All calls this carrier received and is not done with.
pub(super) struct Callees {
    behaviour: CalleeBehaviour,
    next: u64,
    open: HashMap<u64, Callee>,
    by_invite: HashMap<ServerTx, u64>,
    by_bye: HashMap<ClientTx, u64>,
    by_tag: HashMap<String, u64>,
}

impl Callees {
    pub fn new(behaviour: CalleeBehaviour) -> Self {
        Self {
            behaviour,
            next: 0,
            open: HashMap::new(),
            by_invite: HashMap::new(),
            by_bye: HashMap::new(),
            by_tag: HashMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn invited(&mut self, context: &mut Context, tx: ServerTx, invite: Message) {
        let called = invite.called_user().unwrap_or_default().to_owned();
        let new = NewLeg {
            call_id: invite.call_id().unwrap_or_default().into(),
            trunk: context.trunk.clone(),
            from: invite.from_user().unwrap_or_default().to_owned(),
            to: called.clone(),
            node: invite.origin(),
        };
        let leg = context.ledger.leg_offered(new, Stamp::now());
        let tag = context.rng.hex();
        let part = part_of(&called);
        if let Part::Refuse(code, reason) = part {
            context.ledger.leg_closed(leg, Some(code), false, Stamp::now());
            context.respond(tx, &invite, code, reason, Some(&tag));
            return;
        }
        self.next += 1;
        let id = self.next;
        let contact = context.contact();
        let dialog = Dialog::callee(&invite, &tag, &contact, context.edge);
        let (early_media, hangs_up) = match part {
            Part::Answer { early_media, hangs_up } => (early_media, hangs_up),
            Part::RingOnly | Part::Refuse(..) => (false, false),
        };
        let mut ringing = match early_media {
            true => Message::response_to(&invite, 183, "Session Progress", Some(&tag)),
            false => Message::response_to(&invite, 180, "Ringing", Some(&tag)),
        };
        ringing.add("Contact", contact);
        if early_media {
            ringing.set_body("application/sdp", sdp::body(context.endpoint.local(), id));
        }
        context.endpoint.respond(tx, &ringing);
        if matches!(part, Part::Answer { .. }) {
            let ring = context.rng.duration(self.behaviour.ring_min, self.behaviour.ring_max);
            context.arm(ring, Due::Callee(id, CalleeTimer::Answer));
        } else {
            context.arm(self.behaviour.ring_limit, Due::Callee(id, CalleeTimer::RingLimit));
        }
        self.by_invite.insert(tx, id);
        self.by_tag.insert(tag, id);
        self.open.insert(id, Callee { leg, tx, invite: Some(invite), dialog, phase: Phase::Ringing, hangs_up });
    }

    pub fn cancelled(&mut self, context: &mut Context, tx: ServerTx) {
        self.refuse(context, tx, 487, "Request Terminated", true);
    }

    /// Our 2xx was never acknowledged: RFC 3261 §13.3.1.4 says to end the call.
    pub fn no_ack(&mut self, context: &mut Context, tx: ServerTx) {
        if let Some(&id) = self.by_invite.get(&tx) {
            self.hang_up(context, id);
        }
    }

    pub fn request(&mut self, context: &mut Context, tx: ServerTx, message: &Message) -> bool {
        let Some(&id) = message.to_tag().and_then(|tag| self.by_tag.get(tag)) else { return false };
        let Some(callee) = self.open.get_mut(&id) else { return false };
        if !callee.dialog.matches(message) {
            return false;
        }
        match message.method() {
            Some("BYE") => {
                context.respond(tx, message, 200, "OK", None);
                if callee.phase == Phase::Ringing {
                    // BYE on an early dialog ends the INVITE as a CANCEL would.
                    let invite = callee.tx;
                    self.cancelled(context, invite);
                } else {
                    self.finish(context, id);
                }
            }
            method => {
                if matches!(method, Some("INVITE" | "UPDATE")) {
                    callee.dialog.refresh_target(message);
                }
                answer_in_dialog(context, tx, message);
            }
        }
        true
    }

    pub fn response(&mut self, context: &mut Context, tx: ClientTx, message: &Message) {
        if message.code() >= 200 {
            self.timeout(context, tx);
        }
    }

    /// Our BYE is over, answered or not.
    pub fn timeout(&mut self, context: &mut Context, tx: ClientTx) {
        if let Some(id) = self.by_bye.remove(&tx) {
            self.finish(context, id);
        }
    }

    pub fn timer(&mut self, context: &mut Context, id: u64, timer: CalleeTimer) {
        let Some(callee) = self.open.get_mut(&id) else { return };
        match (timer, callee.phase) {
            (CalleeTimer::Answer, Phase::Ringing) => self.answer(context, id),
            (CalleeTimer::RingLimit | CalleeTimer::Leave, Phase::Ringing) => {
                let tx = callee.tx;
                self.refuse(context, tx, 480, "Temporarily Unavailable", false);
            }
            (CalleeTimer::HangUp | CalleeTimer::Leave, Phase::Talking) => self.hang_up(context, id),
            _ => {}
        }
    }

    pub fn hang_up_all(&mut self, context: &mut Context) {
        let mut turns = context.turns();
        for (id, callee) in &self.open {
            if callee.phase != Phase::Leaving {
                context.arm(turns.next(), Due::Callee(*id, CalleeTimer::Leave));
            }
        }
    }

    fn answer(&mut self, context: &mut Context, id: u64) {
        let Some(callee) = self.open.get_mut(&id) else { return };
        let Some(invite) = callee.invite.take() else { return };
        let mut answer = Message::response_to(&invite, 200, "OK", Some(callee.dialog.local_tag()));
        answer.add("Contact", callee.dialog.contact.as_str());
        answer.set_body("application/sdp", sdp::body(context.endpoint.local(), id));
        callee.phase = Phase::Talking;
        context.ledger.leg_answered(callee.leg, Stamp::now());
        context.endpoint.respond(callee.tx, &answer);
        if callee.hangs_up {
            let talk = context.rng.exponential(self.behaviour.talk).max(std::time::Duration::from_millis(300));
            context.arm(talk, Due::Callee(id, CalleeTimer::HangUp));
        }
    }

    fn refuse(&mut self, context: &mut Context, tx: ServerTx, code: u16, reason: &str, cancelled: bool) {
        let Some(&id) = self.by_invite.get(&tx) else { return };
        let Some(callee) = self.open.get_mut(&id) else { return };
        let Some(invite) = callee.invite.take() else { return };
        context.ledger.leg_closed(callee.leg, Some(code), cancelled, Stamp::now());
        let tag = callee.dialog.local_tag().to_owned();
        context.respond(tx, &invite, code, reason, Some(&tag));
        self.close(id);
    }

    fn hang_up(&mut self, context: &mut Context, id: u64) {
        let Some(callee) = self.open.get_mut(&id) else { return };
        if callee.phase != Phase::Talking {
            return;
        }
        callee.phase = Phase::Leaving;
        let bye = callee.dialog.request("BYE");
        let tx = context.endpoint.send_request(bye, callee.dialog.next_hop());
        self.by_bye.insert(tx, id);
    }

    fn finish(&mut self, context: &mut Context, id: u64) {
        if let Some(callee) = self.close(id) {
            context.ledger.leg_closed(callee.leg, None, false, Stamp::now());
        }
    }

    fn close(&mut self, id: u64) -> Option<Callee> {
        let callee = self.open.remove(&id)?;
        self.by_invite.remove(&callee.tx);
        self.by_tag.remove(callee.dialog.local_tag());
        Some(callee)
    }
}

fn part_of(called: &str) -> Part {
    let digits: Vec<char> = called.chars().rev().take(4).collect();
    match (digits.get(3), digits.get(2)) {
        (Some('8'), Some('0')) => Part::Answer { early_media: false, hangs_up: false },
        (Some('8'), Some('1')) => Part::Refuse(486, "Busy Here"),
        (Some('8'), Some('2')) => Part::RingOnly,
        (Some('8'), Some('3')) => Part::Refuse(603, "Decline"),
        (Some('8'), Some('4')) => Part::Refuse(503, "Service Unavailable"),
        (Some('8'), Some('5')) => Part::Answer { early_media: false, hangs_up: true },
        (Some('8'), Some('6')) => Part::Answer { early_media: true, hangs_up: false },
        _ => Part::Refuse(404, "Not Found"),
    }
}
