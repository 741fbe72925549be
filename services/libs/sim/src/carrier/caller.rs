//! The calling side: from INVITE to the end of a call, by its plan.

use std::collections::HashMap;
use std::time::Duration;

use super::plan::{CallPlan, Ends};
use super::sdp;
use super::task::{Context, Due, answer_in_dialog};
use crate::clock::Stamp;
use crate::ledger::{CallKey, NewCall, Released};
use crate::rng::Rng;
use crate::sip::{Challenge, ClientTx, Dialog, Message, ServerTx};

#[derive(Clone, Copy, Debug)]
pub(super) enum CallerTimer {
    /// The plan's `cancel_after`, or nobody answers at all.
    GiveUp,
    PressKey(usize),
    HangUp,
    /// Everybody leaves: whatever the call is doing by then.
    Leave,
}

enum Phase {
    Inviting {
        given_up: bool,
    },
    Talking(Dialog),
    /// BYE is out; whatever comes back, the call is over.
    Leaving(Dialog),
}

struct Caller {
    key: CallKey,
    plan: CallPlan,
    invite: Message,
    /// The last INVITE's, also after its answer: a second 2xx comes under it.
    invite_tx: ClientTx,
    phase: Phase,
    challenged: bool,
}

/// All calls this carrier placed and is not done with.
#[derive(Default)]
pub(super) struct Callers {
    next: u64,
    open: HashMap<u64, Caller>,
    by_tx: HashMap<ClientTx, u64>,
    /// By our From-tag: what a request from the far end names in To.
    by_tag: HashMap<String, u64>,
}

impl Callers {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn place(&mut self, context: &mut Context, plan: CallPlan) {
        let new = NewCall {
            call_id: plan.call_id.as_str().into(),
            trunk: context.trunk.clone(),
            from: plan.from.clone(),
            to: plan.to.clone(),
            kind: plan.kind,
            attack: plan.attack,
        };
        let Some(key) = context.ledger.offered(new, Stamp::now()) else {
            tracing::warn!(sip.call_id = %plan.call_id, "a call id was planned twice and is placed once");
            return;
        };
        self.next += 1;
        let id = self.next;
        // From the seed and the Call-ID, so that a second run sends the same tags whatever order the plans arrive in.
        let tag = Rng::new(context.seed).fork(&plan.call_id).hex();
        let invite = first_invite(context, &plan, &tag);
        let tx = context.endpoint.send_request(invite.clone(), context.edge);
        let give_up = plan.cancel_after.unwrap_or(context.ring_limit).min(context.ring_limit);
        context.arm(give_up, Due::Caller(id, CallerTimer::GiveUp));
        self.by_tx.insert(tx, id);
        self.by_tag.insert(tag, id);
        let phase = Phase::Inviting { given_up: false };
        self.open.insert(id, Caller { key, plan, invite, invite_tx: tx, phase, challenged: false });
    }

    /// False when the transaction is not one of ours.
    pub fn response(&mut self, context: &mut Context, tx: ClientTx, message: &Message) -> bool {
        let invited = message.cseq().is_some_and(|(_, method)| method == "INVITE");
        let Some(&id) = self.by_tx.get(&tx) else {
            // A 2xx after the call had failed here: nobody wants it any more. Callees send no INVITE.
            if invited && (200..300).contains(&message.code()) {
                self.refuse_answer(context, tx, message);
            }
            return invited;
        };
        if message.code() >= 200 && !(invited && message.code() < 300) {
            self.by_tx.remove(&tx);
        }
        match (invited, message.code()) {
            (true, 100..=199) => self.provisional(context, id, message),
            (true, 200..=299) => self.answered(context, id, tx, message),
            (true, _) => self.refused(context, id, message),
            (false, _) => self.in_dialog_response(context, id, message),
        }
        true
    }

    fn provisional(&mut self, context: &mut Context, id: u64, message: &Message) {
        if let Some(caller) = self.open.get(&id)
            && (180..190).contains(&message.code())
        {
            context.ledger.ringing(caller.key, Stamp::now());
        }
    }

