//! The letters, a line each.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use domain::Clock as _;
use serde_json::json;
use stream::redrive::{Choice, Letter, letters};

use super::known;
use crate::cli::DeadLettersListArgs;
use crate::settings::Settings;

pub async fn run(settings: &Settings, args: &DeadLettersListArgs) -> anyhow::Result<ExitCode> {
    known(args.topic.as_ref())?;
    let log = settings.open_log_to_read()?;
    let choice = Choice { topic: args.topic.clone(), class: args.class.clone(), from: None };
    let mut reader = letters(&log, &choice).await?;
    let now_us = kit::clock::SystemClock.now().wall_us;
    let (mut shown, mut redriven) = (0_u64, 0_u64);
    while let Some(letters) = reader.next().await? {
        for letter in letters.iter().filter(|letter| choice.takes(&letter.letter)) {
            if !args.json && shown == 0 && !say(&row(&HEAD))? {
                return Ok(ExitCode::SUCCESS);
            }
            shown += 1;
            redriven += u64::from(letter.redriven);
            let line = if args.json { format!("{}\n", as_json(letter)) } else { row(&cells(letter, now_us)) };
            if !say(&line)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    if !args.json {
        say(&format!("{shown} dead letters, {redriven} of them put back\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 8] = ["AT", "AGE", "FROM", "CLASS", "CONSUMER", "BYTES", "STATE", "ERROR"];

fn row([at, age, from, class, consumer, bytes, state, error]: &[impl AsRef<str>; 8]) -> String {
    let [at, age, from, class] = [at, age, from, class].map(AsRef::as_ref);
    let [consumer, bytes, state, error] = [consumer, bytes, state, error].map(AsRef::as_ref);
    format!("{at:<10}{age:>6}  {from:<30}{class:<16}{consumer:<14}{bytes:>9}  {state:<9}{error}\n")
}

fn cells(letter: &Letter, now_us: i64) -> [String; 8] {
    let dead = &letter.letter;
    [
        format!("{}:{}", letter.partition, letter.offset),
        age((now_us - dead.died_us) / 1_000_000),
        format!("{}/{}/{}", dead.source_topic, dead.source_partition, dead.source_offset),
        dead.error_class.clone(),
        dead.consumer.clone(),
        dead.value.as_ref().map_or_else(|| "-".to_owned(), |value| value.as_ref().len().to_string()),
        if letter.redriven { "put back" } else { "waits" }.to_owned(),
        clean(dead.error.as_deref().unwrap_or_default()),
    ]
}

fn as_json(letter: &Letter) -> serde_json::Value {
    let dead = &letter.letter;
    json!({
        "at": format!("{}:{}", letter.partition, letter.offset),
        "source_topic": dead.source_topic,
        "source_partition": dead.source_partition,
        "source_offset": dead.source_offset,
        "error_class": dead.error_class,
        "error": dead.error.as_deref().map(schemas::mask_text),
        "consumer": dead.consumer,
        "group": dead.group,
        "schema_id": dead.schema_id,
        "value_bytes": dead.value.as_ref().map(|value| value.as_ref().len()),
        "attempts": dead.attempts,
        "died_us": dead.died_us,
        "redriven": letter.redriven,
    })
}

/// One line, without numbers of people and without anything that a terminal obeys.
fn clean(text: &str) -> String {
    schemas::mask_text(text).chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// False when nobody reads any more.
fn say(text: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use schemas::DeadLetter;

    use super::*;

    #[test]
    fn a_line_shows_where_it_came_from_and_no_number_of_a_person_and_no_control_character() {
        let letter = Letter {
            partition: 1,
            offset: 7,
            redriven: true,
            letter: DeadLetter {
                source_topic: "sip.transactions".to_owned(),
                source_partition: 3,
                source_offset: 99,
                error_class: "avro".to_owned(),
                error: Some("what is +493012345678\u{1b}[2J".to_owned()),
                died_us: 0,
                ..DeadLetter::default()
            },
        };
        let line = row(&cells(&letter, 3 * 86_400_000_000));
        assert!(
            line.starts_with("1:7") && line.contains("sip.transactions/3/99") && line.contains("put back"),
            "{line}"
        );
        assert!(line.contains("3 d") && !line.contains("493012345678") && !line.contains('\u{1b}'), "{line}");
    }
}
