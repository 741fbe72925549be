//! One thing that a witness said about a call, in the compact form in which the call log keeps it.
//!
//! A fact holds what the record needs of its event and no more; a field that the event did not fill is not written. Facts are
//! kept as JSON so that an operator can read a stored call and so that a newer build reads an older build's facts.

use serde::{Deserialize, Serialize};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! fact {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$fmeta])* #[serde(skip_serializing_if = "is_default")] pub $field: $type,)*
        }
    };
}

pub type Text = Option<Box<str>>;

/// Where the fact came from. Order matters only for the text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Edge,
    Channel,
    Ivr,
    Reconciled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Logical id of the event, 32 hex digits: two copies have the same.
    pub id: Box<str>,
    /// When it happened, by the witness's wall clock.
    pub at: i64,
    /// Order among facts of one witness that carry the same `at`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seq: i64,
    pub kind: Kind,
    pub what: Box<str>,
    /// Producer and event id of the copy that was kept.
    pub by: Box<str>,
    pub event: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<Box<EdgeFact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Box<ChannelFact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ivr: Option<Box<IvrFact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<Box<ReconciledFact>>,
}

impl Fact {
    /// Facts that make the record rank before those that only decorate it. When a call says too much, the latter go first.
    #[must_use]
    pub fn is_detail(&self) -> bool {
        match self.kind {
            Kind::Edge => &*self.what == "transaction",
            Kind::Channel => !MILESTONES.contains(&&*self.what),
            Kind::Ivr | Kind::Reconciled => false,
        }
    }
}

/// Channel events from which a leg's record is made. Of the others only name and time are kept.
pub const MILESTONES: &[&str] = &[
    "CHANNEL_CREATE",
    "CHANNEL_PROGRESS",
    "CHANNEL_PROGRESS_MEDIA",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_HANGUP",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_DESTROY",
];

/// Channel events that say nothing a record or a ladder needs: not facts at all.
pub const NOISE: &[&str] = &[
    "CHANNEL_STATE",
    "CHANNEL_CALLSTATE",
    "CHANNEL_EXECUTE_COMPLETE",
    "CHANNEL_UUID",
    // Announced before the channel names its call: an engine may not know yet whose it is. CHANNEL_CREATE says the same and knows.
    "CHANNEL_OUTGOING",
    "CODEC",
    "CALL_UPDATE",
    "PRESENCE_IN",
    "RE_SCHEDULE",
    "API",
    "SESSION_HEARTBEAT",
];

fact! {
    /// From `sip.transactions`.
    EdgeFact {
        leg: Text,
        parent: Text,
        edge: Text,
        side: Text,
        source: Text,
        attempt: i64,
        mono: i64,
        method: Text,
        cid: Text,
        cseq: i64,
        ftag: Text,
        ttag: Text,
        in_dialog: bool,
        reinvite: Text,
        request_user: Text,
        // How it came.
        source_addr: Text,
        transport: Text,
        tls: Text,
        // Parties.
        tenant: Text,
        trunk: Text,
        account: Text,
        caller_raw: Text,
        caller_e164: Text,
        caller_display: Text,
        caller_asserted: Text,
        callee_raw: Text,
        callee_e164: Text,
        callee_country: Text,
        attest: Text,
        user_agent: Text,
        server: Text,
        reason: Text,
        // Media as offered and answered.
        codec_offered: Text,
        codec_answered: Text,
        srtp: Text,
        media_offered: Text,
        media_answered: Text,
        // Timing: wall of receipt, the rest microseconds after it.
        received: Option<i64>,
        t_100: Option<i64>,
        t_18x: Option<i64>,
        t_183_sdp: Option<i64>,
        t_final: Option<i64>,
        t_cancel: Option<i64>,
        // Outcome.
        status: Option<i64>,
        phrase: Text,
        produced_by: Text,
        timer: Text,
        retransmissions: i64,
        codes: Vec<i64>,
        cancelled: bool,
        challenge: bool,
        auth_user: Text,
        late_action: Text,
        // Decision.
        why: Text,
        rule: Text,
        block: Text,
        to_side: Text,
        to: Text,
        failover: Text,
        continues: Option<i64>,
        branches: Vec<Branch>,
        // The end of the dialog, and whether a late answer made it.
        late: bool,
        released_by: Text,
        bye_status: Option<i64>,
        ended: Option<i64>,
        talk: Option<i64>,
        hold: Option<i64>,
        reason_protocol: Text,
        reason_cause: Option<i64>,
        reason_text: Text,
        lost: Text,
    }
}

