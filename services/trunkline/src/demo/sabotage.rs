//! Spoiling about one call in a hundred on purpose, where nothing downstream could heal it, so that the oracle has to find
//! it. An oracle that stays silent here proves nothing elsewhere.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{SipBranch, SipDialogEnd, SipIdentity, SipOutcome, SipParties, SipTiming, SipTransaction};
use stream::Filter;

/// The call topics: what both witnesses say of a call is keyed by its id there.
const CALL_TOPICS: [&str; 3] = ["sip.transactions", "channel.events", "ivr.decisions"];

/// Loses every event of every hundredth call, and of the first one, before it gets a number.
///
/// Both witnesses ask the same filter, so neither can tell of the call.
#[must_use]
pub fn drop_calls() -> Filter {
    let seen: Mutex<Seen> = Mutex::new(Seen::default());
    Arc::new(move |topic, key| {
        if !CALL_TOPICS.contains(&topic.name) || key.len() != 36 {
            return true;
        }
        !seen.lock().is_spoiled(key)
    })
}

#[derive(Default)]
struct Seen {
    known: HashSet<Vec<u8>>,
    spoiled: HashSet<Vec<u8>>,
}

impl Seen {
    fn is_spoiled(&mut self, key: &[u8]) -> bool {
        if self.known.insert(key.to_vec()) && self.known.len() % 100 == 1 {
            self.spoiled.insert(key.to_vec());
        }
        self.spoiled.contains(key)
    }
}

/// The three events of an answered call that nobody made.
#[must_use]
pub fn phantom(
    call: domain::CallId,
    number: u64,
    edge_id: &str,
    trunk: &str,
    node: &str,
    now: domain::Now,
) -> [SipTransaction; 3] {
    let sip_call_id = format!("phantom-{number}@nowhere.invalid");
    let leg = domain::LegId::edge(&call, &sip_call_id, "phantom", 1, 1).to_string();
    let base = SipTransaction {
        call_root_id: call.to_string(),
        leg_id: leg.clone(),
        edge_id: edge_id.to_owned(),
        occurred_us: now.wall_us,
        occurred_mono_us: i64::try_from(now.mono_us).unwrap_or(i64::MAX),
        source_side: "trunk".to_owned(),
        source_id: trunk.to_owned(),
        attempt: 1,
        identity: SipIdentity {
            method: "INVITE".to_owned(),
            call_id: sip_call_id,
            cseq: 1,
            from_tag: "phantom".to_owned(),
            ..Default::default()
        },
        parties: Some(SipParties { trunk_id: Some(trunk.to_owned()), ..Default::default() }),
        timing: Some(SipTiming {
            received_us: Some(now.wall_us),
            received_mono_us: i64::try_from(now.mono_us).ok(),
            ..Default::default()
        }),
        branches: vec![SipBranch {
            attempt: 1,
            leg_id: leg,
            branch: "z9hG4bKphantom".to_owned(),
            target_side: "node".to_owned(),
            target_id: node.to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let outcome = SipOutcome { status: Some(200), ..Default::default() };
    let dialog = SipDialogEnd {
        released_by: Some("caller".to_owned()),
        bye_status: Some(200),
        ended_us: Some(now.wall_us),
        talk_us: Some(0),
        ..Default::default()
    };
    [
        SipTransaction { event_type: "attempt".to_owned(), ..base.clone() },
        SipTransaction { event_type: "answered".to_owned(), outcome: Some(outcome), ..base.clone() },
        SipTransaction { event_type: "ended".to_owned(), dialog: Some(dialog), ..base },
    ]
}

/// How many calls to spoil: one in a hundred, at least one.
#[must_use]
pub fn share_of(calls: u64) -> u64 {
    (calls / 100).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Event as _;

    #[test]
    fn one_call_in_a_hundred_is_lost_whole_and_at_least_one() {
        let filter = drop_calls();
        let sip = SipTransaction::TOPIC;
        let channel = schemas::ChannelEvent::TOPIC;
        let mut lost = 0;
        for n in 0..1000_u64 {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&(n << 8).to_be_bytes());
            let key = domain::CallId::new(1_764_000_000_000_000, random).to_string();
            let first = filter(sip, key.as_bytes());
            assert_eq!(filter(channel, key.as_bytes()), first, "both witnesses lose the same calls");
            lost += u64::from(!first);
        }
        assert_eq!(lost, 10);
        assert!(filter(schemas::ControlBlock::TOPIC, b"fraud/019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071"));
    }

    #[test]
    fn a_phantom_keeps_to_the_schema() {
        let call = domain::CallId::new(1_764_000_000_000_000, [1; 10]);
        for event in
            phantom(call, 1, "edge-1", "north", "fs-1", domain::Now { wall_us: 1_764_000_000_000_000, mono_us: 5 })
        {
            event.check().expect("a well-formed event");
        }
    }
}