    fn answered(&mut self, context: &mut Context, id: u64, tx: ClientTx, message: &Message) {
        let Some(caller) = self.open.get_mut(&id) else { return };
        let Phase::Inviting { given_up } = caller.phase else {
            self.refuse_answer(context, tx, message);
            return;
        };
        context.ledger.answered(caller.key, message.code(), Stamp::now());
        let dialog = Dialog::caller(&caller.invite, message, context.edge);
        let cseq = message.cseq().map_or(1, |(number, _)| number);
        context.endpoint.ack(tx, dialog.ack(cseq), dialog.next_hop());
        caller.phase = Phase::Talking(dialog);
        if given_up {
            // Glare: the answer overtook the CANCEL.
            self.hang_up(context, id);
            return;
        }
        let mut at = Duration::ZERO;
        for (index, key) in caller.plan.keys.iter().enumerate() {
            at += key.after;
            context.arm(at, Due::Caller(id, CallerTimer::PressKey(index)));
        }
        context.arm(caller.plan.hold, Due::Caller(id, CallerTimer::HangUp));
    }

    /// A second branch answered, or the call was closed already: acknowledge and let go.
    fn refuse_answer(&mut self, context: &mut Context, tx: ClientTx, message: &Message) {
        let mut dialog = Dialog::caller(message, message, context.edge);
        dialog.contact = context.contact();
        let cseq = message.cseq().map_or(1, |(number, _)| number);
        context.endpoint.ack(tx, dialog.ack(cseq), dialog.next_hop());
        let bye = dialog.request("BYE");
        context.endpoint.send_request(bye, dialog.next_hop());
    }

    fn refused(&mut self, context: &mut Context, id: u64, message: &Message) {
        if !self.repeat_with_credentials(context, id, message)
            && let Some(caller) = self.close(id)
        {
            context.ledger.failed(caller.key, Some(message.code()), Stamp::now());
        }
    }

    /// RFC 3261 §22: same Call-ID and From-tag, next sequence number. Once only: a second challenge means wrong credentials.
    fn repeat_with_credentials(&mut self, context: &mut Context, id: u64, message: &Message) -> bool {
        let Some(caller) = self.open.get_mut(&id) else { return false };
        let Phase::Inviting { given_up } = caller.phase else { return false };
        let Some(challenge) = Challenge::from_response(message) else { return false };
        let who = caller.plan.credentials.as_ref().or(context.credentials.as_ref());
        let Some(who) = who.filter(|_| !caller.challenged && !given_up) else { return false };
        caller.challenged = true;
        context.ledger.challenged(caller.key);
        let uri = caller.invite.request_uri().unwrap_or_default();
        let cnonce = Rng::new(context.seed).fork(&challenge.nonce).hex();
        let answer = challenge.answer(who, "INVITE", uri, &cnonce);
        let cseq = caller.invite.cseq().map_or(1, |(number, _)| number) + 1;
        caller.invite.set(challenge.answer_header(), answer);
        caller.invite.set("CSeq", format!("{cseq} INVITE"));
        let tx = context.endpoint.send_request(caller.invite.clone(), context.edge);
        caller.invite_tx = tx;
        self.by_tx.insert(tx, id);
        true
    }

    fn in_dialog_response(&mut self, context: &mut Context, id: u64, message: &Message) {
        let bye = message.cseq().is_some_and(|(_, method)| method == "BYE");
        if bye && message.code() >= 200 {
            // 200, or 408, 481, 503 …: over in any case.
            self.finish(context, id);
        }
    }

    /// False when the transaction is not one of ours.
    pub fn timeout(&mut self, context: &mut Context, tx: ClientTx) -> bool {
        let Some(id) = self.by_tx.remove(&tx) else { return false };
        match self.open.get(&id).map(|caller| &caller.phase) {
            Some(Phase::Inviting { .. }) => {
                if let Some(caller) = self.close(id) {
                    context.ledger.failed(caller.key, None, Stamp::now());
                }
            }
            Some(Phase::Leaving(_)) => self.finish(context, id),
            // An INFO got lost: the menu will ask again.
            Some(Phase::Talking(_)) | None => {}
        }
        true
    }

