//! Why a weight is what it is, for people.

use std::fmt;

use super::formula::Tuning;
use super::node::Death;

pub struct Told<'a> {
    pub rule: &'static str,
    pub death: Option<Death>,
    pub tightest: Option<(&'static str, f64, f64)>,
    pub beat_age_us: u64,
    pub sign_age_us: u64,
    pub fresh: bool,
    /// While it starts slowly.
    pub active_us: Option<u64>,
    pub falling: bool,
    pub tuning: &'a Tuning,
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule, self.death) {
            ("dead", Some(Death::LinkDown)) => {
                return write!(f, "link down and no heartbeat for {:.1} s", seconds(self.beat_age_us));
            }
            ("dead", _) => return write!(f, "no sign of life for {:.1} s", seconds(self.sign_age_us)),
            ("panic", _) => {
                return write!(
                    f,
                    "silent like most nodes: rather their observers are gone than they, so none is emptied"
                );
            }
            _ => {}
        }
        match self.tightest {
            Some((what, _, used)) => write!(f, "{what} {:.0} % in use", used * 100.0)?,
            None => write!(f, "load not known")?,
        }
        if !self.fresh {
            write!(f, "; heartbeat {:.1} s old", seconds(self.beat_age_us))?;
        }
        if let Some(active_us) = self.active_us {
            let (since, ramp) = (seconds(active_us), seconds(self.tuning.ramp_us));
            write!(f, "; slow start, {since:.0} of {ramp:.0} s")?;
        }
        if self.rule == "damping" {
            let (most, way) =
                if self.falling { (self.tuning.down_per_5s, "down") } else { (self.tuning.up_per_5s, "up") };
            write!(f, "; at most {:.0} points {way} in 5 s", most * 100.0)?;
        }
        Ok(())
    }
}
