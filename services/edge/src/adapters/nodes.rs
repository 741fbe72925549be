//! What engines say about nodes, from `node.health`: their links and the lives of FreeSWITCH. Everything else in the topic is passed
//! over, above all our own reports.

use async_trait::async_trait;
use schemas::NodeHealth;
use stream::{Bad, Failure, Handler, Poison, Record};
use tokio::sync::mpsc;

use super::bell::Bell;
use super::mail::Update;
use crate::core::dispatch::Reported;
use crate::core::{News, NodeNews};

pub struct NodesHandler {
    pub updates: mpsc::Sender<Update>,
    /// Tells the shard that there is mail.
    pub bell: Bell,
}

#[async_trait]
impl Handler for NodesHandler {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let (mut poison, mut told) = (Vec::new(), Vec::new());
        for (index, record) in batch.iter().enumerate().filter(|(_, record)| record.value.is_some()) {
            match stream::decode::<NodeHealth>(index, record) {
                Ok(event) => told.extend(news(event)),
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        if !told.is_empty() {
            // The shard is gone only when the process stops.
            let sent = self.updates.send(Update::Nodes(told)).await;
            sent.map_err(|_| Failure::Transient(anyhow::anyhow!("the shard has stopped")))?;
            self.bell.ring();
        }
        Ok(poison)
    }
}

fn news(event: NodeHealth) -> Option<NodeNews> {
    if event.observer_kind != "engine" {
        return None;
    }
    let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    let load = event
        .heartbeat
        .as_ref()
        .and_then(|beat| Some(Reported { sessions: count(beat.sessions)?, max_sessions: count(beat.max_sessions) }));
    let news = match (event.event_type.as_str(), event.core_uuid) {
        ("link_down", _) => News::Link { up: false },
        ("heartbeat" | "epoch", Some(core_uuid)) => {
            // By the engine's clock, so that the node's does not matter.
            let uptime_ms = event.heartbeat.as_ref().and_then(|beat| beat.uptime_ms);
            let began_us = uptime_ms.map(|ms| event.observed_us.saturating_sub(ms.saturating_mul(1_000)));
            News::Life { core_uuid, began_us }
        }
        ("link_up", _) => News::Link { up: true },
        _ => return None,
    };
    Some(NodeNews { node_id: event.node_id, engine_id: event.observer_id, news, load })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_says_when_this_life_began_and_other_observers_say_nothing() {
        let beat = schemas::NodeHeartbeat { uptime_ms: Some(2), sessions: Some(7), ..Default::default() };
        let event = NodeHealth {
            event_type: "heartbeat".into(),
            node_id: "n".into(),
            observer_kind: "engine".into(),
            observer_id: "e".into(),
            core_uuid: Some("c".into()),
            observed_us: 5_000,
            heartbeat: Some(beat),
            ..NodeHealth::default()
        };
        let told = news(event.clone()).unwrap();
        assert_eq!(told.news, News::Life { core_uuid: "c".into(), began_us: Some(3_000) });
        assert_eq!(told.load, Some(Reported { sessions: 7, max_sessions: None }));
        assert!(news(NodeHealth { observer_kind: "edge".into(), ..event }).is_none());
    }
}
