//! The CPU that a process, or everything in its process group, has used: user and system, all threads.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Processes of the group that are alive now. A process that ended inside the measured time is lost: none of the peers ends any.
pub fn of_group(group: u32) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // It may have ended since the folder was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(stat) = Stat::parse(&stat).filter(|s| s.group == group) {
            ticks += stat.ticks;
        }
    }
    Ok(time(ticks))
}

pub fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path.clone())?;
    Ok(time(Stat::parse(&stat).context(path)?.ticks))
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

struct Stat {
    group: u32,
    ticks: u64,
}

impl Stat {
    /// The name of the program stands in brackets and may hold anything, so fields are counted behind the last bracket.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { group: u32::try_from(number(2)?).ok()?, ticks: number(11)? + number(12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_passed_over() {
        let line = "77 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        let stat = Stat::parse(line).expect("a line of /proc");
        assert_eq!((stat.group, stat.ticks), (42, 300));
    }

    #[test]
    fn work_of_our_own_group_is_seen() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
        let before = of_group(group).expect("readable");
        let started = std::time::Instant::now();
        while of_group(group).expect("readable") <= before {
            assert!(started.elapsed() < Duration::from_secs(20), "a busy loop shows up");
        }
    }
}
