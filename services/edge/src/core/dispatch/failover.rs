//! When another next hop is tried for the same call, how often, and for how long.

use crate::config::PoolConfig;
use crate::core::set_up::invite::End;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// None: every 5xx that is not about the message.
    codes: Option<Vec<u16>>,
    /// Next hops per INVITE.
    pub attempts: u32,
    /// No further attempt begins so long after the INVITE came (µs).
    pub budget_us: u64,
}

impl Failover {
    #[must_use]
    pub fn new(config: &PoolConfig, attempts: u32) -> Failover {
        Failover {
            codes: config.failover_codes.clone(),
            attempts: config.attempts.unwrap_or(attempts),
            budget_us: config.budget_ms.saturating_mul(1_000),
        }
    }

    /// Whether that end of an attempt calls for another one. With a Q.850 reason the failure belongs to the far side.
    #[must_use]
    pub fn follows(&self, end: End) -> bool {
        match (end, &self.codes) {
            (End::Status { q850: true, .. }, _) => false,
            (End::Status { status, .. }, Some(codes)) => codes.contains(&status),
            (end, _) => end.fails_over(),
        }
    }

    /// Whether one more may begin now.
    #[must_use]
    pub fn allows(&self, attempts: usize, since_us: u64) -> bool {
        (attempts as u64) < u64::from(self.attempts) && (attempts == 0 || since_us < self.budget_us)
    }
}

/// Whose fault it is: the node's own, when nothing came or a 5xx came that blames nobody else.
#[must_use]
pub fn is_nodes_fault(end: End) -> bool {
    match end {
        End::Status { .. } | End::NoFirstResponse | End::TimedOut | End::Unreachable => end.fails_over(),
        // Known from its probes already.
        End::NodeDown | End::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, q850: bool) -> End {
        End::Status { status, q850 }
    }

    #[test]
    fn a_failure_with_a_q850_reason_is_nobodys_here_whatever_the_list_says() {
        let plain = Failover::new(&PoolConfig::default(), 3);
        assert!(plain.follows(status(503, false)) && plain.follows(End::NoFirstResponse));
        assert!(!plain.follows(status(503, true)) && !plain.follows(status(486, false)));
        assert!(!plain.follows(status(580, false)) && !plain.follows(End::Cancelled));
        let listed = Failover::new(&PoolConfig { failover_codes: Some(vec![404, 503]), ..PoolConfig::default() }, 3);
        assert!(listed.follows(status(404, false)) && !listed.follows(status(404, true)));
        assert!(!listed.follows(status(500, false)) && listed.follows(End::NodeDown));
        assert!(is_nodes_fault(status(500, false)) && !is_nodes_fault(status(500, true)));
        assert!(!is_nodes_fault(status(513, false)) && !is_nodes_fault(End::NodeDown));
    }

    #[test]
    fn attempts_and_time_are_bounded_and_the_first_one_is_free() {
        let pool = PoolConfig { attempts: Some(2), budget_ms: 4_000, ..PoolConfig::default() };
        let failover = Failover::new(&pool, 3);
        assert!(failover.allows(0, 10_000_000) && failover.allows(1, 3_999_999));
        assert!(!failover.allows(1, 4_000_000) && !failover.allows(2, 0));
        assert_eq!(Failover::new(&PoolConfig::default(), 3).attempts, 3);
    }
}
