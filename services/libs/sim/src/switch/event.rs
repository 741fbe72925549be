//! Events as they stand on the wire: the names, the order of headers, the two encodings.
//!
//! An event is written straight from the channel into a reused buffer by a [`Sink`], once per encoding that somebody listens to. There
//! is no event object in between: at 100 calls a second it would be the largest cost of the whole switch.

use super::channel::{Channel, OtherLeg, Profile};
use super::encode::{Digits, Sink};

macro_rules! kinds {
    ($($kind:ident = $wire:literal,)*) => {
        /// What happened; also the unit of subscription.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Kind { $($kind,)* }

        const KINDS: &[(Kind, &str)] = &[$((Kind::$kind, $wire),)*];

        impl Kind {
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $wire,)* }
            }
        }
    };
}

kinds! {
    Custom = "CUSTOM",
    ChannelCreate = "CHANNEL_CREATE",
    ChannelDestroy = "CHANNEL_DESTROY",
    ChannelState = "CHANNEL_STATE",
    ChannelCallstate = "CHANNEL_CALLSTATE",
    ChannelAnswer = "CHANNEL_ANSWER",
    ChannelHangup = "CHANNEL_HANGUP",
    ChannelHangupComplete = "CHANNEL_HANGUP_COMPLETE",
    ChannelExecute = "CHANNEL_EXECUTE",
    ChannelExecuteComplete = "CHANNEL_EXECUTE_COMPLETE",
    ChannelHold = "CHANNEL_HOLD",
    ChannelUnhold = "CHANNEL_UNHOLD",
    ChannelBridge = "CHANNEL_BRIDGE",
    ChannelUnbridge = "CHANNEL_UNBRIDGE",
    ChannelProgress = "CHANNEL_PROGRESS",
    ChannelProgressMedia = "CHANNEL_PROGRESS_MEDIA",
    ChannelOutgoing = "CHANNEL_OUTGOING",
    ChannelPark = "CHANNEL_PARK",
    ChannelUnpark = "CHANNEL_UNPARK",
    ChannelOriginate = "CHANNEL_ORIGINATE",
    ChannelData = "CHANNEL_DATA",
    CallUpdate = "CALL_UPDATE",
    Api = "API",
    BackgroundJob = "BACKGROUND_JOB",
    Heartbeat = "HEARTBEAT",
    ReSchedule = "RE_SCHEDULE",
    Codec = "CODEC",
    Dtmf = "DTMF",
    PlaybackStart = "PLAYBACK_START",
    PlaybackStop = "PLAYBACK_STOP",
    PrivateCommand = "PRIVATE_COMMAND",
    Shutdown = "SHUTDOWN",
}

/// Names that FreeSWITCH knows and this switch never has occasion to send: subscribing to them is fine.
const SILENT: &[&str] = &[
    "CLONE",
    "CHANNEL_APPLICATION",
    "CHANNEL_UUID",
    "LOG",
    "INBOUND_CHAN",
    "OUTBOUND_CHAN",
    "STARTUP",
    "PUBLISH",
    "UNPUBLISH",
    "TALK",
    "NOTALK",
    "SESSION_CRASH",
    "MODULE_LOAD",
    "MODULE_UNLOAD",
    "MESSAGE",
    "PRESENCE_IN",
    "NOTIFY_IN",
    "PRESENCE_OUT",
    "PRESENCE_PROBE",
    "MESSAGE_WAITING",
    "MESSAGE_QUERY",
    "ROSTER",
    "RECV_RTCP_MESSAGE",
    "DETECTED_SPEECH",
    "DETECTED_TONE",
    "COMMAND",
    "SESSION_HEARTBEAT",
    "SHUTDOWN_REQUESTED",
    "RECORD_START",
    "RECORD_STOP",
    "CALL_SECURE",
    "NAT",
    "RELOADXML",
    "TRAP",
    "ADD_SCHEDULE",
    "DEL_SCHEDULE",
    "EXE_SCHEDULE",
    "GENERAL",
    "SOCKET_DATA",
    "SERVER_DISCONNECTED",
    "MEDIA_BUG_START",
    "MEDIA_BUG_STOP",
    "FAILURE",
    "PHONE_FEATURE",
    "CALL_SETUP_REQ",
    "CALL_SETUP_RESULT",
    "CALL_DETAIL",
    "DEVICE_STATE",
    "TEXT",
    "SEND_MESSAGE",
    "SEND_INFO",
    "RECV_INFO",
    "REQUEST_PARAMS",
    "CONFERENCE_DATA_QUERY",
    "CONFERENCE_DATA",
    "NOTIFY",
    "RECV_MESSAGE",
    "START_RECORDING",
    "STOP_RECORDING",
];

