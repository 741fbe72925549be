//! Translation and I/O: sockets, the system's error queue, the control topics.

pub mod bell;
pub mod control;
pub mod datagrams;
pub mod decisions;
pub mod dns;
pub mod handshakes;
pub mod hot_state;
pub mod icmp;
pub mod journal;
pub mod last_good;
pub mod mail;
pub mod names;
pub mod names_file;
pub mod nodes;
pub mod notices;
pub mod proxy_protocol;
pub mod shard;
pub mod sockets;
pub mod streams;
pub mod tls;
pub mod wait;
pub mod websocket;
