//! What one simulated caller is going to do.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::sip::Credentials;

/// The kinds of calls in a mix. The called extension (last four digits) makes the switch do its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 1xxx, key 2: a message, then the menu hangs up.
    IvrMessage,
    /// 1xxx, keys 1 and 1: to an agent, so the call passes the edge twice.
    IvrAgent,
    /// 1xxx, keys 1 and 2: opening hours.
    IvrHours,
    /// 1xxx, no key: asked twice, then good-bye.
    IvrNoInput,
    /// 1xxx, a key that means nothing, then none.
    IvrInvalid,
    /// 1xxx, hangs up while the prompt plays.
    IvrAbandon,
    /// 3xxx.
    Echo,
    /// 4xxx → 80xx: bridged out through the edge, the caller hangs up.
    Bridged,
    /// 4xxx → 85xx: as `Bridged`, the called side hangs up.
    BridgedFarEnds,
    /// 4xxx → 81xx.
    BridgedBusy,
    /// 4xxx → 83xx.
    BridgedDeclined,
    /// 4xxx → 82xx: nobody answers, the caller gives up.
    RingNoAnswer,
    /// 5xxx.
    Busy,
    /// 6xxx.
    Rejected,
    /// 7xxx: challenged, repeated with credentials, then echo.
    Authenticated,
    /// An extension that nobody has.
    Unknown,
    /// Gives up within the first moments: CANCEL and answer may cross.
    QuickCancel,
    /// Part of a fraud burst.
    Attack,
    /// Planned by hand.
    Other,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IvrMessage => "ivr_message",
            Self::IvrAgent => "ivr_agent",
            Self::IvrHours => "ivr_hours",
            Self::IvrNoInput => "ivr_no_input",
            Self::IvrInvalid => "ivr_invalid",
            Self::IvrAbandon => "ivr_abandon",
            Self::Echo => "echo",
            Self::Bridged => "bridged",
            Self::BridgedFarEnds => "bridged_far_ends",
            Self::BridgedBusy => "bridged_busy",
            Self::BridgedDeclined => "bridged_declined",
            Self::RingNoAnswer => "ring_no_answer",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Authenticated => "authenticated",
            Self::Unknown => "unknown",
            Self::QuickCancel => "quick_cancel",
            Self::Attack => "attack",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key pressed, `after` the answer or the key before it. Travels as SIP INFO (application/dtmf-relay).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub after: Duration,
    pub digit: char,
}

/// Who is expected to hang up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The caller, `hold` after the answer.
    Caller,
    /// The far side; when it has not after `hold`, the caller does, so that no call is open for ever.
    Far,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPlan {
    pub call_id: String,
    pub kind: Kind,
    pub from: String,
    pub to: String,
    pub attack: bool,
    /// Counted from the answer.
    pub hold: Duration,
    pub ends: Ends,
    pub keys: Vec<Key>,
    /// Give up this long after the INVITE when there is no answer yet.
    pub cancel_after: Option<Duration>,
    /// For a challenge; without them a 401 or 407 is a failure like another. The carrier's own are used when none stand here.
    pub credentials: Option<Credentials>,
}

impl CallPlan {
    /// A plain call that the caller ends after `hold`.
    #[must_use]
    pub fn new(call_id: impl Into<String>, from: impl Into<String>, to: impl Into<String>, hold: Duration) -> Self {
        Self {
            call_id: call_id.into(),
            kind: Kind::Other,
            from: from.into(),
            to: to.into(),
            attack: false,
            hold,
            ends: Ends::Caller,
            keys: Vec::new(),
            cancel_after: None,
            credentials: None,
        }
    }
}