    /// A request inside one of our dialogs. False when it is none of ours.
    pub fn request(&mut self, context: &mut Context, tx: ServerTx, message: &Message) -> bool {
        let Some(&id) = message.to_tag().and_then(|tag| self.by_tag.get(tag)) else { return false };
        let Some(caller) = self.open.get_mut(&id) else { return false };
        let (Phase::Talking(dialog) | Phase::Leaving(dialog)) = &mut caller.phase else { return false };
        if !dialog.matches(message) {
            return false;
        }
        if message.method() == Some("BYE") {
            context.ledger.released(caller.key, Released::Far, Stamp::now());
            context.respond(tx, message, 200, "OK", None);
            self.finish(context, id);
            return true;
        }
        if matches!(message.method(), Some("INVITE" | "UPDATE")) {
            dialog.refresh_target(message);
        }
        answer_in_dialog(context, tx, message);
        true
    }

    pub fn timer(&mut self, context: &mut Context, id: u64, timer: CallerTimer) {
        let Some(caller) = self.open.get_mut(&id) else { return };
        match (timer, &mut caller.phase) {
            (CallerTimer::GiveUp | CallerTimer::Leave, Phase::Inviting { .. }) => self.give_up(context, id),
            (CallerTimer::Leave, Phase::Talking(_)) => self.hang_up(context, id),
            (CallerTimer::PressKey(index), Phase::Talking(dialog)) => {
                let Some(key) = caller.plan.keys.get(index) else { return };
                let mut info = dialog.request("INFO");
                info.set_body("application/dtmf-relay", format!("Signal={}\r\nDuration=160\r\n", key.digit));
                let tx = context.endpoint.send_request(info, dialog.next_hop());
                self.by_tx.insert(tx, id);
            }
            (CallerTimer::HangUp, Phase::Talking(_)) => {
                if caller.plan.ends == Ends::Far {
                    tracing::debug!(sip.call_id = %caller.plan.call_id, "the far side did not hang up in time");
                }
                self.hang_up(context, id);
            }
            _ => {}
        }
    }

    /// One after the other, so that their ends are seen when they happen and not when a burst has been worked off.
    pub fn hang_up_all(&mut self, context: &mut Context) {
        let mut turns = context.turns();
        for (id, caller) in &self.open {
            if !matches!(caller.phase, Phase::Leaving(_)) {
                context.arm(turns.next(), Due::Caller(*id, CallerTimer::Leave));
            }
        }
    }

    fn give_up(&mut self, context: &mut Context, id: u64) {
        let Some(caller) = self.open.get_mut(&id) else { return };
        let Phase::Inviting { given_up } = &mut caller.phase else { return };
        if !std::mem::replace(given_up, true) {
            context.ledger.cancelled(caller.key);
            context.endpoint.cancel(caller.invite_tx);
        }
    }

    fn hang_up(&mut self, context: &mut Context, id: u64) {
        let Some(caller) = self.open.get_mut(&id) else { return };
        let Phase::Talking(dialog) = &mut caller.phase else { return };
        context.ledger.released(caller.key, Released::Caller, Stamp::now());
        let bye = dialog.request("BYE");
        let tx = context.endpoint.send_request(bye, dialog.next_hop());
        caller.phase = Phase::Leaving(dialog.clone());
        self.by_tx.insert(tx, id);
    }

    /// An answered call is done.
    fn finish(&mut self, context: &mut Context, id: u64) {
        if let Some(caller) = self.close(id) {
            context.ledger.closed(caller.key);
        }
    }

    fn close(&mut self, id: u64) -> Option<Caller> {
        let caller = self.open.remove(&id)?;
        self.by_tx.remove(&caller.invite_tx);
        if let Some(tag) = caller.invite.from_tag() {
            self.by_tag.remove(tag);
        }
        Some(caller)
    }
}

fn first_invite(context: &Context, plan: &CallPlan, tag: &str) -> Message {
    let local = context.endpoint.local();
    let edge = context.edge;
    let mut invite = Message::request("INVITE", &format!("sip:{}@{edge}", plan.to));
    invite.add("Max-Forwards", "70");
    invite.add("From", format!("<sip:{}@{local}>;tag={tag}", plan.from));
    invite.add("To", format!("<sip:{}@{edge}>", plan.to));
    invite.add("Call-ID", plan.call_id.as_str());
    invite.add("CSeq", "1 INVITE");
    invite.add("Contact", format!("<sip:{}@{local}>", plan.from));
    invite.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE");
    invite.add("User-Agent", format!("carrier-{}", context.trunk));
    invite.set_body("application/sdp", sdp::body(local, u64::from_str_radix(tag, 16).unwrap_or_default() % 10_000));
    invite
}
