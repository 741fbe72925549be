//! `/v1/live`: server-sent events for the page.
//!
//! One sampler for all watchers, every half second, and none while nobody watches. A new watcher first gets the last minutes
//! (`history`), then samples (`live`). A watcher that does not keep up misses samples, never delays others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use schemas::{ChannelEvent, Event as _, SipTransaction};
use serde_json::{Value, json};
use stream::EventLog;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{App, Shared};
use crate::adapters::call_log::{Search, Second};
use crate::adapters::store::Found;
use crate::core::mask::Numbers;
use crate::error::Error;

const HISTORY_S: i64 = 300;
/// The window of the ratio.
const WINDOW_S: i64 = 60;
/// The window of the rate: whole seconds, not the running one.
const RATE_S: i64 = 5;
const NEWEST: i64 = 25;

pub async fn stream(State(app): State<App>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let permit = Arc::clone(&app.live_slots)
        .try_acquire_owned()
        .map_err(|_| Error::Busy("too many pages watch already; see api.max_live_clients".to_owned()))?;
    let mut first = VecDeque::new();
    let from = app.clock.now().wall_us / 1_000_000 - HISTORY_S;
    // A slow store costs the history, not the view.
    if let Ok(Found::Rows(seconds)) = app.calls.seconds(from).await {
        first.push_back(event("history", &json!({ "seconds": seconds }).to_string()));
    }
    app.metrics.live_clients.inc();
    let samples = app.live.subscribe();
    let watcher = Watcher { app, first, samples, _permit: permit };
    Ok(Sse::new(unfold(watcher, Watcher::next)).keep_alive(KeepAlive::default()))
}

struct Watcher {
    app: App,
    first: VecDeque<Event>,
    samples: watch::Receiver<Arc<str>>,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Watcher)> {
        if let Some(event) = self.first.pop_front() {
            return Some((Ok(event), self));
        }
        tokio::select! {
            // An open stream must not hold up the end of the process.
            () = self.app.shutdown.cancelled() => return None,
            changed = self.samples.changed() => changed.ok()?,
        }
        let data = Arc::clone(&self.samples.borrow_and_update());
        Some((Ok(event("live", &data)), self))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.app.metrics.live_clients.dec();
    }
}

fn event(name: &str, data: &str) -> Event {
    Event::default().event(name).data(data)
}

/// One sample, as JSON.
pub async fn sample(app: &Shared) -> Value {
    let now = app.clock.now();
    let now_s = now.wall_us / 1_000_000;
    let newest = Search { limit: NEWEST, ..Search::default() };
    let (seconds, open, calls, cdr, analytics) = tokio::join!(
        app.calls.seconds(now_s - WINDOW_S),
        app.calls.open(),
        app.calls.list(&newest),
        behind(&*app.client.log, "trunkline-cdr"),
        behind(&*app.client.log, "trunkline-analytics"),
    );
    let mut notice = None;
    let seconds = found(seconds, &mut notice).unwrap_or_default();
    let open = found(open, &mut notice);
    let mut calls = found(calls, &mut notice).unwrap_or_default();
    calls.iter_mut().for_each(|row| Numbers::Masked.row(row));
    let (blocks, alerts) = {
        let board = app.board.read();
        (
            board.blocks.active(now, &board.acks, Numbers::Masked).len(),
            board.alerts.list(1, Numbers::Masked).first().map(|a| a.made_us),
        )
    };
    let sum = |field: fn(&Second) -> i64| seconds.iter().map(field).sum::<i64>();
    let (attempts, answered, decided) = (sum(|s| s.attempts), sum(|s| s.answered), sum(|s| s.decided));
    json!({
        "now_us": now.wall_us,
        "rate": rate(&seconds, now_s),
        "open": open,
        "window_s": WINDOW_S,
        "attempts": attempts,
        "answered": answered,
        "asr": (decided > 0).then(|| 100.0 * answered as f64 / decided as f64),
        "seconds": seconds.iter().filter(|s| s.at >= now_s - 15).collect::<Vec<_>>(),
        "lag": { "cdr": cdr, "analytics": analytics },
        "blocks": blocks,
        "newest_alert_us": alerts,
        "calls": calls,
        "notice": notice,
    })
}

fn rate(seconds: &[Second], now_s: i64) -> f64 {
    let whole = now_s - RATE_S..now_s;
    seconds.iter().filter(|s| whole.contains(&s.at)).map(|s| s.attempts).sum::<i64>() as f64 / RATE_S as f64
}

fn found<T>(result: Result<Found<T>, Error>, notice: &mut Option<String>) -> Option<T> {
    match result {
        Ok(Found::Rows(rows)) => Some(rows),
        Ok(Found::Nothing { notice: why }) => {
            *notice = Some(why);
            None
        }
        Err(error) => {
            *notice = Some(error.to_string());
            None
        }
    }
}

/// Events of calls that a consumer group has not committed yet; null when it never has, or the log does not answer.
async fn behind(log: &dyn EventLog, group: &str) -> Option<i64> {
    let mut behind = None;
    for topic in [SipTransaction::TOPIC, ChannelEvent::TOPIC] {
        let bounds = log.bounds(topic).await.ok()?;
        let committed = log.committed(group, topic).await.ok()?;
        if committed.iter().all(Option::is_none) {
            continue;
        }
        let left = bounds.iter().zip(committed).map(|(b, done)| b.end - done.unwrap_or(b.begin).max(b.begin));
        *behind.get_or_insert(0) += left.sum::<i64>();
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_over_whole_seconds_that_have_passed() {
        let second = |at, attempts| Second { at, attempts, ..Second::default() };
        let seconds = [second(93, 999), second(95, 10), second(97, 20), second(99, 20), second(100, 999)];
        assert!((rate(&seconds, 100) - 10.0).abs() < f64::EPSILON);
        assert!(rate(&[], 100).abs() < f64::EPSILON);
    }
}
