//! `sendmsg … execute`: an application run on a channel.

use std::fmt::Write as _;

use super::{BridgeTarget, Cause, CommandError, Digits, Name, Prompt, Uuid};

/// Play something and collect digits, as `play_and_get_digits` does it.
///
/// `variable` then holds the digits when they matched, `<variable>_invalid` when not. A fresh variable per question keeps an old
/// answer from being taken for a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetDigits {
    pub min: u8,
    pub max: u8,
    pub tries: u8,
    /// Time for the first key after the prompt has ended.
    pub timeout_ms: u32,
    /// Time for each further key.
    pub digit_timeout_ms: u32,
    pub terminators: Option<Digits>,
    pub prompt: Prompt,
    pub invalid: Prompt,
    pub variable: Name,
    /// The keys that are right when one key is asked for; `None` takes any digits.
    pub accept: Option<Digits>,
}

impl GetDigits {
    fn check(&self) -> Result<(), CommandError> {
        let range = |what, value: u64, min, max| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(CommandError::Range { what, min, max }) }
        };
        range("max digits", self.max.into(), 1, 32)?;
        range("min digits", self.min.into(), 1, self.max.into())?;
        range("tries", self.tries.into(), 1, 16)?;
        range("timeout in ms", self.timeout_ms.into(), 100, 120_000)?;
        range("inter-digit timeout in ms", self.digit_timeout_ms.into(), 100, 120_000)?;
        if self.accept.is_some() && self.max != 1 {
            return Err(CommandError::Form {
                what: "accepted keys",
                expected: "only where exactly one key is asked for",
            });
        }
        Ok(())
    }

    fn argument(&self) -> String {
        let terminators = self.terminators.as_ref().map_or("none", Digits::as_str);
        let pattern = self.accept.as_ref().map_or_else(|| "\\d+".to_owned(), |keys| format!("[{keys}]"));
        format!(
            "{} {} {} {} {} {} {} {} {} {}",
            self.min,
            self.max,
            self.tries,
            self.timeout_ms,
            terminators,
            self.prompt,
            self.invalid,
            self.variable,
            pattern,
            self.digit_timeout_ms
        )
    }
}

/// One application on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    uuid: Uuid,
    app: &'static str,
    argument: String,
    loops: u16,
    event_lock: bool,
    event_uuid: Option<Name>,
}

impl Execute {
    fn new(uuid: Uuid, app: &'static str, argument: String) -> Self {
        Self { uuid, app, argument, loops: 1, event_lock: true, event_uuid: None }
    }

    pub fn answer(uuid: Uuid) -> Self {
        Self::new(uuid, "answer", String::new())
    }

    pub fn playback(uuid: Uuid, prompt: &Prompt) -> Self {
        Self::new(uuid, "playback", prompt.to_string())
    }

    pub fn get_digits(uuid: Uuid, digits: &GetDigits) -> Result<Self, CommandError> {
        digits.check()?;
        Ok(Self::new(uuid, "play_and_get_digits", digits.argument()))
    }

    pub fn bridge(uuid: Uuid, target: &BridgeTarget) -> Self {
        Self::new(uuid, "bridge", target.to_string())
    }

    pub fn hangup(uuid: Uuid, cause: &Cause) -> Self {
        Self::new(uuid, "hangup", cause.to_string())
    }

    pub fn park(uuid: Uuid) -> Self {
        Self::new(uuid, "park", String::new())
    }

    /// Sets a channel variable to a word.
    pub fn set(uuid: Uuid, variable: &Name, value: &Name) -> Self {
        Self::new(uuid, "set", format!("{variable}={value}"))
    }

    /// How often the application runs.
    pub fn loops(mut self, loops: u16) -> Self {
        self.loops = loops.max(1);
        self
    }

    /// With the lock (the default) the next application waits until this one has ended.
    pub fn event_lock(mut self, on: bool) -> Self {
        self.event_lock = on;
        self
    }

    /// Comes back as `Application-UUID` on the events of this run, so that an answer can be told from an older one.
    pub fn event_uuid(mut self, id: Name) -> Self {
        self.event_uuid = Some(id);
        self
    }

    pub fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    pub fn app(&self) -> &'static str {
        self.app
    }

    pub fn argument(&self) -> &str {
        &self.argument
    }

    pub(super) fn wire(&self) -> String {
        let mut wire = format!("sendmsg {}\ncall-command: execute\nexecute-app-name: {}\n", self.uuid, self.app);
        // Writing into a String cannot fail.
        let _ = writeln!(wire, "execute-app-arg: {}", self.argument);
        if self.loops > 1 {
            let _ = writeln!(wire, "loops: {}", self.loops);
        }
        if self.event_lock {
            wire.push_str("event-lock: true\n");
        }
        if let Some(id) = &self.event_uuid {
            let _ = writeln!(wire, "Event-UUID: {id}");
        }
        wire.push('\n');
        wire
    }
}
