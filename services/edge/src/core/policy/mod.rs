//! Policies of a trunk: pure decisions about what passes between it and the nodes, and in which form.
//!
//! A message is first forwarded as every proxy does, with every byte kept; then the trunk's policies edit what leaves
//! ([`pass`]). A trunk without policies costs one comparison per message. What was done is told in the event as a list of
//! [`Effect`]s; what may not pass is refused before anything is forwarded ([`TrunkPolicy::admit`]).
//!
//! Never changed by any policy: Call-ID, tags, CSeq, methods, Max-Forwards, our own Via and Record-Route. The far side's From is
//! changed only when the settings say so, and restored in every answer.

pub mod headers;
mod hiding;
mod media;
mod nat;
mod numbers;
pub mod origin;
mod pass;
pub mod session_timer;
mod splice;

use sip::{Message, Method, Name};

pub use hiding::{Mask, may_be_masked};
pub use nat::KeepAlives;
pub use numbers::Numbers;
pub use pass::{Kind, Passage, Passed, open_request, pass};

use crate::config::policy::{KeepAlive, PolicyConfig};
use headers::Headers;
use media::Media;
use session_timer::{Asked, SessionTimer, Verdict};

/// Seen from the trunk; the other end is always a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToTrunk,
    FromTrunk,
}

/// What a policy did to a message, for the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// numbers, headers, hiding, nat, session_timer, codecs or srtp
    pub policy: &'static str,
    pub what: String,
}

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub status: u16,
    pub reason: &'static str,
    /// The Min-SE that goes with a 422.
    pub min_se: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct TrunkPolicy {
    pub numbers: Option<Numbers>,
    pub session_timer: Option<SessionTimer>,
    pub hides: bool,
    /// Microseconds between keep-alives; 0 = none.
    pub keep_alive_us: u64,
    pub keep_alive: KeepAlive,
    headers: Headers,
    media: Media,
    fixes_contact: bool,
    idle_to_trunk: bool,
    idle_from_trunk: bool,
}

impl TrunkPolicy {
    #[must_use]
    pub fn new(config: &PolicyConfig, emergency: &[String]) -> TrunkPolicy {
        let numbers = config.numbers.as_ref().map(|n| Numbers::new(n, emergency));
        let session_timer = config.session_timer.as_ref().map(SessionTimer::new);
        let headers = Headers::new(&config.headers);
        let media = Media::new(&config.media);
        let common = numbers.is_none() && session_timer.is_none() && media.is_idle() && !config.hide_topology;
        TrunkPolicy {
            idle_to_trunk: common && headers.is_idle(Direction::ToTrunk),
            idle_from_trunk: common && headers.is_idle(Direction::FromTrunk) && !config.nat.contact,
            hides: config.hide_topology,
            keep_alive_us: config.nat.keep_alive_s * 1_000_000,
            keep_alive: config.nat.keep_alive,
            fixes_contact: config.nat.contact,
            numbers,
            session_timer,
            headers,
            media,
        }
    }

    /// The trunk sits behind NAT: Contact is put right, and answers go to where requests came from.
    #[must_use]
    pub fn fixes_contact(&self) -> bool {
        self.fixes_contact
    }

    #[must_use]
    pub fn is_idle(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToTrunk => self.idle_to_trunk,
            Direction::FromTrunk => self.idle_from_trunk,
        }
    }

    /// Whether a request may pass between this trunk and a node, whichever sends it.
    pub fn admit(&self, m: &Message<'_>) -> Result<(), Denied> {
        if !matches!(m.method(), Method::Invite | Method::Update) {
            return Ok(());
        }
        if let Some(timer) = &self.session_timer
            && let Verdict::TooSmall(min) = timer.request(Asked::read(m))
        {
            return Err(Denied { status: 422, reason: "session_interval", min_se: Some(min) });
        }
        let denied = |reason| Err(Denied { status: 488, reason, min_se: None });
        match description(m) {
            _ if self.media.is_idle() => Ok(()),
            Description::Session(body) => match self.media.judge(body, true) {
                media::Verdict::Refused(why) => denied(why),
                _ => Ok(()),
            },
            // An UPDATE without a body refreshes the session; a re-INVITE asks for an offer in the answer as a first INVITE does.
            Description::None if m.method() == Method::Update || self.media.allows_late_offer() => Ok(()),
            Description::None => denied("srtp_required"),
            // A form that nobody here can read: it may say anything.
            Description::Other if self.media.allows_late_offer() => Ok(()),
            Description::Other => denied("srtp_required"),
        }
    }
}

/// What a body is.
enum Description<'a> {
    None,
    Session(&'a [u8]),
    Other,
}

fn description<'a>(m: &Message<'a>) -> Description<'a> {
    let body = m.body();
    if body.is_empty() {
        return Description::None;
    }
    let kind = m.header(Name::ContentType).unwrap_or_default();
    let is_sdp = kind.get(..15).is_some_and(|k| k.eq_ignore_ascii_case(b"application/sdp"));
    if is_sdp && m.named("Content-Encoding").is_none() && body.starts_with(b"v=") {
        Description::Session(body)
    } else {
        Description::Other
    }
}
