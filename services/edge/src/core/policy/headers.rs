//! Which headers go to a trunk and come from it.
//!
//! What SIP needs for its own working is out of reach of any setting: a proxy that drops a Route or a Require breaks calls in
//! ways that nobody finds. The platform's own headers are not a matter of settings either: they are left out in every outward
//! direction before this is asked.

use sip::{Message, Name};

use super::Direction;
use super::splice::Edits;
use crate::config::policy::HeaderConfig;

/// Needed names that `sip` has no name of its own for.
const NEEDED: &[&str] = &[
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Allow-Events",
    "Authentication-Info",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Date",
    "Error-Info",
    "In-Reply-To",
    "Join",
    "Max-Breadth",
    "MIME-Version",
    "Min-Expires",
    "Proxy-Authentication-Info",
    "Service-Route",
    "SIP-ETag",
    "SIP-If-Match",
    "Subscription-State",
    "Target-Dialog",
    "Timestamp",
    "Unsupported",
];

/// Whether SIP itself needs the header: it passes whatever lists say.
#[must_use]
pub fn is_needed(label: &[u8]) -> bool {
    match Name::of(label) {
        Name::UserAgent
        | Name::Server
        | Name::Warning
        | Name::PAssertedIdentity
        | Name::RemotePartyId
        | Name::Privacy
        | Name::Diversion
        | Name::HistoryInfo
        | Name::Identity
        | Name::Subject
        | Name::ReferredBy
        | Name::Reason => false,
        Name::Other => NEEDED.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(label)),
        _ => true,
    }
}

#[derive(Clone, Debug)]
struct Pattern {
    text: Vec<u8>,
    /// The compact form is the same header.
    name: Name,
    is_prefix: bool,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let word = text.strip_suffix('*').unwrap_or(text);
        Pattern { text: word.as_bytes().to_vec(), name: Name::of(word.as_bytes()), is_prefix: word.len() < text.len() }
    }

    fn fits(&self, name: Name, label: &[u8]) -> bool {
        if self.is_prefix {
            return label.len() >= self.text.len() && label[..self.text.len()].eq_ignore_ascii_case(&self.text);
        }
        if self.name == Name::Other { label.eq_ignore_ascii_case(&self.text) } else { name == self.name }
    }
}

#[derive(Clone, Debug, Default)]
struct Lists {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

impl Lists {
    fn new(allow: &[String], deny: &[String]) -> Lists {
        let read = |list: &[String]| list.iter().map(|n| Pattern::new(n)).collect();
        Lists { allow: read(allow), deny: read(deny) }
    }

    fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    fn lets(&self, name: Name, label: &[u8]) -> bool {
        if is_needed(label) {
            return true;
        }
        let fits = |list: &[Pattern]| list.iter().any(|p| p.fits(name, label));
        !fits(&self.deny) && (self.allow.is_empty() || fits(&self.allow))
    }
}

#[derive(Clone, Debug)]
pub struct Headers {
    to_trunk: Lists,
    from_trunk: Lists,
}

impl Headers {
    #[must_use]
    pub fn new(config: &HeaderConfig) -> Headers {
        Headers {
            to_trunk: Lists::new(&config.allow_to_trunk, &config.deny_to_trunk),
            from_trunk: Lists::new(&config.allow_from_trunk, &config.deny_from_trunk),
        }
    }

    #[must_use]
    pub fn is_idle(&self, direction: Direction) -> bool {
        self.lists(direction).is_empty()
    }

    fn lists(&self, direction: Direction) -> &Lists {
        match direction {
            Direction::ToTrunk => &self.to_trunk,
            Direction::FromTrunk => &self.from_trunk,
        }
    }

    /// Takes out what may not pass; gives the names for the event.
    pub fn edit(&self, direction: Direction, m: &Message<'_>, ours: &str, edits: &mut Edits) -> Option<String> {
        let lists = self.lists(direction);
        let mut gone: Vec<String> = Vec::new();
        for header in m.headers() {
            let label = header.label.of(m.bytes());
            // Our own signed header was put there by ourselves, for the node alone.
            if lists.lets(header.name, label) || label.eq_ignore_ascii_case(ours.as_bytes()) {
                continue;
            }
            edits.remove(header.line);
            let name = String::from_utf8_lossy(label).into_owned();
            if gone.len() < 16 && !gone.contains(&name) {
                gone.push(name);
            }
        }
        (!gone.is_empty()).then(|| format!("without {}", gone.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    const TEXT: &str = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nRequire: 100rel\r\nX-Internal-Id: 7\r\nX-Account: 9\r\ns: hello\r\nP-Asserted-Identity: <sip:a@b>\r\nUser-Agent: fs\r\nX-Trunkline-Call: ours\r\nl: 0\r\n\r\n";

    fn passes(config: HeaderConfig, direction: Direction) -> (String, Option<String>) {
        let mut index = Index::new();
        let m = index.parse(TEXT.as_bytes()).unwrap();
        let mut edits = Edits::default();
        let effect = Headers::new(&config).edit(direction, &m, "x-trunkline-call", &mut edits);
        (String::from_utf8(edits.apply(TEXT.as_bytes())).unwrap(), effect)
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn denied_headers_go_in_any_form_and_case_and_the_others_stay() {
        let config =
            HeaderConfig { deny_to_trunk: list(&["x-internal-*", "Subject", "USER-AGENT"]), ..HeaderConfig::default() };
        let (text, effect) = passes(config.clone(), Direction::ToTrunk);
        let want =
            TEXT.replace("X-Internal-Id: 7\r\n", "").replace("s: hello\r\n", "").replace("User-Agent: fs\r\n", "");
        assert_eq!(text, want);
        assert_eq!(effect.as_deref(), Some("without X-Internal-Id, s, User-Agent"));
        assert_eq!(passes(config, Direction::FromTrunk), (TEXT.to_owned(), None));
    }

    #[test]
    fn an_allow_list_never_takes_what_sip_needs_and_not_our_own_header() {
        let config = HeaderConfig { allow_from_trunk: list(&["X-Account"]), ..HeaderConfig::default() };
        let (text, _) = passes(config, Direction::FromTrunk);
        for kept in ["Via", "Require: 100rel", "X-Account", "X-Trunkline-Call", "l: 0", "CSeq"] {
            assert!(text.contains(kept), "{kept}");
        }
        for gone in ["X-Internal-Id", "s: hello", "P-Asserted", "User-Agent"] {
            assert!(!text.contains(gone), "{gone}");
        }
    }

    #[test]
    fn a_denial_of_what_sip_needs_does_nothing() {
        let all = list(&["Via", "v", "From", "Require", "C*", "*"]);
        let config = HeaderConfig { deny_to_trunk: all, ..HeaderConfig::default() };
        let (text, _) = passes(config, Direction::ToTrunk);
        assert!(Index::new().parse(text.as_bytes()).is_ok());
        assert!(text.contains("Require: 100rel"));
    }
}
