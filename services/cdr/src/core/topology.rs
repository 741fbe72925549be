//! How the legs of a call belong together: which are the caller's own, which of them decided, who was bridged, retried or made by whom.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::core::leg::Leg;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    pub kind: &'static str,
    pub from: String,
    pub to: String,
}

/// The legs that are one and the same call for the caller: the first leg, its retries and what followed a challenge.
pub fn root_group(legs: &[Leg<'_>]) -> Vec<usize> {
    // A leg with a parent was made by the call. Of the others the edge's own come first, then inbound channels.
    let rank = |l: &Leg<'_>| {
        let outward = l.row.direction.as_deref() == Some("outbound");
        (l.row.parent_leg.is_some(), l.joined.edge.is_none(), outward, l.row.invite_us, l.row.leg_id.clone())
    };
    let Some(first) = (0..legs.len()).min_by_key(|i| rank(&legs[*i])) else { return Vec::new() };
    let same = |i: &usize| {
        let (a, b) = (&legs[first].row, &legs[*i].row);
        *i == first
            || (legs[*i].joined.edge.is_some()
                && a.sip_call_id.is_some()
                && (&a.sip_call_id, &a.from_tag) == (&b.sip_call_id, &b.from_tag))
    };
    let mut group: Vec<usize> = (0..legs.len()).filter(same).collect();
    group.sort_by_key(|i| (legs[*i].row.cseq, legs[*i].row.attempt, legs[*i].row.invite_us));
    group
}

/// The leg that decided what the caller got: the answered one, else the last whose result was sent back. The edge may send back
/// an earlier attempt's answer when it was the better one; the later attempts are then the ones that were given up.
pub fn deciding(legs: &[Leg<'_>], group: &[usize]) -> Option<usize> {
    let given_up = |i: &usize| legs[*i].joined.edge.as_ref().is_some_and(|e| e.moved_on.is_some());
    // Of two answers the one that the edge told as the answer, not the one that came late.
    let late = |i: &usize| legs[*i].joined.edge.as_ref().is_some_and(|e| e.late);
    let answered = group.iter().copied().filter(|i| legs[*i].answered()).min_by_key(late);
    answered.or_else(|| group.iter().copied().rfind(|i| !given_up(i))).or_else(|| group.last().copied())
}

pub fn topology(legs: &mut [Leg<'_>], group: &[usize]) -> Vec<Edge> {
    let mut edges = BTreeSet::new();
    for leg in legs.iter() {
        if let Some(parent) = &leg.row.parent_leg {
            edges.insert(Edge { kind: "parent", from: parent.clone(), to: leg.row.leg_id.clone() });
        }
        let Some(channel) = &leg.joined.channel else { continue };
        for peer in &channel.peers {
            let other = legs.iter().find(|l| l.row.channel_uuid.as_deref() == Some(peer));
            let mut pair = [leg.row.leg_id.clone(), other.map_or_else(|| peer.clone(), |l| l.row.leg_id.clone())];
            pair.sort();
            let [from, to] = pair;
            edges.insert(Edge { kind: "bridged_with", from, to });
        }
        // A channel whose creator is known, though no header said so: the outbound leg of the same node.
        let made_by =
            channel.merged.other.as_deref().filter(|_| channel.merged.other_type.as_deref() == Some("originator"));
        let maker = made_by.and_then(|uuid| legs.iter().find(|l| l.row.channel_uuid.as_deref() == Some(uuid)));
        if let Some(maker) = maker.filter(|_| leg.row.parent_leg.is_none()) {
            edges.insert(Edge { kind: "parent", from: maker.row.leg_id.clone(), to: leg.row.leg_id.clone() });
        }
    }
    let mut chains: Vec<Vec<usize>> = vec![group.to_vec()];
    for (i, leg) in legs.iter().enumerate().filter(|(i, l)| !group.contains(i) && l.joined.edge.is_some()) {
        let same = |c: &&mut Vec<usize>| {
            let other = &legs[c[0]].row;
            !group.contains(&c[0]) && (&other.sip_call_id, &other.from_tag) == (&leg.row.sip_call_id, &leg.row.from_tag)
        };
        match chains.iter_mut().filter(|c| !c.is_empty()).find(same) {
            Some(chain) => chain.push(i),
            None => chains.push(vec![i]),
        }
    }
    for mut chain in chains {
        chain.sort_by_key(|i| (legs[*i].row.cseq, legs[*i].row.attempt));
        for pair in chain.windows(2) {
            let (from, to) = (legs[pair[0]].row.leg_id.clone(), legs[pair[1]].row.leg_id.clone());
            legs[pair[1]].row.previous_leg = Some(from.clone());
            edges.insert(Edge { kind: "retried_as", from, to });
        }
    }
    edges.into_iter().collect()
}

pub fn roles(legs: &mut [Leg<'_>], group: &[usize]) {
    for (i, leg) in legs.iter_mut().enumerate() {
        let campaign = leg.joined.channel.as_ref().is_some_and(|c| c.merged.campaign.is_some());
        let role = if campaign {
            "campaign"
        } else if group.contains(&i) {
            "A"
        } else {
            "B"
        };
        leg.row.role = role.to_owned();
    }
}

pub fn transcoding(legs: &mut [Leg<'_>], edges: &[Edge]) {
    for edge in edges.iter().filter(|e| e.kind == "bridged_with") {
        let find = |id: &str| legs.iter().position(|l| l.row.leg_id == id);
        let (Some(a), Some(b)) = (find(&edge.from), find(&edge.to)) else { continue };
        if let (Some(x), Some(y)) = (&legs[a].row.codec_in, &legs[b].row.codec_in) {
            let differs = Some(i64::from(x != y));
            legs[a].row.transcoded = differs;
            legs[b].row.transcoded = differs;
        }
    }
}
