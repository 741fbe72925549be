//! What we may say to a switch.
//!
//! The rule that everything here serves: no string that came from a SIP message, a menu file or an API reaches the wire unchecked.
//! There is no constructor that takes a line of text. Each argument has a type that lists the characters it may consist of (a line
//! break, a control character or a space where it would split an argument can never be among them), and only the applications and
//! API calls named here can be expressed at all: `system`, `lua`, `originate` with a free dial string and the like cannot.
//!
//! Each command also knows how it is answered, so a connection can pair replies with commands by their order.

use std::fmt;

mod checked;
mod execute;

pub use checked::{BridgeTarget, Cause, Digits, Event, HeaderName, HeaderValue, Name, Number, Prompt, Uuid};
pub use execute::{Execute, GetDigits};

/// An argument that may not go on the wire. Ours to fix (a menu, a setting, a caller's odd input): nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("{what} may not be empty")]
    Empty { what: &'static str },
    #[error("{what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    /// The offending text is not repeated: it may be a secret, a number, or an attack on whoever reads the log.
    #[error("{what} has a character that is not allowed there, at byte {at}")]
    Charset { what: &'static str, at: usize },
    #[error("{what} is not of the expected form: {expected}")]
    Form { what: &'static str, expected: &'static str },
    #[error("{what} must be between {min} and {max}")]
    Range { what: &'static str, min: u64, max: u64 },
}

/// Which frame answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    CommandReply,
    ApiResponse,
}

/// Plain or JSON events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    Plain,
    Json,
}

/// One command, ready to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    wire: String,
    answered_by: AnsweredBy,
    secret: bool,
}

impl Command {
    fn plain(wire: String) -> Self {
        Self { wire, answered_by: AnsweredBy::CommandReply, secret: false }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.wire.as_bytes()
    }

    pub fn answered_by(&self) -> AnsweredBy {
        self.answered_by
    }

    /// `auth`: a password of printable ASCII without spaces.
    pub fn auth(password: &str) -> Result<Self, CommandError> {
        checked::graphic("password", password, 256)?;
        Ok(Self { secret: true, ..Self::plain(format!("auth {password}\n\n")) })
    }

    /// Subscribes to events; custom ones by their subclass.
    pub fn events(format: EventFormat, events: &[Event]) -> Result<Self, CommandError> {
        if events.is_empty() {
            return Err(CommandError::Empty { what: "event list" });
        }
        let format = match format {
            EventFormat::Plain => "plain",
            EventFormat::Json => "json",
        };
        let mut wire = format!("event {format}");
        for name in events.iter().filter(|e| !e.is_custom()) {
            wire.push(' ');
            wire.push_str(name.as_str());
        }
        let custom: Vec<&str> = events.iter().filter(|e| e.is_custom()).map(Event::as_str).collect();
        if !custom.is_empty() {
            // Everything behind the word CUSTOM is a subclass, so it comes last and once.
            wire.push_str(" CUSTOM ");
            wire.push_str(&custom.join(" "));
        }
        wire.push_str("\n\n");
        Ok(Self::plain(wire))
    }

    /// Lets only events pass of which a header has this value (several filters: any of them).
    pub fn filter(header: &HeaderName, value: &HeaderValue) -> Self {
        Self::plain(format!("filter {} {}\n\n", header.as_str(), value.as_str()))
    }

    pub fn no_events() -> Self {
        Self::plain("noevents\n\n".into())
    }

    pub fn exit() -> Self {
        Self::plain("exit\n\n".into())
    }

    /// An API call, answered when it is done. It holds up every later command of the connection while it runs.
    pub fn api(call: &Api) -> Self {
        Self { answered_by: AnsweredBy::ApiResponse, ..Self::plain(format!("api {call}\n\n")) }
    }

    /// An API call in the background; the result comes as a `BACKGROUND_JOB` event.
    pub fn bgapi(call: &Api) -> Self {
        Self::plain(format!("bgapi {call}\n\n"))
    }

    /// Runs an application on a channel.
    pub fn execute(execute: &Execute) -> Self {
        Self::plain(execute.wire())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.secret { "auth ***" } else { self.wire.trim_end() };
        f.debug_struct("Command").field("wire", &shown).finish()
    }
}

/// The API calls that we use. `Display` is their wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    Status,
    ShowChannels,
    Answer(Uuid),
    Exists(Uuid),
    Kill(Uuid, Cause),
    /// To an extension of a dialplan context.
    Transfer {
        uuid: Uuid,
        destination: Number,
        context: Name,
    },
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::ShowChannels => f.write_str("show channels as json"),
            Self::Answer(uuid) => write!(f, "uuid_answer {uuid}"),
            Self::Exists(uuid) => write!(f, "uuid_exists {uuid}"),
            Self::Kill(uuid, cause) => write!(f, "uuid_kill {uuid} {cause}"),
            Self::Transfer { uuid, destination, context } => {
                write!(f, "uuid_transfer {uuid} {destination} XML {context}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