impl Kind {
    pub fn bit(self) -> u64 {
        1 << (self as u8)
    }

    /// Which kinds a word of an `event` command subscribes to; nothing when FreeSWITCH would not know it either.
    pub fn mask(word: &str) -> Option<u64> {
        if let Some((kind, _)) = KINDS.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)) {
            return Some(kind.bit());
        }
        SILENT.iter().any(|name| name.eq_ignore_ascii_case(word)).then_some(0)
    }

    /// What `myevents` turns on.
    pub fn mine() -> u64 {
        [
            Self::ChannelCreate,
            Self::ChannelState,
            Self::ChannelAnswer,
            Self::ChannelHangup,
            Self::ChannelHangupComplete,
            Self::ChannelExecute,
            Self::ChannelExecuteComplete,
            Self::ChannelBridge,
            Self::ChannelUnbridge,
            Self::ChannelProgress,
            Self::ChannelProgressMedia,
            Self::ChannelOutgoing,
            Self::ChannelPark,
            Self::ChannelUnpark,
            Self::ChannelOriginate,
            Self::ChannelData,
            Self::ChannelHold,
            Self::ChannelUnhold,
            Self::Dtmf,
            Self::CallUpdate,
        ]
        .iter()
        .fold(0, |mask, kind| mask | kind.bit())
    }

    /// Does the event carry the channel's variables?
    fn has_variables(self) -> bool {
        !matches!(
            self,
            Self::ChannelState
                | Self::ChannelCallstate
                | Self::ChannelOutgoing
                | Self::Codec
                | Self::Dtmf
                | Self::PrivateCommand
        )
    }
}

