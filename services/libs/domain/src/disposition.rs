//! The closed list of ways in which a call can end, shared by records, metrics and pages.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    Answered,
    Cancelled,
    Busy,
    NoAnswer,
    Rejected,
    Failed,
    Blocked,
    Limited,
    NodeLost,
}

impl Disposition {
    pub const ALL: [Disposition; 9] = [
        Disposition::Answered,
        Disposition::Cancelled,
        Disposition::Busy,
        Disposition::NoAnswer,
        Disposition::Rejected,
        Disposition::Failed,
        Disposition::Blocked,
        Disposition::Limited,
        Disposition::NodeLost,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Disposition::Answered => "answered",
            Disposition::Cancelled => "cancelled",
            Disposition::Busy => "busy",
            Disposition::NoAnswer => "no_answer",
            Disposition::Rejected => "rejected",
            Disposition::Failed => "failed",
            Disposition::Blocked => "blocked",
            Disposition::Limited => "limited",
            Disposition::NodeLost => "node_lost",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Disposition> {
        Self::ALL.into_iter().find(|d| d.as_str() == text)
    }

    /// What a final SIP status means for the call when nothing better is known.
    #[must_use]
    pub fn from_sip(status: u16) -> Disposition {
        match status {
            200..=299 => Disposition::Answered,
            487 => Disposition::Cancelled,
            486 | 600 => Disposition::Busy,
            408 | 480 => Disposition::NoAnswer,
            403 | 603 | 607 | 608 => Disposition::Rejected,
            _ => Disposition::Failed,
        }
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disposition_parses_from_its_own_word() {
        for d in Disposition::ALL {
            assert_eq!(Disposition::parse(d.as_str()), Some(d));
        }
        assert_eq!(Disposition::parse("fine"), None);
    }
}