fact! {
    /// One client branch of a server transaction. Times are microseconds after receipt of the request.
    Branch {
        attempt: i64,
        leg: Text,
        to_side: Text,
        to: Text,
        address: Text,
        t_fwd: i64,
        t_18x: Option<i64>,
        t_final: Option<i64>,
        status: Option<i64>,
        ttag: Text,
        retransmissions: i64,
        failover: Text,
    }
}

fact! {
    /// From `channel.events`. Times are the node's clock; zero and absent are the same: it has not happened.
    ChannelFact {
        channel: Text,
        edge_leg: Text,
        header: Text,
        node: Text,
        engine: Text,
        core: Text,
        controlled: bool,
        call_uuid: Text,
        other: Text,
        other_type: Text,
        bridge_a: Text,
        bridge_b: Text,
        direction: Text,
        tenant: Text,
        cause: Text,
        q850: Option<i64>,
        term_status: Option<i64>,
        hangup_disposition: Text,
        invite_status: Option<i64>,
        invite_phrase: Text,
        created: i64,
        progress: i64,
        progress_media: i64,
        answered: i64,
        bridged: i64,
        held: i64,
        hangup: i64,
        transferred: i64,
        caller_number: Text,
        caller_name: Text,
        callee_number: Text,
        destination: Text,
        cid: Text,
        cseq: Option<i64>,
        ftag: Text,
        ttag: Text,
        from_user: Text,
        to_user: Text,
        network: Text,
        transport: Text,
        user_agent: Text,
        asserted: Text,
        reason: Text,
        read_codec: Text,
        write_codec: Text,
        local_media: Text,
        remote_media: Text,
        mos: Option<f64>,
        quality: Option<f64>,
        loss: Option<f64>,
        burst: Option<f64>,
        jitter: Option<f64>,
        interval: Option<f64>,
        packets_in: Option<i64>,
        packets_out: Option<i64>,
        bytes_in: Option<i64>,
        bytes_out: Option<i64>,
        rtcp_lost: Option<i64>,
        application: Text,
        file: Text,
        digit: Text,
        campaign: Text,
        contact: Text,
        campaign_attempt: i64,
    }
}

fact! {
    /// From `ivr.decisions`.
    IvrFact {
        channel: Text,
        node: Text,
        step: i64,
        menu: Text,
        version: i64,
        menu_node: Text,
        outcome: Text,
        action: Text,
        target: Text,
        digits: Text,
        next: Text,
    }
}

fact! {
    /// From `call.reconciled`.
    ReconciledFact {
        leg: Text,
        node: Text,
        core: Text,
        rule: Text,
        last_seen: i64,
        decided: i64,
        end: i64,
        disposition: Text,
        cause: Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_writes_only_what_it_knows_and_reads_back_the_same() {
        let fact = Fact {
            id: "00".into(),
            at: 5,
            seq: 0,
            kind: Kind::Edge,
            what: "ended".into(),
            by: "edge/a".into(),
            event: "e".into(),
            edge: Some(Box::new(EdgeFact { leg: Some("l".into()), talk: Some(0), ..EdgeFact::default() })),
            channel: None,
            ivr: None,
            reconciled: None,
        };
        let text = serde_json::to_string(&fact).unwrap();
        assert_eq!(
            text,
            r#"{"id":"00","at":5,"kind":"edge","what":"ended","by":"edge/a","event":"e","edge":{"leg":"l","talk":0}}"#
        );
        assert_eq!(serde_json::from_str::<Fact>(&text).unwrap(), fact);
    }

    #[test]
    fn a_field_that_a_newer_build_wrote_does_not_stop_an_older_one() {
        let text =
            r#"{"id":"0","at":1,"kind":"ivr","what":"input","by":"b","event":"e","ivr":{"menu":"m","newer":1},"x":2}"#;
        assert_eq!(serde_json::from_str::<Fact>(text).unwrap().ivr.unwrap().menu.as_deref(), Some("m"));
    }
}
