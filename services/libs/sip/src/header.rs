//! Header names: long, compact and in any case, as one small number.

/// A header that the proxy reads or edits. Everything else is [`Name::Other`] and passes byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    ContentLength,
    ContentType,
    Contact,
    Route,
    RecordRoute,
    Require,
    ProxyRequire,
    Supported,
    Allow,
    UserAgent,
    Server,
    Expires,
    SessionExpires,
    MinSe,
    ReferTo,
    ReferredBy,
    Replaces,
    Reason,
    Warning,
    RetryAfter,
    PAssertedIdentity,
    RemotePartyId,
    Privacy,
    Diversion,
    HistoryInfo,
    Identity,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    RSeq,
    RAck,
    Event,
    Path,
    Subject,
    Other,
}

pub(crate) const KNOWN: usize = Name::Other as usize;

impl Name {
    /// Looks at length and first letter first, so that an unknown header costs no comparison at all.
    #[must_use]
    pub fn of(label: &[u8]) -> Name {
        let Some(&first) = label.first() else { return Name::Other };
        let (name, text): (Name, &[u8]) = match (label.len(), first | 0x20) {
            (1, c) => return Name::compact(c),
            (2, b't') => (Name::To, b"to"),
            (3, b'v') => (Name::Via, b"via"),
            (4, b'f') => (Name::From, b"from"),
            (4, b'c') => (Name::CSeq, b"cseq"),
            (4, b'r') if label[1] | 0x20 == b's' => (Name::RSeq, b"rseq"),
            (4, b'r') => (Name::RAck, b"rack"),
            (4, b'p') => (Name::Path, b"path"),
            (5, b'r') => (Name::Route, b"route"),
            (5, b'a') => (Name::Allow, b"allow"),
            (5, b'e') => (Name::Event, b"event"),
            (6, b'r') => (Name::Reason, b"reason"),
            (6, b's') => (Name::Server, b"server"),
            (6, b'm') => (Name::MinSe, b"min-se"),
            (7, b'c') if label[1] | 0x20 == b'a' => (Name::CallId, b"call-id"),
            (7, b'c') => (Name::Contact, b"contact"),
            (7, b'r') => (Name::Require, b"require"),
            (7, b'e') => (Name::Expires, b"expires"),
            (7, b'w') => (Name::Warning, b"warning"),
            (7, b'p') => (Name::Privacy, b"privacy"),
            (7, b's') => (Name::Subject, b"subject"),
            (8, b'r') if label[2] | 0x20 == b'f' => (Name::ReferTo, b"refer-to"),
            (8, b'r') => (Name::Replaces, b"replaces"),
            (8, b'i') => (Name::Identity, b"identity"),
            (9, b's') => (Name::Supported, b"supported"),
            (9, b'd') => (Name::Diversion, b"diversion"),
            (10, b'u') => (Name::UserAgent, b"user-agent"),
            (11, b'r') if label[2] | 0x20 == b't' => (Name::RetryAfter, b"retry-after"),
            (11, b'r') => (Name::ReferredBy, b"referred-by"),
            (12, b'm') => (Name::MaxForwards, b"max-forwards"),
            (12, b'c') => (Name::ContentType, b"content-type"),
            (12, b'r') => (Name::RecordRoute, b"record-route"),
            (12, b'h') => (Name::HistoryInfo, b"history-info"),
            (13, b'p') => (Name::ProxyRequire, b"proxy-require"),
            (13, b'a') => (Name::Authorization, b"authorization"),
            (14, b'c') => (Name::ContentLength, b"content-length"),
            (15, b's') => (Name::SessionExpires, b"session-expires"),
            (15, b'r') => (Name::RemotePartyId, b"remote-party-id"),
            (16, b'w') => (Name::WwwAuthenticate, b"www-authenticate"),
            (18, b'p') => (Name::ProxyAuthenticate, b"proxy-authenticate"),
            (19, b'p') if label[1] == b'-' => (Name::PAssertedIdentity, b"p-asserted-identity"),
            (19, b'p') => (Name::ProxyAuthorization, b"proxy-authorization"),
            _ => return Name::Other,
        };
        if label.eq_ignore_ascii_case(text) { name } else { Name::Other }
    }

    fn compact(letter: u8) -> Name {
        match letter {
            b'v' => Name::Via,
            b'f' => Name::From,
            b't' => Name::To,
            b'i' => Name::CallId,
            b'l' => Name::ContentLength,
            b'c' => Name::ContentType,
            b'm' => Name::Contact,
            b'k' => Name::Supported,
            b's' => Name::Subject,
            b'r' => Name::ReferTo,
            b'b' => Name::ReferredBy,
            b'x' => Name::SessionExpires,
            b'o' => Name::Event,
            b'y' => Name::Identity,
            _ => Name::Other,
        }
    }

    /// Headers of which a second one makes the message ambiguous.
    pub(crate) fn is_single(self) -> bool {
        matches!(
            self,
            Name::From
                | Name::To
                | Name::CallId
                | Name::CSeq
                | Name::MaxForwards
                | Name::ContentLength
                | Name::ContentType
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_a_near_miss_is_not() {
        let names: [(&str, Name); 42] = [
            ("Via", Name::Via),
            ("From", Name::From),
            ("To", Name::To),
            ("Call-ID", Name::CallId),
            ("CSeq", Name::CSeq),
            ("Max-Forwards", Name::MaxForwards),
            ("Content-Length", Name::ContentLength),
            ("Content-Type", Name::ContentType),
            ("Contact", Name::Contact),
            ("Route", Name::Route),
            ("Record-Route", Name::RecordRoute),
            ("Require", Name::Require),
            ("Proxy-Require", Name::ProxyRequire),
            ("Supported", Name::Supported),
            ("Allow", Name::Allow),
            ("User-Agent", Name::UserAgent),
            ("Server", Name::Server),
            ("Expires", Name::Expires),
            ("Session-Expires", Name::SessionExpires),
            ("Min-SE", Name::MinSe),
            ("Refer-To", Name::ReferTo),
            ("Referred-By", Name::ReferredBy),
            ("Replaces", Name::Replaces),
            ("Reason", Name::Reason),
            ("Warning", Name::Warning),
            ("Retry-After", Name::RetryAfter),
            ("P-Asserted-Identity", Name::PAssertedIdentity),
            ("Remote-Party-ID", Name::RemotePartyId),
            ("Privacy", Name::Privacy),
            ("Diversion", Name::Diversion),
            ("History-Info", Name::HistoryInfo),
            ("Identity", Name::Identity),
            ("Authorization", Name::Authorization),
            ("Proxy-Authorization", Name::ProxyAuthorization),
            ("WWW-Authenticate", Name::WwwAuthenticate),
            ("Proxy-Authenticate", Name::ProxyAuthenticate),
            ("RSeq", Name::RSeq),
            ("RAck", Name::RAck),
            ("Event", Name::Event),
            ("Path", Name::Path),
            ("Subject", Name::Subject),
            ("X-Unknown", Name::Other),
        ];
        for (text, name) in names {
            assert_eq!(Name::of(text.as_bytes()), name, "{text}");
            assert_eq!(Name::of(text.to_uppercase().as_bytes()), name, "{text}");
            assert_eq!(Name::of(text.to_lowercase().as_bytes()), name, "{text}");
            let near = format!("{}~", &text[..text.len() - 1]);
            assert_eq!(Name::of(near.as_bytes()), Name::Other, "{near}");
        }
        assert_eq!(Name::of(b"v"), Name::Via);
        assert_eq!(Name::of(b"I"), Name::CallId);
        assert_eq!(Name::of(b""), Name::Other);
    }
}
