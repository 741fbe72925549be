//! Which edge leg and which channel are the two halves of one leg.
//!
//! * An inbound channel joins the edge leg that its verified header names.
//! * An outbound channel, on which a header is only a copy, joins the edge legs whose SIP Call-ID is its own: the answered
//!   attempt, else the last.
//! * An inbound channel without a header joins by SIP Call-ID too, but only on the node that the edge chose.
//!
//! A channel that finds no half stands alone: under the id that its header names, else under its own UUID.

use crate::core::channel::Channel;
use crate::core::edge_leg::EdgeLeg;

#[derive(Debug)]
pub struct Joined<'a> {
    pub id: String,
    pub edge: Option<EdgeLeg<'a>>,
    pub channel: Option<Channel>,
}

#[must_use]
pub fn join<'a>(edges: Vec<EdgeLeg<'a>>, channels: Vec<Channel>) -> Vec<Joined<'a>> {
    let mut legs: Vec<Joined<'a>> =
        edges.into_iter().map(|edge| Joined { id: edge.leg.clone(), edge: Some(edge), channel: None }).collect();
    // Named halves first, so that a channel that has to guess cannot take a place that another one names.
    let (named, rest): (Vec<Channel>, Vec<Channel>) = channels.into_iter().partition(|c| names(c).is_some());
    for channel in named.into_iter().chain(rest) {
        let id = names(&channel).map(str::to_owned);
        let place = match &id {
            Some(id) => legs.iter().position(|leg| leg.channel.is_none() && leg.id == *id),
            None => by_call_id(&legs, &channel),
        };
        match place {
            Some(place) => legs[place].channel = Some(channel),
            None => {
                let free = id.filter(|id| legs.iter().all(|leg| leg.id != *id));
                legs.push(Joined {
                    id: free.unwrap_or_else(|| channel.uuid.clone()),
                    edge: None,
                    channel: Some(channel),
                });
            }
        }
    }
    legs
}

fn names(channel: &Channel) -> Option<&str> {
    let believed = matches!(channel.merged.header.as_deref(), Some("valid"));
    channel.merged.edge_leg.as_deref().filter(|_| believed && channel.inbound())
}

fn by_call_id(legs: &[Joined<'_>], channel: &Channel) -> Option<usize> {
    let cid = channel.merged.cid.as_deref()?;
    let fits = |leg: &Joined<'_>| {
        let Some(edge) = &leg.edge else { return false };
        if leg.channel.is_some() || edge.refused || edge.transaction.0 != cid {
            return false;
        }
        let node = if channel.inbound() { edge.target() } else { edge.source() };
        node.0.as_deref() == Some("node") && (node.1.is_none() || node.1.as_deref() == channel.merged.node.as_deref())
    };
    let rank =
        |leg: &Joined<'_>| leg.edge.as_ref().map(|e| (e.answered, e.transaction.2, e.attempt)).unwrap_or_default();
    legs.iter().enumerate().filter(|(_, leg)| fits(leg)).max_by_key(|(_, leg)| rank(leg)).map(|(i, _)| i)
}
