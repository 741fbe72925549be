//! Which methods a trunk may use. What a call that stands needs for its own working is never taken away: ACK, BYE, CANCEL, PRACK,
//! UPDATE, and INVITE inside its dialog.

use sip::Method;

const LISTED: [Method; 9] = [
    Method::Invite,
    Method::Options,
    Method::Register,
    Method::Info,
    Method::Refer,
    Method::Message,
    Method::Subscribe,
    Method::Notify,
    Method::Publish,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods {
    denied: u16,
    /// The value of an Allow header.
    pub allow: String,
}

impl Methods {
    /// By their names; an empty list allows all.
    #[must_use]
    pub fn of(names: &[String]) -> Methods {
        let is_in = |m: &Method| names.is_empty() || names.iter().any(|n| n == m.as_str());
        let denied = LISTED.iter().filter(|m| !is_in(m)).fold(0, |bits, m| bits | 1 << *m as u16);
        let mut allow = "ACK, BYE, CANCEL, PRACK, UPDATE".to_owned();
        LISTED.iter().filter(|m| is_in(m)).for_each(|m| allow.extend([", ", m.as_str()]));
        Methods { denied, allow }
    }

    #[must_use]
    pub fn allows(&self, method: Method) -> bool {
        self.denied & 1 << method as u16 == 0
    }

    /// Whether that name can stand in a list.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        LISTED.iter().any(|m| m.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_away_what_it_does_not_name_and_never_what_a_call_needs() {
        let all = Methods::of(&[]);
        let few = Methods::of(&["INVITE".to_owned(), "OPTIONS".to_owned()]);
        for method in
            [Method::Ack, Method::Bye, Method::Cancel, Method::Prack, Method::Update, Method::Invite, Method::Options]
        {
            assert!(all.allows(method) && few.allows(method), "{method:?}");
        }
        for method in [Method::Register, Method::Message, Method::Refer, Method::Info, Method::Publish] {
            assert!(all.allows(method) && !few.allows(method), "{method:?}");
        }
        assert_eq!(few.allow, "ACK, BYE, CANCEL, PRACK, UPDATE, INVITE, OPTIONS");
        assert!(Methods::is_known("REFER") && !Methods::is_known("BYE") && !Methods::is_known("FOO"));
    }
}