/// Where FreeSWITCH made the event: file, function, line, as recorded.
pub(super) type Place = (&'static str, &'static str, &'static str);

pub(super) mod place {
    use super::Place;

    pub const STATE: Place = ("switch_channel.c", "switch_channel_perform_set_running_state", "2409");
    pub const CALLSTATE: Place = ("switch_channel.c", "switch_channel_perform_set_callstate", "302");
    pub const READ_CODEC: Place = ("switch_core_codec.c", "switch_core_session_set_real_read_codec", "189");
    pub const WRITE_CODEC: Place = ("switch_core_codec.c", "switch_core_session_set_write_codec", "471");
    pub const CREATE: Place = ("switch_core_state_machine.c", "switch_core_session_run", "626");
    pub const ORIGINATE: Place = ("switch_core_state_machine.c", "switch_core_session_run", "632");
    pub const OUTGOING: Place = ("switch_core_session.c", "switch_core_session_outgoing_channel", "768");
    pub const EXECUTE: Place = ("switch_core_session.c", "switch_core_session_exec", "2949");
    pub const EXECUTE_COMPLETE: Place = ("switch_core_session.c", "switch_core_session_exec", "2972");
    pub const PARK: Place = ("switch_ivr.c", "switch_ivr_park", "1002");
    pub const UNPARK: Place = ("switch_ivr.c", "switch_ivr_park", "1213");
    pub const PRIVATE: Place = ("switch_ivr.c", "switch_ivr_parse_next_event", "804");
    pub const ANSWER: Place = ("switch_channel.c", "switch_channel_perform_mark_answered", "3848");
    pub const PROGRESS: Place = ("switch_channel.c", "switch_channel_perform_mark_ring_ready_value", "3507");
    pub const PRE_ANSWER: Place = ("switch_channel.c", "switch_channel_perform_mark_pre_answered", "3614");
    pub const HANGUP: Place = ("switch_channel.c", "switch_channel_perform_hangup", "3447");
    pub const HANGUP_COMPLETE: Place = ("switch_core_state_machine.c", "switch_core_session_reporting_state", "943");
    pub const DESTROY: Place = ("switch_core_session.c", "switch_core_session_perform_destroy", "1588");
    pub const BRIDGE: Place = ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1689");
    pub const UNBRIDGE: Place = ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1879");
    pub const UPDATE: Place = ("mod_sofia.c", "sofia_receive_message", "2133");
    pub const HOLD: Place = ("switch_core_media.c", "switch_core_media_toggle_hold", "14120");
    pub const DTMF: Place = ("switch_channel.c", "switch_channel_dequeue_dtmf", "678");
    pub const PLAY_START: Place = ("switch_ivr_play_say.c", "switch_ivr_play_file", "1649");
    pub const PLAY_STOP: Place = ("switch_ivr_play_say.c", "switch_ivr_play_file", "2023");
    pub const API: Place = ("switch_loadable_module.c", "switch_api_execute", "2954");
    pub const JOB: Place = ("mod_event_socket.c", "api_exec", "1569");
    pub const CONNECT: Place = ("mod_event_socket.c", "parse_command", "2018");
    pub const SENDEVENT: Place = ("mod_event_socket.c", "parse_command", "2272");
    pub const HEARTBEAT: Place = ("switch_core.c", "send_heartbeat", "95");
    pub const SCHEDULE: Place = ("switch_scheduler.c", "switch_scheduler_execute", "73");
}

/// All headers that a channel gives to an event of this kind.
pub(super) fn channel(kind: Kind, channel: &Channel, out: &mut impl Sink) {
    out.put("", "Channel-State", channel.state.name());
    out.put("", "Channel-Call-State", channel.call_state.name());
    out.put("", "Channel-State-Number", channel.next_state.number());
    out.put("", "Channel-Name", &channel.name);
    out.put("", "Unique-ID", &channel.uuid);
    out.put("", "Call-Direction", channel.direction.name());
    out.put("", "Presence-Call-Direction", channel.direction.name());
    out.put("", "Channel-HIT-Dialplan", if channel.hit_dialplan { "true" } else { "false" });
    out.put("", "Channel-Call-UUID", &channel.call_uuid);
    out.put("", "Answer-State", channel.answer_state());
    if let Some(cause) = channel.cause {
        out.put("", "Hangup-Cause", cause);
    }
    if let Some(codec) = channel.codec {
        for prefix in ["Channel-Read-Codec-", "Channel-Write-Codec-"] {
            out.put(prefix, "Name", codec.name());
            out.put(prefix, "Rate", "8000");
            out.put(prefix, "Bit-Rate", "64000");
        }
    }
    if let Some(own) = &channel.profile {
        profile("Caller-", own, true, out);
    }
    if let Some(other) = &channel.other {
        other_leg(other, out);
    }
    if kind.has_variables() {
        for (name, value) in channel.vars.iter() {
            out.put("variable_", name, value);
        }
    }
}

fn other_leg(other: &OtherLeg, out: &mut impl Sink) {
    out.put("", "Other-Type", other.kind);
    profile("Other-Leg-", &other.profile, false, out);
}

/// A caller profile under a prefix. `own` adds the profile index, which FreeSWITCH shows for the channel's own profile only.
pub(super) fn profile(prefix: &str, profile: &Profile, own: bool, out: &mut impl Sink) {
    let mut optional = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            out.put(prefix, name, value);
        }
    };
    optional("Direction", Some(profile.direction.name()));
    optional("Logical-Direction", Some(profile.logical.name()));
    optional("Username", profile.username.as_deref());
    optional("Dialplan", profile.dialplan.as_deref());
    optional("Caller-ID-Name", profile.caller_name.as_deref());
    optional("Caller-ID-Number", Some(&profile.caller_number));
    optional("Orig-Caller-ID-Name", profile.caller_name.as_deref());
    optional("Orig-Caller-ID-Number", Some(&profile.caller_number));
    if let Some((name, number)) = &profile.callee {
        optional("Callee-ID-Name", Some(name));
        optional("Callee-ID-Number", Some(number));
    }
    optional("Network-Addr", profile.network_addr.as_deref());
    optional("ANI", Some(&profile.caller_number));
    optional("Destination-Number", Some(&profile.destination));
    optional("Unique-ID", Some(&profile.unique_id));
    optional("Source", Some(profile.source));
    optional("Transfer-Source", profile.transfer_source.as_deref());
    optional("Context", Some(profile.context));
    optional("RDNIS", profile.rdnis.as_deref());
    optional("Channel-Name", Some(&profile.channel_name));
    if own {
        optional("Profile-Index", Some(Digits::new(i64::from(profile.index)).as_str()));
    }
    let times = &profile.times;
    for (name, value) in [
        ("Profile-Created-Time", profile.created),
        ("Channel-Created-Time", times.created),
        ("Channel-Answered-Time", times.answered),
        ("Channel-Progress-Time", times.progress),
        ("Channel-Progress-Media-Time", times.progress_media),
        ("Channel-Hangup-Time", times.hangup),
        ("Channel-Transfer-Time", times.transfer),
        ("Channel-Resurrect-Time", times.resurrect),
        ("Channel-Bridged-Time", times.bridged),
        ("Channel-Last-Hold", times.last_hold),
        ("Channel-Hold-Accum", times.hold_accum),
    ] {
        out.put(prefix, name, Digits::new(value).as_str());
    }
    out.put(prefix, "Screen-Bit", "true");
    out.put(prefix, "Privacy-Hide-Name", "false");
    out.put(prefix, "Privacy-Hide-Number", "false");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name_in_any_case() {
        assert_eq!(Kind::mask("channel_park"), Some(Kind::ChannelPark.bit()));
        assert_eq!(Kind::mask("RECORD_START"), Some(0));
        assert_eq!(Kind::mask("NONSENSE"), None);
    }
}
