//! Which events a node is asked for, and that only those are taken.

use esl::command::{Command, EventFormat};
use esl::{Event, fields as f};

/// The subscription of `facts` §4.2 without the noisy `CHANNEL_STATE`; `CHANNEL_CALLSTATE` says what matters of it.
pub(crate) const EVENTS: [&str; 39] = [
    "CHANNEL_CREATE",
    "CHANNEL_CALLSTATE",
    "CHANNEL_PROGRESS",
    "CHANNEL_PROGRESS_MEDIA",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_PARK",
    "CHANNEL_UNPARK",
    "CHANNEL_ORIGINATE",
    "CHANNEL_OUTGOING",
    "CHANNEL_UUID",
    "CHANNEL_EXECUTE",
    "CHANNEL_EXECUTE_COMPLETE",
    "CHANNEL_APPLICATION",
    "CHANNEL_HANGUP",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_DESTROY",
    "CALL_UPDATE",
    "DTMF",
    "PLAYBACK_START",
    "PLAYBACK_STOP",
    "RECORD_START",
    "RECORD_STOP",
    "DETECTED_TONE",
    "DETECTED_SPEECH",
    "HEARTBEAT",
    "SESSION_HEARTBEAT",
    "RECV_RTCP_MESSAGE",
    "BACKGROUND_JOB",
    "MODULE_LOAD",
    "SHUTDOWN",
    "sofia::register",
    "sofia::gateway_state",
    "sofia::expire",
    "callcenter::info",
    "conference::maintenance",
];

pub(crate) fn asked_for(name: &str, event: &Event<'_>) -> bool {
    let name = if name == "CUSTOM" { event.get(f::EVENT_SUBCLASS).unwrap_or_default() } else { name.into() };
    EVENTS.contains(&name.as_ref())
}

/// What to subscribe to, as a command.
pub(crate) fn subscription() -> Command {
    let events: Vec<esl::command::Event> = EVENTS
        .iter()
        .map(|name| esl::command::Event::new(name).expect("the names in this file are well formed"))
        .collect();
    Command::events(EventFormat::Plain, &events).expect("the list is not empty")
}
