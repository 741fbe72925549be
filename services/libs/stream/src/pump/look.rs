//! A look at records that nobody has read yet, for the account of lag: a reader of its own, which takes the first record of each
//! partition and goes.

use std::time::{Duration, Instant};

use futures::{FutureExt, future::BoxFuture};

use super::{Part, intake::part_of};
use crate::{Assigned, Client, LogError, Room};

/// What was not found by then is looked for again later.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Partition, offset and time of a record.
pub type Seen = (Part, i64, i64);

/// One look at a time.
#[derive(Default)]
pub struct Look(Option<BoxFuture<'static, Vec<Seen>>>);

impl Look {
    pub fn begin(&mut self, client: &Client, parts: Vec<Assigned>) {
        if self.0.is_none() && !parts.is_empty() {
            let client = client.clone();
            self.0 = Some(Box::pin(async move { look(&client, parts).await.unwrap_or_default() }));
        }
    }

    /// Goes on a little, without waiting; what was seen, once it is all there.
    pub fn go_on(&mut self) -> Vec<Seen> {
        let Some(seen) = self.0.as_mut().and_then(FutureExt::now_or_never) else { return Vec::new() };
        self.0 = None;
        seen
    }
}

async fn look(client: &Client, parts: Vec<Assigned>) -> Result<Vec<Seen>, LogError> {
    let wanted = parts.len();
    let mut source = client.log.assign(parts).await?;
    let (mut seen, give_up): (Vec<Seen>, _) = (Vec::new(), Instant::now() + GIVE_UP);
    while seen.len() < wanted && Instant::now() < give_up {
        let room = Room { events: 100, bytes: 1 << 20 };
        for record in source.poll_within(room, Duration::from_millis(500)).await? {
            let at = Assigned { topic: record.topic, partition: record.partition, next_offset: Some(record.offset) };
            if seen.iter().all(|(part, ..)| *part != part_of(&at)) {
                seen.push((part_of(&at), record.offset, record.timestamp_us));
                source.park(&[at]).await?;
            }
        }
    }
    Ok(seen)
}
