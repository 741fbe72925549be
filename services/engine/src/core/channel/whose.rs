//! Whose call a channel belongs to.
//!
//! In this order (DESIGN §4): an inbound channel believes its own signed header. An outbound channel belongs to the channel that
//! dialled it (its other leg as originator, else the channel that its `Channel-Call-UUID` names); a header on it is only a copy and
//! is asked last. Whoever still has none and names itself gets an id made from its own creation, the same for every engine and every
//! restart. Only an event without channel variables can fail: it does not show whether there is a header.

use domain::identity::Keyring;
use domain::{CallId, LegId};
use esl::{Event, fields as f};

/// What decided, as `channel.events` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderState {
    Valid,
    Copied,
    Absent,
    Forged,
}

impl HeaderState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Copied => "copied",
            Self::Absent => "absent",
            Self::Forged => "forged",
        }
    }
}

/// The identity of a channel; kept for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub call: CallId,
    pub edge_leg: Option<LegId>,
    pub header: HeaderState,
    /// Nothing but the channel itself was known; a later event may name its A leg.
    pub by_itself: bool,
}

/// Looks at one event of a channel that is not known yet. `known` finds the identity of another channel.
pub(crate) fn resolve(event: &Event<'_>, keys: &Keyring, known: impl Fn(&str) -> Option<Identity>) -> Option<Identity> {
    let unique_id = event.get(f::UNIQUE_ID)?;
    let inbound = event.raw(f::CALL_DIRECTION) == Some(b"inbound");
    let full = event.raw("variable_uuid").is_some();
    let header = event.get(f::TRUNKLINE_CALL);
    let claim = header.as_deref().map(|value| keys.verify(value));

    if inbound {
        match claim {
            Some(Ok(claim)) => {
                let identity = Identity {
                    call: claim.call,
                    edge_leg: Some(claim.leg),
                    header: HeaderState::Valid,
                    by_itself: false,
                };
                return Some(identity);
            }
            None if !full => return parent(event, &unique_id, &known),
            _ => {}
        }
    }
    if let Some(parent) = parent(event, &unique_id, &known) {
        let header = if header.is_some() { HeaderState::Copied } else { HeaderState::Absent };
        return Some(Identity { header, ..parent });
    }
    if let (false, Some(Ok(copy))) = (inbound, claim) {
        let identity =
            Identity { call: copy.call, edge_leg: Some(copy.leg), header: HeaderState::Copied, by_itself: false };
        return Some(identity);
    }
    by_itself(event, &unique_id, if claim.is_some() { HeaderState::Forged } else { HeaderState::Absent })
}

/// The channel that dialled this one, or that it names as its call.
fn parent(event: &Event<'_>, unique_id: &str, known: &impl Fn(&str) -> Option<Identity>) -> Option<Identity> {
    let originator =
        (event.raw(f::OTHER_TYPE) == Some(b"originator")).then(|| event.get(f::OTHER_LEG_UNIQUE_ID)).flatten();
    [originator, event.get(f::ORIGINATOR), event.get(f::CHANNEL_CALL_UUID)]
        .into_iter()
        .flatten()
        .filter(|other| other != unique_id)
        .find_map(|other| known(&other))
        .map(|identity| Identity { by_itself: false, ..identity })
}

