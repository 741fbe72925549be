//! HEARTBEAT: how many sessions there are, come and go, and how idle the machine claims to be.

use std::collections::VecDeque;
use std::time::Instant;

use super::bus::Event;
use super::event::{Kind, place};
use super::node::{Node, Timer};
use super::stamp;

#[derive(Debug, Default)]
pub(super) struct Pulse {
    pub sessions: u64,
    peak: usize,
    rate_peak: u32,
    /// Sessions begun per second, newest last, at most five minutes.
    seconds: VecDeque<(u64, u32)>,
    pub idle_override: Option<f64>,
    started: Option<Instant>,
}

impl Pulse {
    fn second(&mut self) -> u64 {
        self.started.get_or_insert_with(Instant::now).elapsed().as_secs()
    }

    /// A session began; `open` are there now.
    pub fn session(&mut self, open: usize) {
        self.sessions += 1;
        self.peak = self.peak.max(open);
        let now = self.second();
        match self.seconds.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => self.seconds.push_back((now, 1)),
        }
        self.rate_peak = self.rate_peak.max(self.seconds.back().map_or(0, |(_, count)| *count));
        while self.seconds.front().is_some_and(|(second, _)| second + 300 < now) {
            self.seconds.pop_front();
        }
    }

    /// Sessions begun in the current second.
    pub fn this_second(&mut self) -> u32 {
        let now = self.second();
        self.seconds.back().filter(|(second, _)| *second == now).map_or(0, |(_, count)| *count)
    }

    /// Sessions begun in the last full second.
    pub fn last_second(&mut self) -> u32 {
        let now = self.second();
        self.seconds.iter().rev().find(|(second, _)| second + 1 == now).map_or(0, |(_, count)| *count)
    }

    pub fn peaks(&self) -> (usize, u32, u32) {
        (self.peak, self.rate_peak, self.seconds.iter().map(|(_, count)| *count).max().unwrap_or(0))
    }
}

impl Node {
    /// Idle CPU in percent: what is measured on a real node is computed here from sessions and rate (9 ms of CPU per call, as
    /// measured, and a little for each open session), so that the same load gives the same number.
    pub fn idle_cpu(&mut self) -> f64 {
        let used = f64::from(self.pulse.last_second()) * 0.9 + self.channels.len() as f64 * 0.015;
        self.pulse.idle_override.unwrap_or_else(|| (100.0 - used).clamp(0.0, 100.0))
    }

    pub fn heartbeat(&mut self) {
        let idle = format!("{:.6}", self.idle_cpu());
        let up = self.started.elapsed();
        let up_us = u64::try_from(up.as_micros()).unwrap_or(u64::MAX);
        let (peak, rate_peak, rate_five) = self.pulse.peaks();
        let uptime = stamp::uptime(up_us);
        let (millis, count, max) =
            ((up_us / 1000).to_string(), self.channels.len().to_string(), self.config.max_sessions.to_string());
        let (limit, last) = (self.config.max_per_second.to_string(), self.pulse.last_second().to_string());
        let (rate_peak, rate_five) = (rate_peak.to_string(), rate_five.to_string());
        let (since, peak) = (self.pulse.sessions.to_string(), peak.to_string());
        self.bus.fire(Event {
            head: &[
                ("Event-Info", "System Ready"),
                ("Up-Time", &uptime),
                ("FreeSWITCH-Version", VERSION_LONG),
                ("Uptime-msec", &millis),
                ("Session-Count", &count),
                ("Max-Sessions", &max),
                ("Session-Per-Sec", &limit),
                ("Session-Per-Sec-Last", &last),
                ("Session-Per-Sec-Max", &rate_peak),
                ("Session-Per-Sec-FiveMin", &rate_five),
                ("Session-Since-Startup", &since),
                ("Session-Peak-Max", &peak),
                ("Session-Peak-FiveMin", &peak),
                ("Idle-CPU", &idle),
            ],
            ..Event::new(Kind::Heartbeat, place::HEARTBEAT)
        });
        let runtime = self.wall_us() / 1_000_000 + i64::try_from(self.config.heartbeat.as_secs().max(1)).unwrap_or(1);
        self.re_scheduled("1", "heartbeat", "core", runtime);
        self.timers.arm(Instant::now() + self.config.heartbeat, Timer::Heartbeat);
    }

    pub fn re_scheduled(&mut self, task: &str, what: &str, group: &str, runtime: i64) {
        let runtime = runtime.to_string();
        self.bus.fire(Event {
            head: &[("Task-ID", task), ("Task-Desc", what), ("Task-Group", group), ("Task-Runtime", &runtime)],
            ..Event::new(Kind::ReSchedule, place::SCHEDULE)
        });
    }
}

pub(super) const VERSION: &str = "FreeSWITCH (Version 1.11.2-dev git 0a54a48 2026-07-17 20:41:38Z 64bit)";
const VERSION_LONG: &str = "1.11.2-dev+git~20260717T204138Z~0a54a48f37~64bit";
