//! `/topics/{topic}/records`: a topic as JSON lines, for whoever has no Kafka client, or no Kafka.
//!
//! The last line of every answer is `{"next": …}`, the `from` of the next request. It only ever counts what the answer holds or
//! was asked to leave out, so a client that stores it together with its own work misses nothing and sees nothing twice. An
//! answer is bounded in records, bytes and time; one that was cut short says `"caught_up": false`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemas::TopicSpec;
use serde::Deserialize;
use serde_json::json;
use stream::{Bounds, LogError, Position, Record};

use super::App;
use super::request::{NumbersParam, Params, limit};
use crate::core::mask::Numbers;
use crate::error::Error;

const DEFAULT_RECORDS: usize = 1000;
const MAX_RECORDS: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;
/// Reading for a filter that matches nothing ends here and goes on with the next request.
const MAX_US: u64 = 5_000_000;
const BATCH: usize = 1000;
/// Offsets that compaction has taken give no record: waiting longer for one would be in vain.
const NOTHING_AFTER: Duration = Duration::from_secs(2);
/// How long a request waits for its turn, first come first served: a reader of every topic comes with more than may read at once.
const TURN_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordParams {
    from: Option<String>,
    partition: Option<i32>,
    call: Option<String>,
    limit: Option<usize>,
    numbers: NumbersParam,
}

pub async fn list(
    State(app): State<App>,
    Path(topic): Path<String>,
    Params(params): Params<RecordParams>,
) -> Result<Response, Error> {
    let topic = schemas::by_name(&topic).ok_or(Error::Unknown { what: "topic", id: topic })?;
    let wanted = limit(params.limit, DEFAULT_RECORDS, MAX_RECORDS)?;
    let only = only_partition(topic, &params)?;
    let from: Position = match params.from.as_deref().filter(|text| !text.is_empty()) {
        None => Position::Beginning,
        Some(text) => text.parse().map_err(|why: stream::PositionError| Error::invalid("from", why.to_string()))?,
    };
    let too_many = || Error::Busy("too many readers of topics at once; try again".to_owned());
    let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&app.readers).acquire_owned()).await;
    let _turn = turn.ok().and_then(Result::ok).ok_or_else(too_many)?;
    let bounds = app.client.log.bounds(topic).await.map_err(|error| away(&error))?;
    let offsets = from.offsets(&bounds).map_err(|why| Error::invalid("from", why.to_string()))?;
    let mut answer = Answer {
        lines: String::new(),
        count: 0,
        gone: taken(&bounds, &offsets, only),
        next: first(&bounds, offsets, only),
        bounds,
        only,
        call: params.call,
        numbers: Numbers::from(params.numbers),
    };
    let caught_up = read(&app, topic, wanted, &mut answer).await.map_err(|error| away(&error))?;
    let last = json!({ "next": Position::text(&answer.next), "caught_up": caught_up, "gone": answer.gone });
    answer.lines.push_str(&format!("{last}\n"));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from(answer.lines)).into_response())
}

/// A call stands in one partition, so a filter by call reads no other.
fn only_partition(topic: &'static TopicSpec, params: &RecordParams) -> Result<Option<usize>, Error> {
    let known = |partition: i32| usize::try_from(partition).ok().filter(|_| partition < topic.partitions);
    let asked = match params.partition {
        None => None,
        Some(given) => {
            Some(known(given).ok_or_else(|| Error::invalid("partition", format!("0 to {}", topic.partitions - 1)))?)
        }
    };
    let Some(call) = &params.call else { return Ok(asked) };
    if !schemas::facts(topic).keyed_by_call() {
        return Err(Error::invalid("call", format!("the records of {} do not stand under a call id", topic.name)));
    }
    let its = known(domain::partition::for_key(call.as_bytes(), topic.partitions));
    if asked.is_some() && asked != its {
        return Err(Error::invalid("partition", "the call stands in another one; leave this out".to_owned()));
    }
    Ok(its)
}

/// Where reading begins: not below what is there, and where nobody looks it stays as it was given.
fn first(bounds: &[Bounds], offsets: Vec<i64>, only: Option<usize>) -> Vec<i64> {
    let each = offsets.into_iter().zip(bounds).enumerate();
    each.map(|(index, (offset, b))| if only.is_none_or(|o| o == index) { offset.max(b.begin) } else { offset })
        .collect()
}

/// Records between `from` and what retention has left.
fn taken(bounds: &[Bounds], offsets: &[i64], only: Option<usize>) -> i64 {
    let each = bounds.iter().zip(offsets).enumerate();
    each.filter(|(index, _)| only.is_none_or(|o| o == *index)).map(|(_, (b, offset))| (b.begin - offset).max(0)).sum()
}

fn away(error: &LogError) -> Error {
    Error::Busy(format!("the event log does not answer: {error}"))
}

struct Answer {
    lines: String,
    count: usize,
    gone: i64,
    next: Vec<i64>,
    /// As of the beginning of the answer: it ends, however fast the topic grows.
    bounds: Vec<Bounds>,
    only: Option<usize>,
    call: Option<String>,
    numbers: Numbers,
}

impl Answer {
    fn looks_at(&self, partition: usize) -> bool {
        self.only.is_none_or(|only| only == partition)
    }

    fn is_caught_up(&self) -> bool {
        let mut each = self.next.iter().zip(&self.bounds).enumerate();
        each.all(|(index, (next, bounds))| !self.looks_at(index) || *next >= bounds.end)
    }

    fn take(&mut self, record: &Record) {
        let Some(index) = usize::try_from(record.partition).ok().filter(|index| *index < self.next.len()) else {
            return;
        };
        if !self.looks_at(index) {
            return;
        }
        self.next[index] = record.offset + 1;
        if self.call.as_ref().is_none_or(|call| record.key.as_ref() == call.as_bytes()) {
            self.lines.push_str(&format!("{}\n", record.to_json(self.numbers == Numbers::Full)));
            self.count += 1;
        }
    }
}

/// Reads until the answer is full, the ends are reached (then true) or the time is over.
async fn read(app: &App, topic: &'static TopicSpec, wanted: usize, answer: &mut Answer) -> Result<bool, LogError> {
    if answer.is_caught_up() {
        return Ok(true);
    }
    // Partitions that are not looked at begin at their ends, so that they give next to nothing.
    let start: Vec<i64> = (0..answer.next.len())
        .map(|index| if answer.looks_at(index) { answer.next[index] } else { answer.bounds[index].end })
        .collect();
    let mut source = app.client.log.read_from(topic, &start).await?;
    let until = app.clock.now().mono_us + MAX_US;
    while answer.count < wanted && answer.lines.len() < MAX_BYTES && app.clock.now().mono_us < until {
        // Without a filter no more is asked for than is taken, so nothing is read in vain.
        let max = if answer.call.is_some() { BATCH } else { BATCH.min(wanted - answer.count) };
        let records = source.poll(max, NOTHING_AFTER).await?;
        if records.is_empty() {
            return Ok(true);
        }
        for record in &records {
            if answer.count >= wanted || answer.lines.len() >= MAX_BYTES {
                return Ok(answer.is_caught_up());
            }
            answer.take(record);
        }
        if answer.is_caught_up() {
            return Ok(true);
        }
    }
    Ok(answer.is_caught_up())
}
