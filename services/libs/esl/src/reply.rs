//! Replies: what a command or an API call was answered.

use std::borrow::Cow;

use crate::frame::{Frame, Kind};

/// The answer to a command (`command/reply`) or to an API call (`api/response`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK …`: the rest of the line.
    Ok(String),
    /// `-ERR …` (or `-USAGE …`): the rest of the line.
    Failed(String),
    /// An API call's output that begins with neither, like a listing.
    Text(String),
}

impl Reply {
    /// `None` when the frame is no reply.
    pub fn read(frame: &Frame) -> Option<Self> {
        let text = match frame.kind() {
            Kind::CommandReply => String::from_utf8_lossy(frame.header("Reply-Text").unwrap_or_default()),
            Kind::ApiResponse => String::from_utf8_lossy(frame.body()),
            _ => return None,
        };
        Some(Self::of(text))
    }

    fn of(text: Cow<'_, str>) -> Self {
        let line = text.trim_end();
        if let Some(rest) = line.strip_prefix("+OK") {
            return Self::Ok(rest.trim_start().to_owned());
        }
        for failure in ["-ERR", "-USAGE:", "-USAGE"] {
            if let Some(rest) = line.strip_prefix(failure) {
                return Self::Failed(rest.trim_start().to_owned());
            }
        }
        Self::Text(text.into_owned())
    }

    pub fn is_ok(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// The job that a `bgapi` command was given; its result comes as a `BACKGROUND_JOB` event with the same id.
pub fn job_uuid(frame: &Frame) -> Option<&str> {
    std::str::from_utf8(frame.header("Job-UUID")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Framer, Limits};

    fn frame(text: &str) -> Frame {
        let mut framer = Framer::new(Limits::default());
        framer.push(text.as_bytes());
        framer.next().expect("well formed").expect("complete")
    }

    #[test]
    fn replies_say_what_was_answered() {
        let refused = frame("Content-Type: command/reply\nReply-Text: -ERR invalid\n\n");
        assert_eq!(Reply::read(&refused), Some(Reply::Failed("invalid".into())));
        let job = frame("Content-Type: command/reply\nReply-Text: +OK Job-UUID: 7a6c\nJob-UUID: 7a6c\n\n");
        assert!(Reply::read(&job).is_some_and(|r| r.is_ok()));
        assert_eq!(job_uuid(&job), Some("7a6c"));
        let api = frame("Content-Type: api/response\nContent-Length: 17\n\n{\"row_count\":0}\n\n");
        assert_eq!(Reply::read(&api), Some(Reply::Text("{\"row_count\":0}\n\n".into())));
        assert_eq!(Reply::read(&frame("Content-Type: auth/request\n\n")), None);
    }
}
