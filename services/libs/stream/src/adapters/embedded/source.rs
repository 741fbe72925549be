//! A reader of the embedded log. It sleeps until the writer wakes it; only a reader in another process has to look again by itself.
//!
//! A group has one member at a time and reads every partition: the newest member takes over and the older one gets `Fenced`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    checkpoint::Change,
    cursor::{Cursor, Want},
    queue::{Queue, Work},
    recover,
    shared::{Shared, Waiter},
};
use crate::{Assigned, Commit, Held, Lag, LogError, Record, Room, Source};

/// How often a reader in another process looks for new data: there is nobody to wake it.
pub const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub struct EmbeddedSource {
    pub(super) shared: Arc<Shared>,
    /// `None`: read-only.
    pub(super) queue: Option<Arc<Queue>>,
    pub(super) member: Option<(String, u64)>,
    pub(super) waiter: Arc<Waiter>,
    pub(super) reading: Reading,
    /// Positions as of the last finished read.
    pub(super) positions: Vec<Want>,
    pub(super) held: Held,
    /// What was asked for while the cursor was away: carried out before the next read.
    pub(super) orders: Vec<Order>,
    pub(super) paused: bool,
}

pub(super) enum Order {
    Park(Assigned),
    Unpark(Assigned),
}

/// The cursor is either here or with a read on the blocking pool; a dropped `poll` leaves it there and the next one waits for it.
pub(super) enum Reading {
    Idle(Cursor),
    Away(JoinHandle<(Cursor, Result<Vec<Record>, LogError>)>),
    /// The blocking task died; nothing can be read any more.
    Lost,
}

impl EmbeddedSource {
    fn check_member(&self) -> Result<(), LogError> {
        let state = self.shared.state.read();
        if state.closed {
            return Err(LogError::Closed);
        }
        match &self.member {
            Some((group, member)) if state.members.get(group) != Some(member) => {
                Err(LogError::Fenced { group: group.clone() })
            }
            _ => Ok(()),
        }
    }

    /// No await between a finished read and its return, so nothing is lost when the caller is dropped.
    async fn read(&mut self, room: Room) -> Result<Vec<Record>, LogError> {
        self.carry_out_orders().await?;
        if let Reading::Idle(cursor) = &mut self.reading {
            if !cursor.is_cold(&self.shared) {
                let result = cursor.read(&self.shared, room);
                self.positions.copy_from_slice(cursor.wants());
                return result;
            }
            let Reading::Idle(mut cursor) = std::mem::replace(&mut self.reading, Reading::Lost) else { unreachable!() };
            let shared = self.shared.clone();
            self.reading = Reading::Away(tokio::task::spawn_blocking(move || {
                let result = cursor.read(&shared, room);
                (cursor, result)
            }));
        }
        let Reading::Away(job) = &mut self.reading else { return Err(LogError::Closed) };
        match job.await {
            Ok((cursor, result)) => {
                self.positions.copy_from_slice(cursor.wants());
                self.reading = Reading::Idle(cursor);
                result
            }
            Err(_) => {
                self.reading = Reading::Lost;
                Err(LogError::Closed)
            }
        }
    }

    /// Parks and opens partitions. A read that is still away is waited for, and what it brought is given up: it comes again.
    async fn carry_out_orders(&mut self) -> Result<(), LogError> {
        if self.orders.is_empty() {
            return Ok(());
        }
        if let Reading::Away(job) = &mut self.reading {
            let Ok((mut cursor, _)) = job.await else {
                self.reading = Reading::Lost;
                return Err(LogError::Closed);
            };
            // Back to where the caller knows us to be.
            let state = self.shared.state.read();
            cursor.rewind(&state, &self.positions);
            drop(state);
            self.reading = Reading::Idle(cursor);
        }
        let Reading::Idle(cursor) = &mut self.reading else { return Err(LogError::Closed) };
        let state = self.shared.state.read();
        for order in self.orders.drain(..) {
            match order {
                Order::Park(part) => cursor.close_part(&part)?,
                Order::Unpark(part) => cursor.open_part(&state, &part)?,
            }
        }
        self.positions.copy_from_slice(cursor.wants());
        Ok(())
    }

    fn refresh(&self) -> Result<(), LogError> {
        if self.queue.is_some() {
            return Ok(());
        }
        recover::refresh(&self.shared.dir, &mut self.shared.state.write())
            .map_err(|e| LogError::io("cannot look for new data in the event log", &e))
    }
}

#[async_trait]
impl Source for EmbeddedSource {
    async fn poll_within(&mut self, room: Room, wait: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            self.check_member()?;
            if self.paused {
                tokio::time::sleep_until(deadline).await;
                return Ok(Vec::new());
            }
            self.refresh()?;
            let records = self.read(room).await?;
            if !records.is_empty() || Instant::now() >= deadline {
                return Ok(records);
            }
            let wake_at = if self.queue.is_some() { deadline } else { deadline.min(Instant::now() + LOOK_AGAIN) };
            // A wake-up before this line is kept by `Notify`.
            let _late = tokio::time::timeout_at(wake_at, self.waiter.notify.notified()).await;
        }
    }

    fn held(&self) -> Held {
        self.held.clone()
    }

    async fn park(&mut self, parts: &[Assigned]) -> Result<(), LogError> {
        self.orders.extend(parts.iter().copied().map(Order::Park));
        Ok(())
    }

    async fn unpark(&mut self, parts: &[Assigned]) -> Result<(), LogError> {
        self.orders.extend(parts.iter().copied().map(Order::Unpark));
        self.waiter.notify.notify_one();
        Ok(())
    }

    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError> {
        self.check_member()?;
        let Some((group, _)) = &self.member else { return Ok(()) };
        let queue = self.queue.as_ref().ok_or(LogError::ReadOnly)?;
        let mut changes = Vec::with_capacity(done.len());
        {
            let state = self.shared.state.read();
            for commit in done {
                let topic = state.require_topic(commit.topic.name)?;
                let partition = u16::try_from(commit.partition).map_err(|_| LogError::NoPartition {
                    topic: commit.topic.name.to_owned(),
                    partition: commit.partition,
                })?;
                changes.push(Change::Commit { group: group.clone(), topic, partition, next: commit.next_offset });
            }
        }
        if changes.is_empty() { Ok(()) } else { queue.ask(Work::Changes(changes)).await }
    }

    async fn lag(&mut self) -> Result<Vec<Lag>, LogError> {
        self.refresh()?;
        let state = self.shared.state.read();
        Ok(self.positions.iter().filter(|want| want.is_ours()).map(|want| want.lag(&state)).collect())
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        self.paused = true;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        self.paused = false;
        Ok(())
    }
}
