//! One channel: what FreeSWITCH calls a session, with its caller profile, variables and the applications that run on it.
//!
//! `state` is the state being left or entered as events name it (`Channel-State`), `next_state` the one already decided
//! (`Channel-State-Number`): FreeSWITCH shows both, and during a hangup they differ.

use std::collections::VecDeque;
use std::time::Instant;

use super::exec::Running;
use super::sdp::{Audio, Codec};
use super::vars::Vars;
use crate::sip::{ClientTx, Dialog, Message, ServerTx};

/// Key of a channel inside its switch; never used twice.
pub(super) type ChannelId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    None,
    New,
    Init,
    Routing,
    Execute,
    ExchangeMedia,
    ConsumeMedia,
    Hangup,
    Reporting,
    Destroy,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "CS_NONE",
            Self::New => "CS_NEW",
            Self::Init => "CS_INIT",
            Self::Routing => "CS_ROUTING",
            Self::Execute => "CS_EXECUTE",
            Self::ExchangeMedia => "CS_EXCHANGE_MEDIA",
            Self::ConsumeMedia => "CS_CONSUME_MEDIA",
            Self::Hangup => "CS_HANGUP",
            Self::Reporting => "CS_REPORTING",
            Self::Destroy => "CS_DESTROY",
        }
    }

    pub fn number(self) -> &'static str {
        match self {
            Self::None | Self::New => "0",
            Self::Init => "1",
            Self::Routing => "2",
            Self::Execute => "4",
            Self::ExchangeMedia => "5",
            Self::ConsumeMedia => "7",
            Self::Hangup => "10",
            Self::Reporting => "11",
            Self::Destroy => "12",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallState {
    Down,
    Ringing,
    Early,
    Active,
    Hangup,
}

impl CallState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "DOWN",
            Self::Ringing => "RINGING",
            Self::Early => "EARLY",
            Self::Active => "ACTIVE",
            Self::Hangup => "HANGUP",
        }
    }

    pub fn number(self) -> &'static str {
        match self {
            Self::Down => "0",
            Self::Ringing => "2",
            Self::Early => "3",
            Self::Active => "4",
            Self::Hangup => "7",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Microseconds of UTC; 0 = has not happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub created: i64,
    pub answered: i64,
    pub progress: i64,
    pub progress_media: i64,
    pub hangup: i64,
    pub transfer: i64,
    pub resurrect: i64,
    pub bridged: i64,
    pub last_hold: i64,
    pub hold_accum: i64,
}

type Text = Box<str>;

#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub direction: Direction,
    pub logical: Direction,
    pub username: Option<Text>,
    pub dialplan: Option<Text>,
    pub caller_name: Option<Text>,
    pub caller_number: Text,
    pub callee: Option<(Text, Text)>,
    pub network_addr: Option<Text>,
    pub rdnis: Option<Text>,
    pub destination: Text,
    pub unique_id: Text,
    pub source: &'static str,
    pub transfer_source: Option<Text>,
    pub context: &'static str,
    pub channel_name: Text,
    pub index: u32,
    pub created: i64,
    pub times: Times,
}

/// The other leg as this channel remembers it: a copy made when the two met.
#[derive(Debug, Clone)]
pub(super) struct OtherLeg {
    pub kind: &'static str,
    pub profile: Profile,
}

/// A digit on its way to the application that reads it.
#[derive(Debug, Clone)]
pub(super) struct Digit {
    pub digit: char,
    pub duration: u32,
    pub source: &'static str,
}

/// A command sent to the channel by ESL (`sendmsg`, `uuid_broadcast`), as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct PrivateCommand {
    pub headers: Vec<(Text, Text)>,
}

impl PrivateCommand {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

/// The SIP side of a channel.
#[derive(Debug, Default)]
pub(super) struct SipLeg {
    /// The INVITE we received (A leg) or sent (B leg): dialogs and CANCEL are made from it.
    pub invite: Option<Box<Message>>,
    pub server: Option<ServerTx>,
    pub client: Option<ClientTx>,
    pub dialog: Option<Box<Dialog>>,
    pub local_tag: Text,
    /// A-leg answered, its ACK not seen yet: what the ACK brings is applied when the session next reads media.
    pub ack: Option<Box<AckSeen>>,
    pub acknowledged: bool,
    /// The far end ended the dialog: nothing more is sent to it.
    pub ended: bool,
    pub provisional: u16,
}

#[derive(Debug)]
pub(super) struct AckSeen {
    pub via: Text,
    pub to: Text,
    pub cseq: Text,
}

/// How long ago, and how, a B leg was started for this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Arrived by SIP.
    Caller,
    /// Made by `bridge` for the channel `for_leg`.
    Bridged { for_leg: ChannelId },
    /// Made by `originate`.
    Originated,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub id: ChannelId,
    pub uuid: Text,
    pub name: Text,
    pub call_uuid: Text,
    pub direction: Direction,
    pub role: Role,
    pub hit_dialplan: bool,
    pub state: State,
    pub next_state: State,
    pub call_state: CallState,
    pub answered: bool,
    pub cause: Option<&'static str>,
    /// Not shown in events until the endpoint has made it.
    pub profile: Option<Box<Profile>>,
    pub other: Option<Box<OtherLeg>>,
    pub vars: Vars,
    pub codec: Option<Codec>,
    pub remote: Option<Box<Audio>>,
    pub local_port: u16,
    pub sip: SipLeg,
    /// Bottom: what the dialplan runs; above: what ESL told it to run meanwhile.
    pub stack: Vec<Running>,
    /// What is left of the dialplan, next first.
    pub plan: VecDeque<(&'static str, String)>,
    pub commands: VecDeque<PrivateCommand>,
    pub digits: VecDeque<Digit>,
    pub dialed: String,
    pub last_app: Option<(Text, Text)>,
    /// Counts up with every wait, so that a timer of an earlier wait is recognised as stale.
    pub wait: u64,
    /// The channel it is or was bridged with, while that one exists.
    pub peer: Option<ChannelId>,
    pub bridged: bool,
    /// The first command after parking an unanswered caller gives no PRIVATE_COMMAND (as recorded).
    pub quiet_command: bool,
    /// A transfer that waits for the running applications to unwind.
    pub transfer: Option<Box<(String, String)>>,
    /// Whether RTP is pretended to flow from the far end, and since when: for the statistics at hang-up.
    pub media_since: Option<Instant>,
    pub media_in: bool,
    /// Milliseconds of prompts played: for the statistics at hang-up.
    pub played_ms: u64,
    /// The outbound ESL socket that controls this channel.
    pub socket: Option<u64>,
    /// Commands wait for the first media frame after an answer.
    pub hold_until: Option<Instant>,
}

impl Channel {
    pub fn is_up(&self) -> bool {
        self.cause.is_none()
    }

    /// A handle that makes later timers of this wait distinguishable from those of earlier ones.
    pub fn next_wait(&mut self) -> u64 {
        self.wait += 1;
        self.wait
    }

    pub fn answer_state(&self) -> &'static str {
        if self.cause.is_some() {
            "hangup"
        } else if self.answered {
            "answered"
        } else if self.call_state == CallState::Early {
            "early"
        } else {
            "ringing"
        }
    }
}
