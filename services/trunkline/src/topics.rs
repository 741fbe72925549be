//! `trunkline topics`: what the topics are, what stands in them, and how they are made.
//!
//! Everything but `create` only reads, so it works beside a running process on the embedded log as well as on Kafka.

mod describe;
mod tail;
mod telling;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use schemas::{Retention, TopicSpec};
use stream::{Adapter, Bounds};

use crate::cli::TopicsCommand;
use crate::settings::Settings;

pub fn run(command: &TopicsCommand) -> anyhow::Result<ExitCode> {
    let config = match command {
        TopicsCommand::List(config) => config,
        TopicsCommand::Describe(args) => &args.config,
        TopicsCommand::Tail(args) => &args.config,
        TopicsCommand::Create(args) => &args.config,
    };
    let settings = Settings::load(&config.config)?;
    if config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    match command {
        TopicsCommand::Describe(args) => say(&describe::text(named(&args.topic)?)?).map(drop)?,
        TopicsCommand::Create(args) if args.print => say(&commands(&settings, usize::from(args.brokers))).map(drop)?,
        TopicsCommand::List(_) => runtime()?.block_on(list(&settings))?,
        TopicsCommand::Tail(args) => runtime()?.block_on(tail::run(&settings, args))?,
        TopicsCommand::Create(_) => runtime()?.block_on(create(&settings))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Like `print!`, but a reader that went away (`| head`) is the end and not a mistake.
pub fn say(text: &str) -> std::io::Result<bool> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

pub fn named(name: &str) -> anyhow::Result<&'static TopicSpec> {
    schemas::by_name(name).with_context(|| {
        let names: Vec<&str> = schemas::all_topics().iter().map(|topic| topic.name).collect();
        format!("no topic is called {name:?}; there are {}", names.join(", "))
    })
}

fn kept(topic: &TopicSpec) -> String {
    match (topic.retention, topic.compacted) {
        (Retention::Days(days), _) => format!("{days} days"),
        (Retention::Forever, true) => "newest per key".to_owned(),
        (Retention::Forever, false) => "forever".to_owned(),
    }
}

async fn list(settings: &Settings) -> anyhow::Result<()> {
    let mut problem = None;
    let log = settings.open_log_to_read().map_err(|error| problem = Some(format!("{error:#}"))).ok();
    let mut text = row("TOPIC", "KEY", "PARTITIONS", "KEPT", "RECORDS");
    for topic in schemas::all_topics() {
        // A log that did not answer once is not asked again: on Kafka each question waits.
        let bounds = match &log {
            Some(log) if problem.is_none() => {
                log.bounds(topic).await.map_err(|error| problem = Some(error.to_string())).ok()
            }
            _ => None,
        };
        let records = bounds.map_or_else(|| "-".to_owned(), |bounds| records(&bounds));
        text += &row(topic.name, schemas::facts(topic).key, &topic.partitions.to_string(), &kept(topic), &records);
    }
    say(&text)?;
    if let Some(problem) = problem {
        let hint = if settings.stream.adapter == Adapter::Kafka {
            " (are the topics there? trunkline topics create)"
        } else {
            ""
        };
        eprintln!("without figures of the log: {problem}{hint}");
    }
    Ok(())
}

/// Offsets count what was written; after retention and compaction fewer may be left, so both are said.
fn records(bounds: &[Bounds]) -> String {
    let there: i64 = bounds.iter().map(|b| b.end - b.begin).sum();
    let gone: i64 = bounds.iter().map(|b| b.begin).sum();
    if gone > 0 { format!("{there} ({gone} older ones gone)") } else { there.to_string() }
}

fn row(topic: &str, key: &str, partitions: &str, kept: &str, records: &str) -> String {
    format!("{topic:<18}{key:<28}{partitions:>10}  {kept:<16}{records}\n")
}

async fn create(settings: &Settings) -> anyhow::Result<()> {
    let log = stream::open(&settings.stream, &settings.data_dir).context("the event log")?;
    log.ensure_topics(schemas::all_topics()).await?;
    say(&format!("{} topics are there\n", schemas::all_topics().len()))?;
    say(&weak(&*log).await)?;
    Ok(())
}

/// What is weaker than it should be, with the command that mends it.
pub async fn weak(log: &dyn stream::EventLog) -> String {
    match log.weaknesses(schemas::all_topics()).await {
        Ok(weak) if weak.is_empty() => String::new(),
        Ok(weak) => {
            let mut text = format!("{} settings are weaker than they should be; nothing was changed:\n", weak.len());
            for stream::Weakness { topic, what, found, wanted, mend } in weak {
                let _ = writeln!(text, "  {topic}: {what} is {found}, wanted is {wanted}\n    {mend}");
            }
            text
        }
        Err(error) => format!("their settings could not be looked at: {error}\n"),
    }
}

/// What an administrator runs where we may not create topics ourselves; the same settings as ours.
fn commands(settings: &Settings, brokers: usize) -> String {
    let bootstrap = match settings.stream.adapter {
        Adapter::Kafka => settings.stream.kafka.bootstrap.as_str(),
        Adapter::Embedded => "BROKER:9092",
    };
    let mut text = format!("# {brokers} brokers; with TLS or SASL add --command-config FILE to each line\n");
    for topic in schemas::all_topics() {
        let (copies, topic_settings) = stream::topic_settings(topic, brokers);
        let _ = write!(
            text,
            "kafka-topics.sh --bootstrap-server {bootstrap} --create --if-not-exists --topic {}{} --partitions {} \
             --replication-factor {copies}",
            settings.stream.topic_prefix, topic.name, topic.partitions
        );
        for (key, value) in topic_settings {
            let _ = write!(text, " --config {key}={value}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_printed_commands_make_every_topic_as_we_would_on_so_many_brokers() {
        let mut settings = Settings::default();
        settings.stream.topic_prefix = "eu.".to_owned();
        let three = commands(&settings, 3);
        assert_eq!(three.lines().count(), schemas::all_topics().len() + 1);
        let calls = three.lines().find(|line| line.contains("--topic eu.sip.transactions ")).expect("its line");
        for part in [
            "--partitions 12",
            "--replication-factor 3",
            "min.insync.replicas=2",
            "cleanup.policy=delete",
            "retention.ms=2592000000",
            "unclean.leader.election.enable=false",
        ] {
            assert!(calls.contains(part), "{part}: {calls}");
        }
        let blocks = three.lines().find(|line| line.contains("control.blocks ")).expect("its line");
        assert!(blocks.contains("cleanup.policy=compact") && blocks.contains("retention.ms=-1"), "{blocks}");
        let one = commands(&settings, 1);
        assert!(one.contains("--replication-factor 1") && !one.contains("min.insync.replicas"), "{one}");
    }

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["trunkline", "topics"].iter().chain(args))
    }

    #[test]
    fn every_command_is_understood_as_the_help_shows_it() {
        for args in [
            &["list"][..],
            &["describe", "sip.transactions"],
            &["tail", "sip.transactions", "--follow", "--json", "--numbers"],
            &["tail", "channel.events", "--call", "01900000-0000-7000-8000-000000000001", "--from", "0:12,2:7"],
            &["create", "--print", "--brokers", "1"],
        ] {
            parse(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        }
        assert!(parse(&["tail", "sip.transactions", "--from", "yesterday"]).is_err());
        assert!(named("sip.transaction").unwrap_err().to_string().contains("sip.transactions"));
    }
}
