//! The scheduler: `sched_hangup`, `sched_transfer`, `sched_api`, `sched_del`.
//!
//! A task has a group; for those of a channel it is the channel's UUID. `sched_api` works in whole seconds, as recorded: it fires at a
//! full second of the wall clock, up to a second early.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::channel::ChannelId;
use super::node::{Node, Timer};

#[derive(Debug, Clone)]
pub(super) enum Task {
    Hangup { channel: ChannelId, cause: &'static str },
    Transfer { channel: ChannelId, target: String },
    Api { command: String, repeat: Option<Duration> },
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    tasks: BTreeMap<u64, (String, Task)>,
    next: u64,
}

impl Schedule {
    /// The tasks of a channel end with it.
    pub fn forget(&mut self, id: ChannelId) {
        if !self.tasks.is_empty() {
            self.tasks.retain(|_, (_, task)| {
                !matches!(task, Task::Hangup { channel, .. } | Task::Transfer { channel, .. } if *channel == id)
            });
        }
    }

    /// Deletes by task number or by group; returns how many.
    pub fn delete(&mut self, what: &str) -> usize {
        let before = self.tasks.len();
        match what.parse::<u64>() {
            Ok(number) => {
                self.tasks.remove(&number);
            }
            Err(_) => self.tasks.retain(|_, (group, _)| group != what),
        }
        before - self.tasks.len()
    }
}

impl Node {
    /// Adds a task; returns its number.
    pub fn add_task(&mut self, delay: Duration, group: &str, task: Task) -> u64 {
        // FreeSWITCH's own tasks take the first numbers.
        self.schedule.next += 1;
        let number = self.schedule.next + 2;
        self.schedule.tasks.insert(number, (group.to_owned(), task));
        self.timers.arm(Instant::now() + delay, Timer::Task { task: number });
        number
    }

    pub fn run_task(&mut self, number: u64) {
        let Some((group, task)) = self.schedule.tasks.remove(&number) else { return };
        match task {
            Task::Hangup { channel, cause } => self.hangup(channel, cause),
            Task::Transfer { channel, target } => self.transfer(channel, &target, "public"),
            Task::Api { command, repeat } => {
                let (name, arguments) = command.split_once(' ').unwrap_or((&command, ""));
                self.api(name, arguments);
                if let Some(every) = repeat {
                    self.schedule.tasks.insert(number, (group, Task::Api { command: command.clone(), repeat }));
                    self.timers.arm(Instant::now() + every, Timer::Task { task: number });
                }
            }
        }
    }

    /// `sched_hangup` and `sched_transfer` as applications.
    pub fn schedule_app(&mut self, id: ChannelId, app: &str, data: &str) {
        let Some(uuid) = self.channels.get(&id).map(|channel| channel.uuid.to_string()) else { return };
        let (time, rest) = data.split_once(' ').unwrap_or((data, ""));
        let Some(delay) = self.delay(time) else { return };
        let task = if app == "sched_hangup" {
            let cause =
                super::cause::parse(rest.split_whitespace().next().unwrap_or_default()).unwrap_or("ALLOTTED_TIMEOUT");
            Task::Hangup { channel: id, cause }
        } else {
            Task::Transfer { channel: id, target: rest.split_whitespace().next().unwrap_or_default().to_owned() }
        };
        self.add_task(delay, &uuid, task);
    }

    /// `+3` is in three seconds, `1795231201` is then.
    pub fn delay(&self, time: &str) -> Option<Duration> {
        match time.strip_prefix('+') {
            Some(seconds) => seconds.parse().ok().map(Duration::from_secs),
            None => {
                let at: i64 = time.parse().ok()?;
                let us = at.checked_mul(1_000_000)? - self.wall_us();
                Some(Duration::from_micros(u64::try_from(us).unwrap_or(0)))
            }
        }
    }

    /// Until the full second of the wall clock that lies `delay` ahead or just before.
    pub fn whole_seconds(&self, delay: Duration) -> Duration {
        let into_second = u64::try_from(self.wall_us().rem_euclid(1_000_000)).unwrap_or(0);
        delay.saturating_sub(Duration::from_micros(into_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_deleted_by_number_and_by_group() {
        let mut schedule = Schedule::default();
        for number in 3..6 {
            let group = if number == 5 { "other" } else { "lease" };
            schedule.tasks.insert(number, (group.to_owned(), Task::Hangup { channel: number, cause: "NONE" }));
        }
        assert_eq!(schedule.delete("lease"), 2);
        assert_eq!(schedule.delete("5"), 1);
        assert_eq!(schedule.delete("5"), 0);
    }
}
