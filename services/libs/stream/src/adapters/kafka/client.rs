//! What librdkafka tells us goes to `tracing`, its figures to [`KafkaFigures`](super::KafkaFigures).

use rdkafka::{ClientContext, Statistics, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError};

/// Context of every client that needs no callback of its own and reports no figures.
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Quiet {}

pub fn log(level: RDKafkaLogLevel, fac: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", fac, "{message}");
        }
        // Every client gets the settings of all kinds of clients; what it has no use for is no news.
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice if fac == "CONFWARN" => {
            tracing::debug!(target: "librdkafka", fac, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", fac, "{message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", fac, "{message}"),
    }
}

/// Librdkafka reconnects by itself; who waits for it says so.
pub fn complain(error: &KafkaError, reason: &str) {
    tracing::debug!(target: "librdkafka", %error, reason, "kafka client");
}
