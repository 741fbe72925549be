//! Why a message is not forwarded, and the answer that the reason deserves.

use crate::header::Name;

/// A message that another parser might read differently, or that a proxy could not forward safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    #[error("only line ends: a keep-alive")]
    KeepAlive,
    #[error("too short to be SIP")]
    TooShort,
    #[error("larger than the limit")]
    TooLarge,
    #[error("the start line is not SIP")]
    StartLine,
    #[error("a NUL or control byte in the start line")]
    ControlInStartLine,
    #[error("not SIP/2.0")]
    Version,
    #[error("a status outside 100 to 699")]
    Status,
    #[error("a line end that is not CRLF")]
    BareLineEnd,
    #[error("a control byte in a header")]
    ControlByte,
    #[error("a header line without a name")]
    HeaderName,
    #[error("too many headers")]
    TooManyHeaders,
    #[error("one header is larger than the limit")]
    HeaderTooLarge,
    #[error("the headers are larger than the limit")]
    HeadTooLarge,
    #[error("the request URI is longer than the limit")]
    UriTooLong,
    #[error("no empty line after the headers")]
    Unterminated,
    #[error("mandatory header missing: {0:?}")]
    Missing(Name),
    #[error("header stands twice: {0:?}")]
    Duplicate(Name),
    #[error("header cannot be read: {0:?}")]
    Malformed(Name),
    #[error("the start line and CSeq name different methods")]
    MethodMismatch,
    #[error("an unknown method, and CSeq names another")]
    UnknownMethod,
    #[error("no Content-Length on a stream")]
    NoContentLength,
    #[error("Content-Length is larger than the message")]
    ContentLength,
    #[error("the request URI cannot be read")]
    RequestUri,
}

impl Reject {
    /// The status for a request that had at least its Via; `None` when silence is the only safe answer.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Reject::KeepAlive | Reject::TooShort | Reject::Status => None,
            Reject::Version => Some(505),
            Reject::TooLarge | Reject::HeadTooLarge | Reject::HeaderTooLarge => Some(513),
            Reject::UriTooLong => Some(414),
            Reject::UnknownMethod => Some(501),
            Reject::Missing(Name::Via) | Reject::Malformed(Name::Via) => None,
            _ => Some(400),
        }
    }

    /// Whether it is uncertain where on a stream the next message begins, so that the connection must end.
    #[must_use]
    pub fn breaks_framing(self) -> bool {
        match self {
            Reject::StartLine
            | Reject::ControlInStartLine
            | Reject::BareLineEnd
            | Reject::ControlByte
            | Reject::HeaderName
            | Reject::TooLarge
            | Reject::TooManyHeaders
            | Reject::HeaderTooLarge
            | Reject::HeadTooLarge
            | Reject::NoContentLength
            | Reject::ContentLength
            | Reject::Unterminated
            | Reject::TooShort => true,
            Reject::Duplicate(name) | Reject::Malformed(name) => name == Name::ContentLength,
            _ => false,
        }
    }

    /// A short word for counters and events.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Reject::KeepAlive => "keep_alive",
            Reject::TooShort => "too_short",
            Reject::TooLarge => "too_large",
            Reject::StartLine => "start_line",
            Reject::ControlInStartLine => "control_in_start_line",
            Reject::Version => "version",
            Reject::Status => "status",
            Reject::BareLineEnd => "bare_line_end",
            Reject::ControlByte => "control_byte",
            Reject::HeaderName => "header_name",
            Reject::TooManyHeaders => "too_many_headers",
            Reject::Unterminated => "unterminated",
            Reject::Missing(_) => "missing_header",
            Reject::Duplicate(_) => "duplicate_header",
            Reject::Malformed(_) => "malformed_header",
            Reject::HeaderTooLarge => "header_too_large",
            Reject::HeadTooLarge => "head_too_large",
            Reject::UriTooLong => "uri_too_long",
            Reject::MethodMismatch | Reject::UnknownMethod => "method_mismatch",
            Reject::NoContentLength => "no_content_length",
            Reject::ContentLength => "content_length",
            Reject::RequestUri => "request_uri",
        }
    }
}