fn by_itself(event: &Event<'_>, unique_id: &str, header: HeaderState) -> Option<Identity> {
    let core = event.get(f::CORE_UUID)?;
    let created_us: i64 = event.number(f::TIME_CREATED).filter(|us| *us > 0)?;
    Some(Identity {
        call: CallId::for_channel(created_us / 1000, &core, unique_id),
        edge_leg: None,
        header,
        by_itself: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use esl::{Format, Index};

    const A: &str = "1923e4aa-0000-4000-8000-000000000001";
    const B: &str = "114d73bb-0000-4000-8000-000000000002";
    const CORE: &str = "a16d571c-8575-4042-b397-ef41778b2edf";

    fn keys() -> Keyring {
        Keyring::new(vec![("20261101".into(), vec![7; 32])]).expect("a key")
    }

    fn ask(lines: &str, known: impl Fn(&str) -> Option<Identity>) -> Option<Identity> {
        let text = format!(
            "Event-Name: CHANNEL_CREATE\nCore-UUID: {CORE}\nCaller-Channel-Created-Time: 1795226344811566\n{lines}\n"
        );
        let mut index = Index::new();
        resolve(&index.read(text.as_bytes(), Format::Plain).expect("an event"), &keys(), known)
    }

    fn other() -> Identity {
        let call = CallId::new(1_795_226_344_000_000, [1; 10]);
        let leg = LegId::edge(&call, "a@b", "tag", 1, 0);
        Identity { call, edge_leg: Some(leg), header: HeaderState::Valid, by_itself: false }
    }

    #[test]
    fn an_inbound_channel_believes_its_signed_header() {
        let (call, leg) = (other().call, other().edge_leg.expect("a leg"));
        let header = keys().sign(&call, &leg);
        let lines = format!(
            "Unique-ID: {A}\nCall-Direction: inbound\nvariable_uuid: {A}\nvariable_sip_h_X-Trunkline-Call: {header}\n"
        );
        let identity = ask(&lines, |_| None).expect("an identity");
        assert_eq!((identity.call, identity.edge_leg, identity.header), (call, Some(leg), HeaderState::Valid));
    }

    #[test]
    fn a_forged_header_is_not_believed_and_said_to_be_forged() {
        let stolen = Keyring::new(vec![("20261101".into(), vec![8; 32])]).expect("a key");
        let header = stolen.sign(&other().call, &other().edge_leg.expect("a leg"));
        let lines = format!(
            "Unique-ID: {A}\nCall-Direction: inbound\nChannel-Call-UUID: {A}\nvariable_uuid: {A}\nvariable_sip_h_X-Trunkline-Call: {header}\n"
        );
        let identity = ask(&lines, |_| None).expect("an identity");
        assert_eq!(
            (identity.call, identity.header),
            (CallId::for_channel(1_795_226_344_811, CORE, A), HeaderState::Forged)
        );
    }

    #[test]
    fn an_outbound_channel_belongs_to_whoever_dialled_it_even_when_its_header_says_otherwise() {
        let foreign = keys().sign(&CallId::new(1, [9; 10]), &other().edge_leg.expect("a leg"));
        for naming in [
            format!("Other-Type: originator\nOther-Leg-Unique-ID: {A}\nChannel-Call-UUID: {B}"),
            format!("Channel-Call-UUID: {A}"),
        ] {
            let lines = format!(
                "Unique-ID: {B}\nCall-Direction: outbound\nvariable_uuid: {B}\nvariable_sip_h_X-Trunkline-Call: {foreign}\n{naming}\n"
            );
            let identity = ask(&lines, |uuid| (uuid == A).then(other)).expect("an identity");
            assert_eq!((identity.call, identity.header), (other().call, HeaderState::Copied));
        }
    }

    #[test]
    fn without_its_a_leg_the_copy_of_the_header_is_better_than_nothing() {
        let header = keys().sign(&other().call, &other().edge_leg.expect("a leg"));
        let lines = format!(
            "Unique-ID: {B}\nCall-Direction: outbound\nvariable_uuid: {B}\nvariable_sip_h_X-Trunkline-Call: {header}\n"
        );
        assert_eq!(ask(&lines, |_| None).map(|i| i.call), Some(other().call));
    }

    #[test]
    fn a_thin_event_of_an_unknown_inbound_channel_decides_nothing() {
        let lines = format!("Unique-ID: {A}\nCall-Direction: inbound\nChannel-Call-UUID: {A}\n");
        assert_eq!(ask(&lines, |_| None), None);
    }
}
