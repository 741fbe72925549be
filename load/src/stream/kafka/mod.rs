//! Published through the whole path (ring, spool, Kafka) and consumed at once through our source, against a bare loop of librdkafka.
//!
//! Both sides send the same bytes with the same keys, partitions and headers to topics with the same settings, and are timed from the first
//! event handed over to the last one consumed. They take turns; the broker shares the machine with both. Values are encoded already on both
//! sides: ours enter by the publisher's door for encoded values, which numbers and queues as `publish` does.

mod bare;
mod ours;

use std::{path::Path, time::Duration};

use stream::{EventLog, KafkaConfig, KafkaLog};
use tokio::runtime::Runtime;

use super::{Size, events};
use crate::figures::{Figures, Gate, median};
use crate::leftovers::Leftovers;

const MIN_RATIO: f64 = 0.6;
/// Different events of a round; they are sent again and again, further apart than a compressed batch reaches.
const DISTINCT: usize = 40_000;
/// A round that takes longer is stuck.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

pub fn run(runtime: &Runtime, dir: &Path, size: Size, bootstrap: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let (rounds, per_round) = if size == Size::Smoke { (1, 20_000) } else { (7, 300_000) };
    println!(
        "Kafka at {bootstrap}: published and consumed at once, spool in the path, median of {rounds} rounds of {per_round}"
    );
    let run_id = std::process::id();
    let side = |name: &str| KafkaConfig {
        bootstrap: bootstrap.to_owned(),
        topic_prefix: format!("load-{run_id}-{name}."),
        ..KafkaConfig::default()
    };
    let (our_side, bare_side) = (side("ours"), side("bare"));
    // Our own code makes both topics, so that they are alike.
    for config in [&our_side, &bare_side] {
        runtime.block_on(KafkaLog::new(config.clone())?.ensure_topics(&[events::topic(), stream_manifests()]))?;
    }
    let topics = Leftovers {
        bootstrap: bootstrap.to_owned(),
        prefixes: vec![our_side.topic_prefix.clone(), bare_side.topic_prefix.clone()],
    };
    let events = events::some(DISTINCT);
    let mut bare = bare::Loop::start(bootstrap, format!("{}{}", bare_side.topic_prefix, events::topic().name))?;
    let mut ours = ours::Path::start(runtime, dir, our_side)?;
    let (mut our_rates, mut bare_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round of each is for connections and caches.
    for round in 0..=rounds {
        let our_rate = per_round as f64 / ours.round(&events, per_round)?.as_secs_f64();
        let bare_rate = per_round as f64 / bare.round(&events, per_round)?.as_secs_f64();
        println!("    round {round}: {our_rate:.0} events/s, bare {bare_rate:.0}");
        if round > 0 || size == Size::Smoke {
            our_rates.push(our_rate);
            bare_rates.push(bare_rate);
            ratios.push(our_rate / bare_rate);
        }
    }
    ours.close()?;
    drop(bare);
    drop(topics);
    figures.show("kafka_per_s", "published, spooled, sent, consumed", median(&our_rates), "events/s");
    figures.show("kafka_bare_per_s", "bare rdkafka producer and consumer", median(&bare_rates), "events/s");
    figures.check("kafka_ratio", "ratio to bare, median of the rounds", median(&ratios), "", Gate::AtLeast(MIN_RATIO));
    Ok(())
}

fn stream_manifests() -> &'static schemas::TopicSpec {
    schemas::by_name("stream.manifests").expect("a topic of ours")
}
