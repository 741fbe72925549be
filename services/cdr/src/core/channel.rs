//! What the engine saw of one channel, merged from its facts.
//!
//! Facts come sorted by the node's clock and sequence, so "the later one wins" is a function of the set. Times only ever go
//! from unknown to known, therefore the largest value of each is the right one.

use crate::core::fact::{ChannelFact, Fact, Text};

/// How sure we are that the channel has ended, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    Hangup,
    Destroy,
    HangupComplete,
}

#[derive(Debug, Clone, Default)]
pub struct Channel {
    pub merged: ChannelFact,
    pub uuid: String,
    /// Strongest sign of the end, and when it was.
    pub end: Option<(Proof, i64)>,
    pub first_at: i64,
    pub last_at: i64,
    pub dtmf: i64,
    pub recordings: Vec<String>,
    pub reasons: Vec<String>,
    pub first_event: String,
    pub last_event: String,
    pub peers: Vec<String>,
}

impl Channel {
    #[must_use]
    pub fn inbound(&self) -> bool {
        self.merged.direction.as_deref() != Some("outbound")
    }

    #[must_use]
    pub fn ended(&self) -> bool {
        self.end.is_some()
    }

    #[must_use]
    pub fn answered_us(&self) -> Option<i64> {
        Some(self.merged.answered).filter(|at| *at > 0)
    }

    #[must_use]
    pub fn created_us(&self) -> i64 {
        if self.merged.created > 0 { self.merged.created } else { self.first_at }
    }

    /// First sign of ringing or early media.
    #[must_use]
    pub fn progress_us(&self) -> Option<i64> {
        [self.merged.progress, self.merged.progress_media].into_iter().filter(|at| *at > 0).min()
    }

    fn take(&mut self, fact: &Fact, c: &ChannelFact) {
        let m = &mut self.merged;
        later(&mut [
            (&mut m.node, &c.node),
            (&mut m.engine, &c.engine),
            (&mut m.core, &c.core),
            (&mut m.call_uuid, &c.call_uuid),
            (&mut m.other, &c.other),
            (&mut m.other_type, &c.other_type),
            (&mut m.direction, &c.direction),
            (&mut m.tenant, &c.tenant),
            (&mut m.cause, &c.cause),
            (&mut m.hangup_disposition, &c.hangup_disposition),
            (&mut m.invite_phrase, &c.invite_phrase),
            (&mut m.caller_number, &c.caller_number),
            (&mut m.caller_name, &c.caller_name),
            (&mut m.callee_number, &c.callee_number),
            (&mut m.cid, &c.cid),
            (&mut m.ftag, &c.ftag),
            (&mut m.ttag, &c.ttag),
            (&mut m.from_user, &c.from_user),
            (&mut m.to_user, &c.to_user),
            (&mut m.network, &c.network),
            (&mut m.transport, &c.transport),
            (&mut m.user_agent, &c.user_agent),
            (&mut m.asserted, &c.asserted),
            (&mut m.read_codec, &c.read_codec),
            (&mut m.write_codec, &c.write_codec),
            (&mut m.local_media, &c.local_media),
            (&mut m.remote_media, &c.remote_media),
            (&mut m.campaign, &c.campaign),
            (&mut m.contact, &c.contact),
        ]);
        // A transfer changes these two; the record wants what was dialled first, and the header that came in.
        first(&mut m.destination, &c.destination);
        if c.header.as_deref() == Some("valid") || m.header.is_none() {
            first(&mut m.edge_leg, &c.edge_leg);
            m.header.clone_from(&c.header);
        }
        for (known, new) in [
            (&mut m.q850, c.q850),
            (&mut m.term_status, c.term_status),
            (&mut m.invite_status, c.invite_status),
            (&mut m.cseq, c.cseq),
            (&mut m.packets_in, c.packets_in),
            (&mut m.packets_out, c.packets_out),
            (&mut m.bytes_in, c.bytes_in),
            (&mut m.bytes_out, c.bytes_out),
            (&mut m.rtcp_lost, c.rtcp_lost),
        ] {
            *known = new.or(*known);
        }
        for (known, new) in [
            (&mut m.mos, c.mos),
            (&mut m.quality, c.quality),
            (&mut m.loss, c.loss),
            (&mut m.burst, c.burst),
            (&mut m.jitter, c.jitter),
            (&mut m.interval, c.interval),
        ] {
            *known = new.or(*known);
        }
        for (known, new) in [
            (&mut m.created, c.created),
            (&mut m.progress, c.progress),
            (&mut m.progress_media, c.progress_media),
            (&mut m.answered, c.answered),
            (&mut m.bridged, c.bridged),
            (&mut m.held, c.held),
            (&mut m.hangup, c.hangup),
            (&mut m.transferred, c.transferred),
            (&mut m.campaign_attempt, c.campaign_attempt),
        ] {
            *known = new.max(*known);
        }
        m.controlled |= c.controlled;
        for peer in [&c.bridge_a, &c.bridge_b].into_iter().flatten() {
            if **peer != *self.uuid && !self.peers.iter().any(|p| **p == **peer) {
                self.peers.push(peer.to_string());
            }
        }
        if let Some(reason) = &c.reason
            && !self.reasons.iter().any(|r| **r == **reason)
        {
            self.reasons.push(reason.to_string());
        }
        self.milestone(fact, c);
    }

    fn milestone(&mut self, fact: &Fact, c: &ChannelFact) {
        let proof = match &*fact.what {
            "CHANNEL_ANSWER" if self.merged.answered == 0 => {
                self.merged.answered = fact.at;
                return;
            }
            "CHANNEL_BRIDGE" if self.merged.bridged == 0 => {
                self.merged.bridged = fact.at;
                return;
            }
            "CHANNEL_HANGUP" => Proof::Hangup,
            "CHANNEL_DESTROY" => Proof::Destroy,
            "CHANNEL_HANGUP_COMPLETE" => Proof::HangupComplete,
            "DTMF" => {
                self.dtmf += 1;
                return;
            }
            "RECORD_START" => {
                if let Some(file) = &c.file {
                    self.recordings.push(file.to_string());
                }
                return;
            }
            _ => return,
        };
        if self.end.is_none_or(|(known, _)| proof >= known) {
            self.end = Some((proof, if c.hangup > 0 { c.hangup } else { fact.at }));
        }
    }
}

fn later(fields: &mut [(&mut Text, &Text)]) {
    for (known, new) in fields {
        if new.is_some() {
            known.clone_from(new);
        }
    }
}

fn first(known: &mut Text, new: &Text) {
    if known.is_none() {
        known.clone_from(new);
    }
}

/// All channels of a call, by creation.
#[must_use]
pub fn channels(facts: &[Fact]) -> Vec<Channel> {
    let mut all: Vec<Channel> = Vec::new();
    for fact in facts {
        let Some(c) = &fact.channel else { continue };
        let Some(uuid) = &c.channel else { continue };
        let at = all.iter().position(|known| *known.uuid == **uuid).unwrap_or_else(|| {
            all.push(Channel {
                uuid: uuid.to_string(),
                first_at: fact.at,
                first_event: fact.event.to_string(),
                ..Channel::default()
            });
            all.len() - 1
        });
        let channel = &mut all[at];
        channel.take(fact, c);
        channel.last_at = channel.last_at.max(fact.at);
        channel.last_event = fact.event.to_string();
    }
    all.sort_by(|a, b| (a.created_us(), &a.uuid).cmp(&(b.created_us(), &b.uuid)));
    all
}
