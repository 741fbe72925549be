//! Dates as events show them, without a time zone library: UTC, which the recorded machines used as local time too.

/// Text forms of one second, computed once while it lasts.
#[derive(Debug, Default)]
pub(super) struct DateCache {
    second: i64,
    pub local: String,
    pub gmt: String,
}

impl DateCache {
    pub fn update(&mut self, wall_us: i64) {
        let second = wall_us.div_euclid(1_000_000);
        if second != self.second || self.local.is_empty() {
            self.second = second;
            self.local = local(wall_us);
            self.gmt = gmt(second);
        }
    }
}

/// `2026-11-21 02:00:02`
pub(super) fn local(wall_us: i64) -> String {
    let second = wall_us.div_euclid(1_000_000);
    let (year, month, day) = civil(second.div_euclid(86_400));
    let (h, m, s) = clock(second);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
}

/// `Sat, 21 Nov 2026 02:00:02 GMT`
fn gmt(second: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = second.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = clock(second);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    format!("{weekday}, {day:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT")
}

fn clock(second: i64) -> (i64, i64, i64) {
    let of_day = second.rem_euclid(86_400);
    (of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Days since 1970-01-01 to year, month, day (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// `0 years, 0 days, 0 hours, 1 minute, 4 seconds, 525 milliseconds, 187 microseconds`
pub(super) fn uptime(us: u64) -> String {
    let parts = [
        (us / 31_536_000_000_000, "year"),
        (us / 86_400_000_000 % 365, "day"),
        (us / 3_600_000_000 % 24, "hour"),
        (us / 60_000_000 % 60, "minute"),
        (us / 1_000_000 % 60, "second"),
        (us / 1000 % 1000, "millisecond"),
        (us % 1000, "microsecond"),
    ];
    let texts: Vec<String> =
        parts.iter().map(|(n, unit)| format!("{n} {unit}{}", if *n == 1 { "" } else { "s" })).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_in_the_recordings() {
        let mut cache = DateCache::default();
        cache.update(1_795_226_402_151_556);
        assert_eq!(cache.local, "2026-11-21 02:00:02");
        assert_eq!(cache.gmt, "Sat, 21 Nov 2026 02:00:02 GMT");
        assert_eq!(local(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(
            uptime(64_525_187),
            "0 years, 0 days, 0 hours, 1 minute, 4 seconds, 525 milliseconds, 187 microseconds"
        );
    }
}
