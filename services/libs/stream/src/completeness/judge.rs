//! The verdict about one line: which of its numbers arrived, which are accounted for, and which are not.

use schemas::ManifestLoss;
use serde::Serialize;

use super::Ranges;

/// What is said in the end, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Numbers are missing that nobody declared.
    Lost,
    /// No closed manifest says where the numbers end, or more were seen than it counts.
    Unproven,
    /// Retention took the beginning; the rest is whole.
    Expired,
    /// State: missing numbers may have been replaced by newer ones; the rest is whole.
    Compacted,
    /// Every number is in the log or declared lost.
    Proven,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unproven => "unproven",
            Self::Expired => "expired",
            Self::Compacted => "compacted",
            Self::Proven => "proven",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    pub reason: String,
    pub class: String,
    pub events: i64,
}

/// `numbers = seen + declared + lost + expired + compacted + pending`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub verdict: Verdict,
    /// Given so far, as far as known.
    pub numbers: i64,
    pub seen: i64,
    /// Lost, and said so by their producer.
    pub declared: Vec<Declared>,
    /// Lost without a word.
    pub lost: i64,
    /// Where; wider than `lost` where ranges of declared losses were joined. At most `MOST_RANGES`.
    pub lost_ranges: Vec<(i64, i64)>,
    pub expired: i64,
    pub compacted: i64,
    /// Counted by an open manifest and not seen yet: on their way, or lost.
    pub pending: i64,
}

/// More places than anybody looks at.
pub const MOST_RANGES: usize = 1000;

pub(super) struct Evidence<'a> {
    pub seen: &'a Ranges,
    pub next_seq: i64,
    pub losses: &'a [ManifestLoss],
    /// Whether the newest manifest is closed; `None` without one.
    pub closed: Option<bool>,
    pub may_have_expired: bool,
    pub compacted: bool,
}

impl Evidence<'_> {
    pub fn judge(&self) -> Findings {
        let behind_seen = self.seen.last().map_or(0, |last| last + 1);
        let closed = self.closed == Some(true);
        let behind_losses = self.losses.iter().map(|loss| loss.last + 1).max().unwrap_or(0);
        // An open manifest counts numbers that may be on their way; only what stands before a number that arrived is missing.
        let settled = if closed { behind_seen.max(self.next_seq) } else { behind_seen.max(behind_losses) };
        let numbers = settled.max(self.next_seq);
        let mut findings = Findings {
            verdict: Verdict::Proven,
            numbers,
            seen: self.seen.count(),
            declared: Vec::new(),
            lost: 0,
            lost_ranges: Vec::new(),
            expired: 0,
            compacted: 0,
            pending: numbers - settled,
        };
        let first_seen = self.seen.first();
        let mut from = 0;
        for (first, last) in self.seen.missing(0..=settled - 1) {
            from = from.max(first);
            for loss in self.losses.iter().filter(|loss| loss.last >= first && loss.first <= last) {
                if loss.first > from {
                    self.unaccounted(from, loss.first - 1, first_seen, closed, &mut findings);
                }
                from = from.max(loss.last.min(last) + 1);
            }
            if from <= last {
                self.unaccounted(from, last, first_seen, closed, &mut findings);
            }
            from = last + 1;
        }
        for loss in self.losses {
            self.declare(loss, settled - 1, &mut findings);
        }
        findings.verdict = self.verdict(&findings, closed, behind_seen);
        findings
    }

    /// Missing, and in no declared range.
    fn unaccounted(&self, first: i64, last: i64, first_seen: Option<i64>, closed: bool, findings: &mut Findings) {
        let events = last - first + 1;
        if self.may_have_expired && first_seen.is_none_or(|seen| last < seen) {
            findings.expired += events;
        } else if self.compacted {
            findings.compacted += events;
        } else if !closed && self.seen.last().is_none_or(|seen| first > seen) {
            findings.pending += events;
        } else {
            findings.lost += events;
            self.lost_at(first, last, findings);
        }
    }

    /// A range of joined losses covers numbers that arrived, so it declares fewer events than it is wide.
    fn declare(&self, loss: &ManifestLoss, end: i64, findings: &mut Findings) {
        let missing = self.seen.missing(loss.first..=loss.last.min(end));
        let events: i64 = missing.iter().map(|(first, last)| last - first + 1).sum();
        let declared = events.min(loss.events);
        if declared > 0 {
            let same = |known: &&mut Declared| known.reason == loss.reason && known.class == loss.class;
            match findings.declared.iter_mut().find(same) {
                Some(known) => known.events += declared,
                None => findings.declared.push(Declared {
                    reason: loss.reason.clone(),
                    class: loss.class.clone(),
                    events: declared,
                }),
            }
        }
        if events == declared {
            return;
        }
        let rest = events - declared;
        if self.may_have_expired {
            findings.expired += rest;
        } else if self.compacted {
            findings.compacted += rest;
        } else {
            findings.lost += rest;
            missing.into_iter().for_each(|(first, last)| self.lost_at(first, last, findings));
        }
    }

    fn lost_at(&self, first: i64, last: i64, findings: &mut Findings) {
        if findings.lost_ranges.len() < MOST_RANGES {
            findings.lost_ranges.push((first, last));
        }
    }

    fn verdict(&self, findings: &Findings, closed: bool, behind_seen: i64) -> Verdict {
        if findings.lost > 0 {
            Verdict::Lost
        } else if !closed || behind_seen > self.next_seq {
            Verdict::Unproven
        } else if findings.expired > 0 {
            Verdict::Expired
        } else if findings.compacted > 0 {
            Verdict::Compacted
        } else {
            Verdict::Proven
        }
    }
}
