//! The Gregorian calendar in UTC: what a time in microseconds looks like to people.

/// A moment taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

impl Utc {
    /// Of microseconds since 1970-01-01, before it too. (Days to date after Howard Hinnant's `civil_from_days`.)
    #[must_use]
    pub fn of(wall_us: i64) -> Utc {
        let (seconds, micros) = (wall_us.div_euclid(1_000_000), wall_us.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Utc {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (second / 3_600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            micros: micros as u32,
        }
    }
}

/// RFC 3339, to the second.
impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Utc { year, month, day, hour, minute, second, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_become_a_date() {
        let text = |us: i64| Utc::of(us).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59Z");
        assert_eq!(text(951_782_400_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(text(951_868_800_000_000), "2000-03-01T00:00:00Z");
        assert_eq!(text(1_795_226_612_345_678), "2026-11-21T02:03:32Z");
        assert_eq!((Utc::of(-1).micros, Utc::of(1_795_226_612_345_678).micros), (999_999, 345_678));
    }
}
