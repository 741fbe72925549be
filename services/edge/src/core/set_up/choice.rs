//! Which final response goes upstream when no next hop answered (RFC 3261 §16.7 step 6).
//!
//! A branch counts with the response that it got, or with the one that stands for what became of it: 408 when it timed out
//! (§16.8), 503 when it could not be reached (§16.9), 487 when it was cancelled. One that was only given up for another is
//! still pending and counts with nothing. A 6xx wins, else the lowest class; in it what tells the caller how to come again,
//! then a response that really came, then the latest.

use crate::core::set_up::invite::{Branch, End};

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Choice {
    /// The response of that branch.
    Received(usize),
    /// One of our own.
    Own(u16),
}

/// What of the INVITE has a say in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Circumstances {
    /// The caller gave up.
    pub cancelled: bool,
    /// Timer C cancelled a branch: its 487 is our doing, not the caller's.
    pub timer_c: bool,
    /// Nobody else could have been asked, so that a 503 of ours is true of us.
    pub nobody_left: bool,
}

pub(in crate::core) fn choose(branches: &[Branch], about: Circumstances) -> Choice {
    let candidates = branches.iter().enumerate().filter_map(|(at, b)| {
        let (status, choice) = candidate(at, b, about)?;
        Some((rank(status, choice, about.cancelled), std::cmp::Reverse(at), choice))
    });
    let best = candidates.min_by_key(|&(rank, at, _)| (rank, at)).map(|(.., choice)| choice);
    best.unwrap_or(Choice::Own(if about.cancelled { 487 } else { 408 }))
}

fn candidate(at: usize, branch: &Branch, about: Circumstances) -> Option<(u16, Choice)> {
    let own = |status| Some((status, Choice::Own(status)));
    if let Some(status) = branch.facts.status.filter(|_| branch.response.is_some()) {
        let by_timer_c = status == 487 && about.timer_c && !about.cancelled;
        return if by_timer_c { own(408) } else { Some((status, Choice::Received(at))) };
    }
    match branch.end? {
        End::TimedOut => own(if about.cancelled { 487 } else { 408 }),
        End::Cancelled => own(if about.cancelled { 487 } else { 408 }),
        End::NodeDown | End::Unreachable => Some((503, Choice::Own(if about.nobody_left { 503 } else { 500 }))),
        End::NoFirstResponse | End::Status { .. } => None,
    }
}

/// The smallest is the best.
fn rank(status: u16, choice: Choice, cancelled: bool) -> (u16, u8, bool) {
    let class = if status >= 600 { 0 } else { status / 100 };
    let helps = match status {
        487 if cancelled => 0,
        401 | 407 | 415 | 420 | 484 => 1,
        _ => 2,
    };
    (class, helps, matches!(choice, Choice::Own(_)))
}
