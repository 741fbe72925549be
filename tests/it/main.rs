//! One test binary, a module per behaviour. What a machine lacks is said as `SKIPPED: …`, never passed over in silence.

mod architecture;
mod benchmarks;
mod demo;
mod edge_transports;
mod outside;
mod platform;
mod refusals;
mod standalone;
mod stream_faults;
mod subscriber;
