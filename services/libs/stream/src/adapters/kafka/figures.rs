//! What librdkafka's clients tell about themselves every few seconds, kept for the metrics.
//!
//! A client is in the figures from its first report until it is dropped.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rdkafka::statistics::{Broker, Partition, Statistics};

/// How often librdkafka reports.
pub const EVERY_MS: &str = "5000";

/// The figures of all clients of one log.
#[derive(Debug, Default)]
pub struct KafkaFigures {
    clients: Mutex<BTreeMap<u64, ClientFigures>>,
    next: AtomicU64,
    replaced: AtomicU64,
}

/// One client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientFigures {
    /// `producer`, or the consumer's group.
    pub client: String,
    /// Messages that wait in a producer for their acknowledgement.
    pub queued_messages: u64,
    pub queued_bytes: u64,
    pub rebalances: u64,
    pub brokers: Vec<BrokerFigures>,
    /// (topic, records that the consumer has not been given yet).
    pub lag: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerFigures {
    pub broker: String,
    pub up: bool,
    /// 99th percentile since the last report, in microseconds.
    pub rtt_us: u64,
    /// Failed sends and receives.
    pub errors: u64,
    pub retries: u64,
    pub timeouts: u64,
    pub disconnects: u64,
}

impl KafkaFigures {
    pub fn clients(&self) -> Vec<ClientFigures> {
        self.clients.lock().values().cloned().collect()
    }

    /// Producers that ended in a fatal state and were made anew.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn put(&self, client: ClientFigures) {
        self.clients.lock().insert(self.next.fetch_add(1, Ordering::Relaxed), client);
    }

    pub(super) fn note_replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's place in the figures; held by its context.
#[derive(Debug)]
pub struct Watch {
    figures: Arc<KafkaFigures>,
    id: u64,
    client: String,
}

impl Watch {
    pub fn new(figures: &Arc<KafkaFigures>, client: &str) -> Self {
        Self { figures: figures.clone(), id: figures.next.fetch_add(1, Ordering::Relaxed), client: client.to_owned() }
    }

    pub fn note(&self, statistics: &Statistics) {
        let figures = read(&self.client, statistics);
        self.figures.clients.lock().insert(self.id, figures);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.figures.clients.lock().remove(&self.id);
    }
}

fn read(client: &str, statistics: &Statistics) -> ClientFigures {
    let mut lag: Vec<(String, u64)> = statistics
        .topics
        .values()
        .filter_map(|topic| lag_of(&topic.partitions).map(|lag| (topic.topic.clone(), lag)))
        .collect();
    lag.sort();
    ClientFigures {
        client: client.to_owned(),
        queued_messages: statistics.msg_cnt,
        queued_bytes: statistics.msg_size,
        rebalances: statistics.cgrp.as_ref().map_or(0, |group| unsigned(group.rebalance_cnt)),
        brokers: brokers(&statistics.brokers),
        lag,
    }
}

/// Brokers by their address. Before the cluster has told who they are, the configured ones stand for them.
fn brokers(brokers: &HashMap<String, Broker>) -> Vec<BrokerFigures> {
    let known = brokers.values().any(|b| b.nodeid >= 0 && b.source != "internal");
    let wanted = brokers.values().filter(|b| (b.nodeid >= 0) == known && !matches!(&*b.source, "internal" | "logical"));
    let mut out: Vec<BrokerFigures> = wanted
        .map(|b| BrokerFigures {
            broker: b.nodename.clone(),
            up: matches!(&*b.state, "UP" | "UPDATE"),
            rtt_us: b.rtt.as_ref().map_or(0, |rtt| unsigned(rtt.p99)),
            errors: b.txerrs + b.rxerrs,
            retries: b.txretries,
            timeouts: b.req_timeouts,
            disconnects: b.disconnects.map_or(0, unsigned),
        })
        .collect();
    out.sort_by(|a, b| a.broker.cmp(&b.broker));
    // Two names of one place would be one series twice.
    out.dedup_by(|a, b| a.broker == b.broker);
    out
}

/// Records between what the consumer was given and the end, over the partitions that it has. `None`: it has none of this topic.
fn lag_of(partitions: &HashMap<i32, Partition>) -> Option<u64> {
    let mine = partitions.values().filter(|p| p.partition >= 0 && p.fetch_state == "active" && p.hi_offset >= 0);
    let lags: Vec<u64> = mine
        .map(|p| {
            let at = if p.app_offset >= 0 { p.app_offset } else { p.next_offset.max(0) };
            unsigned(p.hi_offset - at)
        })
        .collect();
    (!lags.is_empty()).then(|| lags.iter().sum())
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(id: i32, state: &str, app: i64, next: i64, hi: i64) -> (i32, Partition) {
        let fetch_state = state.to_owned();
        (
            id,
            Partition {
                partition: id,
                fetch_state,
                app_offset: app,
                next_offset: next,
                hi_offset: hi,
                ..Partition::default()
            },
        )
    }

    #[test]
    fn lag_counts_what_was_not_given_yet_and_only_of_partitions_that_are_ours() {
        let partitions = HashMap::from([
            partition(0, "active", 90, 95, 100),
            partition(1, "active", -1001, 40, 50),
            partition(2, "none", -1001, 0, 1000),
            partition(-1, "active", 0, 0, 7),
        ]);
        assert_eq!(lag_of(&partitions), Some(20));
        assert_eq!(lag_of(&HashMap::from([partition(2, "none", 0, 0, 9)])), None);
    }

    #[test]
    fn brokers_are_the_clusters_own_once_it_has_told_them() {
        let broker = |nodeid, nodename: &str, source: &str, state: &str| {
            let nodename: String = nodename.into();
            (
                format!("{nodename}/{nodeid}"),
                Broker { nodeid, nodename, source: source.into(), state: state.into(), ..Broker::default() },
            )
        };
        let boot = broker(-1, "kafka:9092", "configured", "DOWN");
        assert_eq!(brokers(&HashMap::from([boot.clone()])).len(), 1);
        let all = HashMap::from([
            boot,
            broker(1, "a:9092", "learned", "UP"),
            broker(-1, "", "logical", "UP"),
            broker(-1, ":0", "internal", "INIT"),
        ]);
        let found = brokers(&all);
        assert_eq!(found.len(), 1);
        assert!(found[0].up && found[0].broker == "a:9092");
    }

    #[test]
    fn a_client_leaves_the_figures_when_it_is_dropped() {
        let figures = Arc::new(KafkaFigures::default());
        let watch = Watch::new(&figures, "producer");
        watch.note(&Statistics { msg_cnt: 5, ..Statistics::default() });
        assert_eq!(figures.clients()[0].queued_messages, 5);
        drop(watch);
        assert_eq!(figures.clients(), []);
    }
}
