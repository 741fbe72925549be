//! Where the events of a lab go: the embedded log, librdkafka's mock cluster, a broker of the lab's own, or one that runs already.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use schemas::{Event, SipTransaction, StreamManifest, TopicSpec};
use serde::{Deserialize, Serialize};
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, KafkaConfig, KafkaLog};

use super::broker::Broker;
use crate::leftovers::Leftovers;

/// What was asked for on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Embedded,
    Mock,
    Broker,
    At(String),
}

impl Wish {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "embedded" => Self::Embedded,
            "mock" => Self::Mock,
            "broker" => Self::Broker,
            address if address.contains(':') => Self::At(address.to_owned()),
            other => bail!("--target takes embedded, mock, broker or HOST:PORT, not {other:?}"),
        })
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Embedded => "embedded",
            Self::Mock => "mock",
            Self::Broker => "broker",
            Self::At(_) => "kafka",
        }
    }
}

/// How a process reaches the log; goes to the child as an argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Way {
    Embedded,
    Kafka { bootstrap: String, prefix: String },
}

impl Way {
    pub fn open(&self, embedded: EmbeddedConfig) -> anyhow::Result<Arc<dyn EventLog>> {
        Ok(match self {
            Self::Embedded => EmbeddedLog::open(embedded)?,
            Self::Kafka { bootstrap, prefix } => Arc::new(KafkaLog::new(KafkaConfig {
                bootstrap: bootstrap.clone(),
                topic_prefix: prefix.clone(),
                ..KafkaConfig::default()
            })?),
        })
    }

    /// Readers of the lab; the embedded log is read beside its writer.
    pub fn open_to_read(&self, dir: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
        match self {
            Self::Embedded => Ok(EmbeddedLog::open_read_only(dir)?),
            Self::Kafka { .. } => self.open(EmbeddedConfig::new(dir)),
        }
    }

    pub fn is_kafka(&self) -> bool {
        matches!(self, Self::Kafka { .. })
    }
}

pub struct Target {
    pub way: Way,
    server: Server,
}

enum Server {
    None,
    /// Somebody's: what the lab made there goes in the end.
    Theirs(#[expect(dead_code, reason = "for its drop")] Leftovers),
    Mock(MockCluster<'static, DefaultProducerContext>),
    Own(Broker),
}

const TOPICS: [&TopicSpec; 2] = [SipTransaction::TOPIC, StreamManifest::TOPIC];
const MOCK_BROKERS: i32 = 1;

impl Target {
    pub fn start(wish: &Wish, dir: &Path) -> anyhow::Result<Self> {
        let prefix = format!("lab-{}-{}.", std::process::id(), crate::clock::wall_us());
        let (bootstrap, server) = match wish {
            Wish::Embedded => return Ok(Self { way: Way::Embedded, server: Server::None }),
            Wish::At(address) => {
                let ours = Leftovers { bootstrap: address.clone(), prefixes: vec![prefix.clone()] };
                (address.clone(), Server::Theirs(ours))
            }
            Wish::Broker => {
                let broker = Broker::start(dir.join("broker")).context("a broker of the lab's own")?;
                (broker.bootstrap(), Server::Own(broker))
            }
            Wish::Mock => {
                let mock = MockCluster::new(MOCK_BROKERS)?;
                for topic in schemas::all_topics() {
                    mock.create_topic(&format!("{prefix}{}", topic.name), topic.partitions, MOCK_BROKERS)?;
                }
                (mock.bootstrap_servers(), Server::Mock(mock))
            }
        };
        let way = Way::Kafka { bootstrap, prefix };
        if *wish != Wish::Mock {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(way.open_to_read(dir)?.ensure_topics(&TOPICS))?;
        }
        Ok(Self { way, server })
    }

    /// Takes Kafka away, as a crash does.
    pub fn cut(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Own(broker) => broker.kill(),
            Server::Mock(mock) => Ok((1..=MOCK_BROKERS).try_for_each(|id| mock.broker_down(id))?),
            Server::None | Server::Theirs(_) => bail!("this broker is not the lab's to stop: --target broker or mock"),
        }
    }

    /// Brings it back; it answers when this returns.
    pub fn mend(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Own(broker) => broker.start_again(),
            Server::Mock(mock) => Ok((1..=MOCK_BROKERS).try_for_each(|id| mock.broker_up(id))?),
            Server::None | Server::Theirs(_) => Ok(()),
        }
    }
}
