//! The one line that always stands, and how figures are written for people.

use std::time::Duration;

/// What the line shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub offered: u64,
    pub open: u64,
    pub recorded: u64,
    pub missing: u64,
    pub doubled: u64,
    pub rate: f64,
    pub lag: Duration,
}

impl Figures {
    #[must_use]
    pub fn line(&self) -> String {
        let lag = format!("{} ms", self.lag.as_millis());
        format!(
            "calls {:>6} offered  {:>6} recorded  {:>3} missing  {:>3} doubled  {:>5} open  {:>6.1}/s  lag {lag}",
            self.offered, self.recorded, self.missing, self.doubled, self.open, self.rate,
        )
    }
}

/// New calls per second over the last few looks.
#[derive(Debug, Default)]
pub struct Rate {
    looks: std::collections::VecDeque<(Duration, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(3);

    pub fn update(&mut self, elapsed: Duration, offered: u64) -> f64 {
        self.looks.push_back((elapsed, offered));
        while self.looks.len() > 2 && elapsed.saturating_sub(self.looks[0].0) > Self::WINDOW {
            self.looks.pop_front();
        }
        let (since, before) = self.looks[0];
        let span = elapsed.saturating_sub(since).as_secs_f64();
        if span <= 0.0 { 0.0 } else { offered.saturating_sub(before) as f64 / span }
    }
}

/// A span as a person would say it: `340 ms`, `1.2 s`, `2 min 5 s`.
#[must_use]
pub fn span(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", d.as_secs_f64()),
        _ => format!("{} min {} s", d.as_secs() / 60, d.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_not_of_the_whole_run() {
        let mut rate = Rate::default();
        for second in 0..10 {
            rate.update(Duration::from_secs(second), second * 100);
        }
        for second in 10..20 {
            rate.update(Duration::from_secs(second), 900);
        }
        assert!(rate.update(Duration::from_secs(20), 900).abs() < f64::EPSILON);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(span(Duration::from_millis(340)), "340 ms");
        assert_eq!(span(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(span(Duration::from_secs(125)), "2 min 5 s");
    }
}
