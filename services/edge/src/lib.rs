//! The edge: a stateful SIP proxy between trunks and FreeSWITCH nodes that tells everything it sees and decides.
//!
//! `core` decides and is pure; `adapters` own sockets and streams; `app` wires them. See README.md for operators.

mod adapters;
mod admin;
mod app;
mod config;
pub mod core;
mod desk;
mod error;
pub mod firewall;
pub mod host;
mod metrics;

pub use adapters::hot_state;
pub use adapters::journal::{JournalReport, inspect as inspect_journals};
pub use app::{Running, run};
pub use config::{
    AdmissionConfig, Admit, BreakerConfig, Config, DialConfig, DialRule, DialledNumber, DnsConfig, FirewallConfig,
    HotAdapter, HotStateConfig, JoinConfig, JoinRule, Late2xx, LimitConfig, ListenerConfig, NextHop, NodeConfig,
    NodeState, PoolConfig, ProbeConfig, RangesFile, RouteConfig, Side, SipName, Source, StreamConfig, TimerConfig,
    TlsConfig, TlsPeerConfig, Transport, TrunkConfig,
};
pub use core::journal::Description as JournalDescription;
pub use core::{BlockSnapshot, Counters, Knock, NodeSnapshot as NodeView, Snapshot, TrunkSnapshot};
pub use desk::{Source as SettingsSource, notes};
pub use error::Error;
