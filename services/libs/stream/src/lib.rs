//! The event log: publish, consume, account for what was lost. Kafka and an embedded log behind one port.
//!
//! * [`EventLog`] and [`Source`]: the port; [`EmbeddedLog`] and [`KafkaLog`] stand behind it;
//! * [`Publisher`]: numbers, encodes and queues events without ever waiting;
//! * [`Pump`]: reads batches, commits only finished work, keeps transient, poison and fatal apart;
//! * [`ledger`]: which offsets may be committed;
//! * [`completeness`]: what arrived, held against what the producers say; [`Walk`] reads topics through for it;
//! * [`schema_topic`]: the schemas of all builds.

mod adapters;
mod client;
pub mod completeness;
mod config;
mod error;
mod json;
pub mod ledger;
mod log;
pub mod metrics;
mod position;
mod publisher;
mod pump;
mod record;
pub mod redrive;
pub mod ring;
pub mod schema_topic;
mod spool;
mod walk;

pub use adapters::{
    embedded::{
        Ack, Damage, Dropped, EmbeddedConfig, EmbeddedLog, EmbeddedStats, Files, Keep, MAX_RECORD_BYTES, RealFiles,
    },
    kafka::{BrokerFigures, ClientFigures, Extra, KafkaConfig, KafkaFigures, KafkaLog, Weakness, topic_settings},
};
pub use client::Client;
pub use config::{Adapter, Config, Embedded, Kafka, Spool, open};
pub use error::LogError;
pub use log::{EventLog, Source};
pub use position::{Position, PositionError};
pub use publisher::{
    Abandoned, Filter, Left, LossRange, MAX_EVENT_BYTES, Published, Publisher, PublisherConfig, PublisherError,
    PublisherStats, Ring,
};
pub use pump::{
    Assignment, Bad, CapHit, CapLimits, Failure, Handler, Leased, Poison, Progress, Pump, PumpConfig, PumpError,
    PumpStats, SchemaLookup, Spot, TopicLag, UnknownSchema, decode,
};
pub use record::{Assigned, Bounds, Commit, Headers, Held, Lag, Outgoing, Record, Room, Start, Subscription, header};
pub use ring::{Reason, SHED_ORDER};
pub use spool::{SpoolConfig, Way};
pub use walk::{Stretch, Walk};
