//! The one place that asks the operating system for the time.

use domain::{Clock, Now};

/// UTC and the boot-time clock. The latter counts through suspend and goes on over a restart of the process, so that a
/// duration can span one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let (wall_s, wall_ns) = read(libc::CLOCK_REALTIME);
        let (boot_s, boot_ns) = read(libc::CLOCK_BOOTTIME);
        let boot_us = boot_s * 1_000_000 + boot_ns / 1_000;
        Now { wall_us: wall_s * 1_000_000 + wall_ns / 1_000, mono_us: u64::try_from(boot_us).unwrap_or(0) }
    }
}

fn read(clock: libc::clockid_t) -> (i64, i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(
        unsafe_code,
        reason = "std has no boot-time clock; the call writes into the struct that lives on this stack"
    )]
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(failed, 0, "both clocks exist on every Linux since 2.6.39");
    (time.tv_sec, time.tv_nsec)
}

/// Names this boot of the machine: readings of the boot-time clock compare only when this is equal. Empty where unknown.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
