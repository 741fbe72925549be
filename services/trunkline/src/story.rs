//! Collecting what the topics hold about one call, and the command that draws it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use schemas::{CallReconciled, ChannelEvent, Event, IvrDecision, SipTransaction, TopicSpec};
use stream::{EventLog, Record, Start, Subscription};

use crate::cli::CallArgs;
use crate::ladder::Story;
use crate::settings::Settings;

const TOPICS: [&TopicSpec; 4] = [SipTransaction::TOPIC, ChannelEvent::TOPIC, IvrDecision::TOPIC, CallReconciled::TOPIC];

/// Reads the call's events from the topics; `id` is a call id or the SIP Call-ID of one of its legs.
pub async fn collect(log: &dyn EventLog, id: &str) -> anyhow::Result<Story> {
    let call = match id.parse::<domain::CallId>() {
        Ok(call) => call.to_string(),
        Err(_) => call_of(log, id).await?.with_context(|| format!("no call has the Call-ID {id:?}"))?,
    };
    let mut story = Story::default();
    scan(log, &TOPICS, |record| {
        if record.key.as_ref() == call.as_bytes() {
            add(&mut story, record);
        }
        true
    })
    .await?;
    Ok(story)
}

/// The call id under which a SIP Call-ID was seen.
async fn call_of(log: &dyn EventLog, sip_call_id: &str) -> anyhow::Result<Option<String>> {
    let mut found = None;
    scan(log, &[SipTransaction::TOPIC], |record| {
        let event = record.value.as_deref().and_then(|v| schemas::decode::<SipTransaction>(v).ok());
        found =
            event.filter(|e| e.identity.call_id == sip_call_id && !e.call_root_id.is_empty()).map(|e| e.call_root_id);
        found.is_none()
    })
    .await?;
    Ok(found)
}

/// Every record up to the ends that the topics have now, until `look` says stop.
async fn scan(
    log: &dyn EventLog,
    topics: &[&'static TopicSpec],
    mut look: impl FnMut(&Record) -> bool,
) -> anyhow::Result<()> {
    let mut ends = Vec::new();
    for topic in topics {
        for (partition, bounds) in log.bounds(topic).await?.into_iter().enumerate() {
            ends.push((topic.name, i32::try_from(partition)?, bounds.end, bounds.begin >= bounds.end));
        }
    }
    let subscription = Subscription { group: None, topics: topics.to_vec(), start: Start::Beginning };
    let mut source = log.subscribe(subscription).await?;
    while !ends.iter().all(|end| end.3) {
        let records = source.poll(2000, Duration::from_secs(2)).await?;
        if records.is_empty() {
            return Ok(());
        }
        for record in &records {
            if !look(record) {
                return Ok(());
            }
            if let Some(end) = ends.iter_mut().find(|e| e.0 == record.topic.name && e.1 == record.partition) {
                end.3 |= record.offset + 1 >= end.2;
            }
        }
    }
    Ok(())
}

fn add(story: &mut Story, record: &Record) {
    let Some(value) = record.value.as_deref() else { return };
    match record.topic.name {
        "sip.transactions" => story.transactions.extend(schemas::decode(value)),
        "channel.events" => story.channels.extend(schemas::decode(value)),
        "ivr.decisions" => story.decisions.extend(schemas::decode(value)),
        "call.reconciled" => story.reconciled.extend(schemas::decode(value)),
        _ => {}
    }
}

/// `trunkline call ID`.
pub fn run(args: &CallArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    if args.config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = settings.open_log_to_read()?;
        let story = collect(log.as_ref(), &args.id).await?;
        if story.is_empty() {
            anyhow::bail!("the topics hold nothing about call {:?}", args.id);
        }
        print!("{}", story.ladder(args.numbers));
        Ok(ExitCode::SUCCESS)
    })
}
