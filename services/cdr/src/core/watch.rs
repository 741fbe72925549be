//! What of a call the reconciler has to keep an eye on.

use crate::core::edge_leg::Ending;
use crate::core::ending::node_of;
use crate::core::fact::{Fact, Kind};
use crate::core::leg::Leg;
use crate::core::reconcile::{OpenCall, OpenLeg};
use crate::core::row::CallRow;

/// What the reconciler has to know: the legs that are open; of a call that is over, those that their node may not have seen end.
pub fn watch(facts: &[Fact], legs: &[Leg<'_>], row: &CallRow) -> Option<OpenCall> {
    let settling = row.finality != "open";
    let waits = |l: &&Leg<'_>| if settling { unconfirmed(l) } else { l.end.is_none() };
    let open: Vec<OpenLeg> = legs
        .iter()
        .filter(waits)
        .map(|l| OpenLeg {
            leg: l.row.leg_id.clone(),
            node: node_of(&l.joined),
            core_uuid: l.row.core_uuid.clone(),
            channel: l.joined.channel.is_some(),
            answered: l.answered(),
        })
        .collect();
    if settling && open.is_empty() {
        return None;
    }
    let reconciled = facts
        .iter()
        .filter_map(|f| f.reconciled.as_deref())
        .filter_map(|r| Some((r.node.as_deref()?.to_owned(), r.core.as_deref().map(str::to_owned))))
        .collect();
    let mut channels = legs.iter().filter_map(|l| l.joined.channel.as_ref()).peekable();
    let seen = channels.peek().is_some();
    Some(OpenCall {
        started_us: row.start_us.unwrap_or(0),
        last_fact_us: facts.iter().filter(|f| by_node(f)).map(|f| f.at).max().or(row.start_us).unwrap_or(0),
        legs: open,
        challenged_only: legs.iter().all(|l| l.end.is_some()),
        channels_ended: seen && channels.all(|c| c.ended()),
        settling,
        reconciled,
    })
}

/// Whether the node itself is behind a fact. A caller who goes on talking to a dead node proves nothing.
fn by_node(fact: &Fact) -> bool {
    match fact.kind {
        Kind::Channel | Kind::Ivr => true,
        Kind::Edge => &*fact.what == "answered",
        Kind::Reconciled => false,
    }
}

/// The edge ended the dialog with a BYE that the node did not answer, and the node's channel never ended.
fn unconfirmed(leg: &Leg<'_>) -> bool {
    let (Some(edge), Some(channel)) = (&leg.joined.edge, &leg.joined.channel) else { return false };
    let bye = edge.pick(|f| f.bye_status);
    matches!(edge.end, Some((Ending::Dialog, _))) && bye.is_none_or(|s| s >= 300) && !channel.ended()
}
