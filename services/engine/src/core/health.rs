//! The pulse of a node, in the words of `node.health`.

use domain::Now;
use esl::{Event, fields as f};
use schemas::{NodeEpoch, NodeHealth, NodeHeartbeat, NodeLink};

/// Who observes which node: the same in every report.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    pub node_id: String,
    pub engine_id: String,
    pub address: String,
}

impl Observer {
    fn report(&self, event_type: &str, core_uuid: Option<&str>, now: Now) -> NodeHealth {
        NodeHealth {
            event_type: event_type.to_owned(),
            node_id: self.node_id.clone(),
            observer_kind: "engine".to_owned(),
            observer_id: self.engine_id.clone(),
            core_uuid: core_uuid.map(str::to_owned),
            observed_us: now.wall_us,
            observed_mono_us: i64::try_from(now.mono_us).unwrap_or(i64::MAX),
            ..NodeHealth::default()
        }
    }

    /// `since` is the heartbeat before, if this connection saw one.
    pub fn heartbeat(&self, event: &Event<'_>, core_uuid: &str, since: Option<Now>, now: Now) -> NodeHealth {
        let text = |name: &str| event.get(name).filter(|v| !v.is_empty()).map(std::borrow::Cow::into_owned);
        let heartbeat = NodeHeartbeat {
            event_sequence: event.number(f::EVENT_SEQUENCE).unwrap_or(0),
            event_us: event.number(f::EVENT_TIMESTAMP),
            info: text(f::EVENT_INFO),
            version: text(f::VERSION),
            hostname: text(f::HOSTNAME),
            ipv4: text(f::IPV4),
            uptime_ms: event.number(f::UPTIME_MS),
            sessions: event.number(f::SESSION_COUNT),
            max_sessions: event.number(f::MAX_SESSIONS),
            sps_limit: event.number(f::SESSION_PER_SEC),
            sps_last: event.number(f::SESSION_PER_SEC_LAST),
            sps_max: event.number(f::SESSION_PER_SEC_MAX),
            sps_five_min: event.number(f::SESSION_PER_SEC_FIVE_MIN),
            sessions_since_startup: event.number(f::SESSION_SINCE_STARTUP),
            peak_sessions: event.number(f::SESSION_PEAK_MAX),
            peak_sessions_five_min: event.number(f::SESSION_PEAK_FIVE_MIN),
            idle_cpu_percent: event.number(f::IDLE_CPU),
            interval_us: since.and_then(|before| i64::try_from(now.since(before).as_micros()).ok()),
        };
        NodeHealth {
            state: Some("up".to_owned()),
            state_before: Some("up".to_owned()),
            heartbeat: Some(heartbeat),
            ..self.report("heartbeat", Some(core_uuid), now)
        }
    }

    pub fn link_up(&self, core_uuid: Option<&str>, down_us: Option<u64>, reconnects: u64, now: Now) -> NodeHealth {
        let link = NodeLink {
            state: "up".to_owned(),
            address: Some(self.address.clone()),
            since_us: Some(now.wall_us),
            down_us: down_us.and_then(|us| i64::try_from(us).ok()),
            reconnects: i64::try_from(reconnects).ok(),
            ..NodeLink::default()
        };
        NodeHealth {
            state: Some("up".to_owned()),
            state_before: Some("down".to_owned()),
            link: Some(link),
            ..self.report("link_up", core_uuid, now)
        }
    }

    pub fn link_down(
        &self,
        core_uuid: Option<&str>,
        error: &str,
        lag_us: Option<i64>,
        reconnects: u64,
        now: Now,
    ) -> NodeHealth {
        let link = NodeLink {
            state: "down".to_owned(),
            address: Some(self.address.clone()),
            since_us: Some(now.wall_us),
            reconnects: i64::try_from(reconnects).ok(),
            event_lag_us: lag_us,
            error: Some(error.to_owned()),
            ..NodeLink::default()
        };
        NodeHealth {
            state: Some("down".to_owned()),
            state_before: Some("up".to_owned()),
            reason: Some(error.to_owned()),
            link: Some(link),
            ..self.report("link_down", core_uuid, now)
        }
    }

    /// `before` is absent when this engine sees the node for the first time.
    pub fn epoch(
        &self,
        before: Option<&str>,
        core_uuid: &str,
        lost: usize,
        last_seen: Option<Now>,
        now: Now,
    ) -> NodeHealth {
        let epoch = NodeEpoch {
            core_uuid_before: before.map(str::to_owned),
            core_uuid: core_uuid.to_owned(),
            channels_lost: before.and_then(|_| i32::try_from(lost).ok()),
            last_seen_us: last_seen.map(|seen| seen.wall_us),
        };
        let reason = if before.is_some() { "the node was restarted" } else { "first seen by this engine" };
        NodeHealth {
            state: Some("up".to_owned()),
            reason: Some(reason.to_owned()),
            epoch: Some(epoch),
            ..self.report("epoch", Some(core_uuid), now)
        }
    }
}
