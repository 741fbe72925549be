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

const SPACES: u64 = 0x2020_2020_2020_2020;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const COLONS: u64 = 0x3a3a_3a3a_3a3a_3a3a;

/// Up to eight bytes of a lower-case name from `from` on, as one number.
const fn word(text: &[u8], from: usize) -> u64 {
    let (mut value, mut at) = (0, 0);
    while at < 8 && from + at < text.len() {
        value |= (text[from + at] as u64) << (8 * at);
        at += 1;
    }
    value
}

#[inline]
fn load(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|eight| u64::from_le_bytes(*eight))
}

/// The first and the last eight letters of a longer name and its length, mixed into one number to look it up by.
const fn mix(first: u64, last: u64, length: usize) -> u64 {
    first ^ last.rotate_left(29) ^ length as u64
}

impl Name {
    #[must_use]
    pub fn of(label: &[u8]) -> Name {
        Name::at(label, 0, label.len())
    }

    /// Where the colon stands that ends the name of the header at `begin..end`. Names are short, so eight bytes at a time
    /// are compared inside one word.
    #[inline]
    pub(crate) fn colon(bytes: &[u8], begin: usize, end: usize) -> Option<usize> {
        let mut at = begin;
        while at < end {
            let Some(eight) = load(bytes, at) else {
                return bytes[at..end].iter().position(|&b| b == b':').map(|found| at + found);
            };
            let x = eight ^ COLONS;
            let hits = x.wrapping_sub(ONES) & !x & HIGHS;
            if hits != 0 {
                let colon = at + hits.trailing_zeros() as usize / 8;
                return (colon < end).then_some(colon);
            }
            at += 8;
        }
        None
    }

    /// The name at `begin..end`. Compares words with bit 5 set everywhere, which folds letters to lower case; no other byte of
    /// a token becomes a letter or a hyphen by that, and CR, which would become a hyphen, never stands in a name.
    #[inline]
    pub(crate) fn at(bytes: &[u8], begin: usize, end: usize) -> Name {
        let length = end - begin;
        let Some(first) = load(bytes, begin).filter(|_| length > 0) else {
            return Name::near_the_end(&bytes[begin..end]);
        };
        match length {
            0 => Name::Other,
            1 => Name::compact(bytes[begin] | 0x20),
            2..=7 => Name::short((first | SPACES) & ((1 << (8 * length)) - 1)),
            8 => Name::short(first | SPACES),
            9..=19 => match load(bytes, end - 8) {
                Some(last) => Name::long(&bytes[begin..end], first | SPACES, last | SPACES),
                None => Name::Other,
            },
            _ => Name::Other,
        }
    }

    #[cold]
    fn near_the_end(label: &[u8]) -> Name {
        match label {
            [] => Name::Other,
            [letter] => Name::compact(letter | 0x20),
            _ => {
                let mut eight = [0; 8];
                eight[..label.len()].copy_from_slice(label);
                Name::short((u64::from_le_bytes(eight) | SPACES) & ((1 << (8 * label.len())) - 1))
            }
        }
    }

    #[inline]
    fn short(word_of_label: u64) -> Name {
        macro_rules! find {
            ($($text:literal => $name:ident),+ $(,)?) => {{
                #[expect(non_upper_case_globals, reason = "each constant is called like the name that it stands for")]
                mod words {
                    $(pub(super) const $name: u64 = super::word($text, 0);)+
                }
                match word_of_label {
                    $(words::$name => Name::$name,)+
                    _ => Name::Other,
                }
            }};
        }
        find! {
            b"via" => Via,
            b"from" => From,
            b"to" => To,
            b"call-id" => CallId,
            b"cseq" => CSeq,
            b"contact" => Contact,
            b"route" => Route,
            b"require" => Require,
            b"allow" => Allow,
            b"server" => Server,
            b"expires" => Expires,
            b"min-se" => MinSe,
            b"refer-to" => ReferTo,
            b"replaces" => Replaces,
            b"reason" => Reason,
            b"warning" => Warning,
            b"privacy" => Privacy,
            b"identity" => Identity,
            b"rseq" => RSeq,
            b"rack" => RAck,
            b"event" => Event,
            b"path" => Path,
            b"subject" => Subject,
        }
    }

    #[inline]
    fn long(label: &[u8], first: u64, last: u64) -> Name {
        macro_rules! find {
            ($($text:literal => $name:ident),+ $(,)?) => {{
                #[expect(non_upper_case_globals, reason = "each constant is called like the name that it stands for")]
                mod mixes {
                    $(pub(super) const $name: u64 =
                        super::mix(super::word($text, 0), super::word($text, $text.len() - 8), $text.len());)+
                }
                match mix(first, last, label.len()) {
                    // Two words cover sixteen letters; the few longer names have a third between them.
                    $(mixes::$name
                        if label.len() == $text.len()
                            && first == const { word($text, 0) }
                            && last == const { word($text, $text.len() - 8) }
                            && (label.len() <= 16 || load(label, 8).map(|w| w | SPACES) == const { Some(word($text, 8)) }) =>
                    {
                        Name::$name
                    })+
                    _ => Name::Other,
                }
            }};
        }
        find! {
            b"max-forwards" => MaxForwards,
            b"content-length" => ContentLength,
            b"content-type" => ContentType,
            b"record-route" => RecordRoute,
            b"proxy-require" => ProxyRequire,
            b"supported" => Supported,
            b"user-agent" => UserAgent,
            b"session-expires" => SessionExpires,
            b"referred-by" => ReferredBy,
            b"retry-after" => RetryAfter,
            b"remote-party-id" => RemotePartyId,
            b"diversion" => Diversion,
            b"history-info" => HistoryInfo,
            b"authorization" => Authorization,
            b"www-authenticate" => WwwAuthenticate,
            b"p-asserted-identity" => PAssertedIdentity,
            b"proxy-authorization" => ProxyAuthorization,
            b"proxy-authenticate" => ProxyAuthenticate,
        }
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

    /// Headers that an answer takes over from its request.
    pub(crate) fn is_copied_to_answers(self) -> bool {
        matches!(self, Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq)
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
