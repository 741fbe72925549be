//! Signs of a scanner in a new call: evidence for the event, and never a reason to refuse anything. Whoever scans writes what it
//! likes into these fields, and so does an honest phone.

use sip::{Message, Name, Uri};

/// As the tools call themselves, in lower case.
const AGENTS: [&[u8]; 8] =
    [b"friendly-scanner", b"sipvicious", b"sipcli", b"sipsak", b"sundayddr", b"vaxsip", b"pplsip", b"simplesip"];
const USERS: [&[u8]; 7] = [b"100", b"test", b"admin", b"trunk", b"user", b"nm", b"voipgw"];

/// 0 (none) to 1.
#[must_use]
pub fn score(m: &Message<'_>) -> f64 {
    let from = m.from();
    let uri = Uri::parse(from.uri).ok();
    let signs = [
        (0.6, m.header(Name::UserAgent).is_some_and(names_a_tool)),
        (0.6, names_a_tool(from.display)),
        (0.3, uri.is_some_and(|u| u.host == b"1.1.1.1")),
        (0.1, uri.and_then(|u| u.user).is_some_and(|user| USERS.contains(&user))),
        (0.2, !m.branch().starts_with(b"z9hG4bK")),
    ];
    signs.into_iter().filter(|(_, found)| *found).map(|(weight, _)| weight).sum::<f64>().min(1.0)
}

fn names_a_tool(text: &[u8]) -> bool {
    let text = &text[..text.len().min(64)];
    AGENTS.iter().any(|name| text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn of(agent: &str, from: &str, branch: &str) -> f64 {
        let text = format!(
            "INVITE sip:1@e SIP/2.0\r\nVia: SIP/2.0/UDP a;branch={branch}\r\nFrom: {from};tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nUser-Agent: {agent}\r\n\r\n"
        );
        score(&Index::new().parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn tools_that_name_themselves_score_and_phones_do_not() {
        assert_eq!(of("Yealink T46", "<sip:+4930@e>", "z9hG4bK1"), 0.0);
        assert!(of("Friendly-Scanner", "\"sipvicious\"<sip:100@1.1.1.1>", "z9hG4bK1") > 0.99);
        assert!(of("sipcli/v1.8", "<sip:+4930@e>", "z9hG4bK1") > 0.5);
        assert!((0.29..0.31).contains(&of("phone", "<sip:100@e>", "old")));
    }
}
