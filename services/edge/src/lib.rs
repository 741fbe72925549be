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

pub use app::{Running, run};
pub use config::{
    Admit, BreakerConfig, Config, DialledNumber, FirewallConfig, JoinConfig, JoinRule, Late2xx, LimitConfig,
    ListenerConfig, NodeConfig, NodeState, PoolConfig, ProbeConfig, RouteConfig, Side, Source, StreamConfig,
    TimerConfig, TlsConfig, TlsPeerConfig, Transport, TrunkConfig,
};
pub use core::{BlockSnapshot, Counters, NodeSnapshot as NodeView, Snapshot, TrunkSnapshot};
pub use desk::{Source as SettingsSource, notes};
pub use error::Error;
