//! Everything that talks to the outside: topics, stores, browsers.

pub mod call_log;
pub mod feed;
pub mod http;
pub mod metrics_store;
pub mod store;
