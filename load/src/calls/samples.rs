//! How long each forwarded message was inside the proxy, seen from outside.
//!
//! From the send at one end to the kernel's receive stamp at the other. On loopback the proxy's kernel receives while the sender is in
//! its system call, and the other end's stamp is made while the proxy is in its own: so counted from before the call the figure is
//! never too small, and counted from after it never too large. What a report calls latency is the former.

use super::socket::Sent;

/// The messages of a call that a proxy forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Invite,
    Ringing,
    Answer,
    Ack,
    Bye,
    Goodbye,
}

impl Kind {
    pub const ALL: [(Kind, &'static str); 6] = [
        (Kind::Invite, "INVITE"),
        (Kind::Ringing, "180"),
        (Kind::Answer, "200"),
        (Kind::Ack, "ACK"),
        (Kind::Bye, "BYE"),
        (Kind::Goodbye, "200 of BYE"),
    ];
}

/// Microseconds.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// By kind; counted from before the send, never too small.
    most: [Vec<f32>; 6],
    /// Counted from after it, never too large.
    least: Vec<f32>,
}

impl Samples {
    pub fn add(&mut self, kind: Kind, sent: Sent, received: u64) {
        let us = |from: u64| received.saturating_sub(from) as f32 / 1e3;
        self.most[kind as usize].push(us(sent.before));
        self.least.push(us(sent.after));
    }

    pub fn of(&self, kind: Kind) -> &[f32] {
        &self.most[kind as usize]
    }

    /// Of all messages, counted from before the send.
    pub fn all(&self) -> Vec<f32> {
        self.most.concat()
    }

    /// Of all messages, counted from after it.
    pub fn least(&self) -> &[f32] {
        &self.least
    }

    pub fn join(&mut self, other: Samples) {
        for (mine, theirs) in self.most.iter_mut().zip(other.most) {
            mine.extend(theirs);
        }
        self.least.extend(other.least);
    }
}

/// Nearest rank; of nothing it is no number.
pub fn quantile(values: &[f32], percent: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
    let mut values = values.to_vec();
    f64::from(*values.select_nth_unstable_by(rank, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_kept_and_the_larger_is_the_latency() {
        let mut samples = Samples::default();
        samples.add(Kind::Ack, Sent { before: 1_000, after: 4_000 }, 11_000);
        samples.add(Kind::Bye, Sent { before: 1_000, after: 4_000 }, 3_000);
        assert_eq!((samples.of(Kind::Ack), samples.all()), (&[10.0][..], vec![10.0, 2.0]));
        assert_eq!(samples.least(), [7.0, 0.0]);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 50.0), 2.0);
        assert!(quantile(&[], 99.0).is_nan());
    }
}
