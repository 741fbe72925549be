//! Calls as edge and engine publish them, in bulk.

use domain::{CallId, Clock, LegId};
use schemas::{
    ChannelEvent, ChannelHangup, ChannelSip, ChannelState, ChannelTimes, NodeHealth, NodeHeartbeat, SipBranch,
    SipDialogEnd, SipIdentity, SipOutcome, SipTiming, SipTransaction,
};
use stream::Publisher;

pub const CORE: &str = "a16d571c-8575-4042-b397-ef41778b2edf";

pub struct Call {
    pub id: CallId,
    pub cid: String,
    pub uuid: String,
    pub leg: String,
    start: i64,
    n: u32,
}

impl Call {
    pub fn new(clock: &dyn Clock, n: u32) -> Call {
        let start = clock.now().wall_us - 10_000_000;
        let mut random = [0; 10];
        random[..4].copy_from_slice(&n.to_be_bytes());
        let id = CallId::new(start, random);
        let cid = format!("call-{n}@carrier");
        let leg = LegId::edge(&id, &cid, "tag", 1, 1).to_string();
        Call { id, cid, uuid: format!("00000000-0000-4000-8000-{n:012x}"), leg, start, n }
    }

    fn edge(&self, what: &str, at_ms: i64) -> SipTransaction {
        SipTransaction {
            event_type: what.into(),
            call_root_id: self.id.to_string(),
            leg_id: self.leg.clone(),
            edge_id: "edge-1".into(),
            occurred_us: self.start + at_ms * 1000,
            occurred_mono_us: at_ms * 1000,
            source_side: "trunk".into(),
            source_id: "carrier-a".into(),
            attempt: 1,
            identity: SipIdentity {
                method: "INVITE".into(),
                call_id: self.cid.clone(),
                cseq: 1,
                from_tag: "tag".into(),
                ..SipIdentity::default()
            },
            timing: Some(SipTiming {
                received_us: Some(self.start),
                t_first_18x_us: (what == "answered").then_some(200_000),
                t_final_us: (what == "answered").then_some(1_000_000),
                ..SipTiming::default()
            }),
            branches: vec![SipBranch {
                attempt: 1,
                leg_id: self.leg.clone(),
                target_side: "node".into(),
                target_id: "fs1".into(),
                ..SipBranch::default()
            }],
            ..SipTransaction::default()
        }
    }

    fn channel(&self, what: &str, at_ms: i64, seq: i64) -> ChannelEvent {
        ChannelEvent {
            event_type: what.into(),
            call_root_id: self.id.to_string(),
            leg_id: self.uuid.clone(),
            edge_leg_id: Some(self.leg.clone()),
            header_state: Some("valid".into()),
            node_id: "fs1".into(),
            engine_id: "engine-1".into(),
            core_uuid: CORE.into(),
            event_sequence: i64::from(self.n) * 10 + seq,
            event_us: self.start + at_ms * 1000,
            channel: ChannelState {
                unique_id: self.uuid.clone(),
                direction: Some("inbound".into()),
                ..ChannelState::default()
            },
            times: Some(ChannelTimes {
                created_us: Some(self.start + 5000),
                answered_us: (at_ms >= 1000).then_some(self.start + 999_000),
                ..ChannelTimes::default()
            }),
            sip: Some(ChannelSip { call_id: Some(self.cid.clone()), ..ChannelSip::default() }),
            ..ChannelEvent::default()
        }
    }

    /// What the edge says first, and alone.
    pub fn attempt(&self, publisher: &Publisher) {
        publisher.publish(self.edge("attempt", 1));
    }

    /// Up to the answer: four events.
    pub fn begin(&self, publisher: &Publisher) {
        publisher.publish(self.edge("attempt", 1));
        publisher.publish(self.channel("CHANNEL_CREATE", 5, 1));
        publisher.publish(self.channel("CHANNEL_ANSWER", 1000, 2));
        let mut answered = self.edge("answered", 1000);
        answered.outcome = Some(SipOutcome { status: Some(200), ..SipOutcome::default() });
        publisher.publish(answered);
    }

    /// From the hang-up on: four events.
    pub fn end(&self, publisher: &Publisher) {
        for (what, seq) in [("CHANNEL_HANGUP", 3), ("CHANNEL_HANGUP_COMPLETE", 4), ("CHANNEL_DESTROY", 5)] {
            let mut e = self.channel(what, 5000, seq);
            e.times.as_mut().unwrap().hangup_us = Some(self.start + 5_000_000);
            e.hangup = Some(ChannelHangup { cause: Some("NORMAL_CLEARING".into()), ..ChannelHangup::default() });
            publisher.publish(e);
        }
        let mut ended = self.edge("ended", 5001);
        ended.dialog = Some(SipDialogEnd {
            released_by: Some("caller".into()),
            bye_status: Some(200),
            ended_us: Some(self.start + 5_001_000),
            talk_us: Some(4_001_000),
            ..SipDialogEnd::default()
        });
        publisher.publish(ended);
    }
}

pub fn heartbeat(publisher: &Publisher, clock: &dyn Clock, core: &str, n: i64) {
    let now = clock.now();
    publisher.publish(NodeHealth {
        event_type: "heartbeat".into(),
        node_id: "fs1".into(),
        observer_kind: "engine".into(),
        observer_id: "engine-1".into(),
        core_uuid: Some(core.into()),
        observed_us: now.wall_us,
        heartbeat: Some(NodeHeartbeat { event_sequence: n, interval_us: Some(1_000_000), ..NodeHeartbeat::default() }),
        ..NodeHealth::default()
    });
}
