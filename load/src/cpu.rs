//! The CPU that a process, or everything in its process group, has used: user and system, all threads.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// What was used until now, or between two moments. The kernel knows the sum to the nanosecond; how it splits is what its clock found
/// running some hundred times per second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub user: Duration,
    pub system: Duration,
}

impl Used {
    pub fn sum(self) -> Duration {
        self.user + self.system
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

/// Processes of the group that are alive now. A process that ended inside the measured time is lost: none of the peers ends any.
pub fn of_group(group: u32) -> anyhow::Result<Used> {
    let mut used = Used::default();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // It may have ended since the folder was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(stat) = Stat::parse(&stat).filter(|s| s.group == group) {
            used.user += stat.used.user;
            used.system += stat.used.system;
        }
    }
    Ok(used)
}

pub fn of_process(pid: u32) -> anyhow::Result<Used> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path.clone())?;
    Ok(Stat::parse(&stat).context(path)?.used)
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

struct Stat {
    group: u32,
    used: Used,
}

impl Stat {
    /// The name of the program stands in brackets and may hold anything, so fields are counted behind the last bracket.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let used = Used { user: time(number(11)?), system: time(number(12)?) };
        Some(Self { group: u32::try_from(number(2)?).ok()?, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_passed_over() {
        let line = "77 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        let stat = Stat::parse(line).expect("a line of /proc");
        assert_eq!((stat.group, stat.used.user, stat.used.system), (42, time(250), time(50)));
    }

    #[test]
    fn work_of_our_own_group_is_seen() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
        let before = of_group(group).expect("readable").sum();
        let started = std::time::Instant::now();
        while of_group(group).expect("readable").sum() <= before {
            assert!(started.elapsed() < Duration::from_secs(20), "a busy loop shows up");
        }
    }
}
