//! What an event says about a message: pure translation of headers and session descriptions into the fields of the schema.

use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::hex;
use domain::identity::Keyring;
use schemas::{SdpSummary, SipAuth, SipHeaders, SipIdentity, SipParties, SipTransport};
use sha2::{Digest, Sha256};
use sip::{Credentials, Message, Method, Name, Params, Rport, Uri, sdp};

use crate::config::policy::Party;
use crate::core::FlowIdentity;
use crate::core::policy::{Direction, origin};
use crate::core::topology::{Listener, Topology, Trunk};

/// Bytes of one header of somebody's own that go into an event.
const MOST_EXTRA: usize = 256;

/// Digests of header values that repeat from call to call. Bounded; emptied when full.
#[derive(Debug, Default)]
pub struct Digests {
    seen: HashMap<Vec<u8>, String>,
}

impl Digests {
    /// Eight hex digits over the sorted, lower-case elements of a comma-separated header.
    fn of_list(&mut self, message: &Message<'_>, name: Name) -> Option<String> {
        let raw = message.header(name)?;
        if let Some(known) = self.seen.get(raw) {
            return Some(known.clone());
        }
        let mut words: Vec<String> =
            message.values(name).map(|v| String::from_utf8_lossy(v).to_ascii_lowercase()).collect();
        words.sort_unstable();
        let digest = hex(&Sha256::digest(words.join(",").as_bytes())[..4]);
        if self.seen.len() >= 512 {
            self.seen.clear();
        }
        self.seen.insert(raw.to_vec(), digest.clone());
        Some(digest)
    }
}

pub fn text(bytes: &[u8]) -> String {
    sip::edit::unfold(bytes)
}

fn some_text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

#[must_use]
pub fn identity(m: &Message<'_>) -> SipIdentity {
    let uri = Uri::parse(m.uri()).ok();
    let (from, to) = (m.from(), m.to());
    SipIdentity {
        method: text(m.method_token()),
        call_id: text(m.call_id()),
        cseq: m.cseq(),
        cseq_method: None,
        from_tag: text(m.from_tag()),
        to_tag: some_text(m.to_tag()),
        request_scheme: uri.map(|u| text(u.scheme).to_ascii_lowercase()),
        request_user: uri.and_then(|u| u.user).map(text),
        request_host: uri.map(|u| match u.port {
            Some(port) => format!("{}:{port}", text(u.host)),
            None => text(u.host),
        }),
        request_params: uri.and_then(|u| some_text(u.params)),
        from_uri: some_text(from.uri),
        from_display: some_text(from.display),
        to_uri: some_text(to.uri),
        branch: some_text(m.branch()),
        max_forwards: m.max_forwards().and_then(|n| i32::try_from(n).ok()),
        dialog_id: None,
        in_dialog: !m.to_tag().is_empty(),
        reinvite_kind: None,
    }
}

#[must_use]
pub fn transport(
    m: &Message<'_>,
    from: SocketAddr,
    listener: &Listener,
    identity: Option<&FlowIdentity>,
) -> SipTransport {
    let proxied = identity.is_some_and(|i| i.is_proxied);
    let via = m.via();
    let ip = from.ip().to_canonical();
    let asked = matches!(via.rport, Rport::Asked(_));
    let differs = sip::host_ip(via.host.of(m.bytes())) != Some(ip);
    SipTransport {
        source_ip: Some(ip.to_string()),
        source_port: Some(from.port()),
        destination_ip: Some(listener.address.ip().to_string()),
        destination_port: Some(listener.address.port()),
        listener_id: Some(listener.id.clone()),
        transport: Some(listener.transport.as_str().to_owned()),
        tls_version: identity.and_then(|i| i.tls_version.clone()),
        tls_cipher: identity.and_then(|i| i.tls_cipher.clone()),
        tls_peer_subject: identity.and_then(|i| i.subject.clone()),
        client_ip: proxied.then(|| ip.to_string()),
        client_port: proxied.then(|| from.port()),
        received: (asked || differs).then(|| ip.to_string()),
        rport: asked.then_some(from.port()),
        message_bytes: i32::try_from(m.bytes().len()).ok(),
        via_hops: i32::try_from(m.values(Name::Via).count()).ok(),
    }
}

/// The dialled number and the caller's, as on the wire.
#[must_use]
pub fn numbers(m: &Message<'_>) -> (String, String) {
    let user = |uri: &[u8]| Uri::parse(uri).map(|u| text(u.number())).unwrap_or_default();
    (user(m.from().uri), user(m.uri()))
}

#[must_use]
pub fn parties(m: &Message<'_>, topology: &Topology, trunk: Option<usize>) -> SipParties {
    let (caller, callee) = numbers(m);
    let mut parties = number_parties(&caller, &callee, topology, trunk);
    parties.p_asserted_identity = m.values(Name::PAssertedIdentity).next().map(text);
    parties.remote_party_id = m.text(Name::RemotePartyId);
    parties.privacy = m.text(Name::Privacy);
    let count = |name: Name| i32::try_from(m.values(name).count()).ok().filter(|&n| n > 0);
    parties.diversion_count = count(Name::Diversion);
    parties.diversion_first = m.values(Name::Diversion).next().map(text);
    parties.history_info_count = count(Name::HistoryInfo);
    parties.history_info_first = m.values(Name::HistoryInfo).next().map(text);
    parties.identity_attestation = attestation(m);
    parties.identity_verified = m.header(Name::Identity).map(|_| "unchecked".to_owned());
    parties
}

/// Numbers raw and normalised, trunk and account.
#[must_use]
pub fn number_parties(caller: &str, callee: &str, topology: &Topology, trunk: Option<usize>) -> SipParties {
    let mut parties = SipParties {
        caller_raw: (!caller.is_empty()).then(|| caller.to_owned()),
        callee_raw: (!callee.is_empty()).then(|| callee.to_owned()),
        ..SipParties::default()
    };
    match trunk {
        Some(trunk) => trunk_parties(&mut parties, &topology.trunks[trunk], Direction::FromTrunk),
        None => read_numbers(&mut parties, None, Direction::ToTrunk),
    }
    parties
}

/// A trunk's name and account, and the numbers as its rules read them.
pub fn trunk_parties(parties: &mut SipParties, trunk: &Trunk, direction: Direction) {
    parties.trunk_id = Some(trunk.id.clone());
    parties.account.clone_from(&trunk.account);
    read_numbers(parties, Some(trunk), direction);
}

fn read_numbers(parties: &mut SipParties, trunk: Option<&Trunk>, direction: Direction) {
    let read = |raw: &Option<String>, party| {
        let raw = raw.as_deref()?;
        match (trunk.and_then(|t| t.policy.numbers.as_ref()), direction) {
            (None, _) => domain::normalize_number(raw),
            (Some(numbers), Direction::FromTrunk) => numbers.received(raw, party),
            (Some(numbers), Direction::ToTrunk) => numbers.dialled(raw),
        }
    };
    let about = |raw: &Option<String>, e164: &Option<String>| -> (Option<String>, Option<String>) {
        let Some(e164) = e164 else {
            let raw = raw.as_deref().unwrap_or_default();
            let is_emergency = trunk.is_some_and(|t| t.emergency.iter().any(|n| n == raw));
            let is_short = (2..=6).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_digit());
            let kind = if is_emergency { Some("emergency") } else { is_short.then_some("short") };
            return (None, kind.map(str::to_owned));
        };
        (origin::country(e164).map(str::to_owned), Some(origin::kind(e164).to_owned()))
    };
    parties.caller_e164 = read(&parties.caller_raw, Party::Caller);
    parties.callee_e164 = read(&parties.callee_raw, Party::Callee);
    (parties.caller_country, parties.caller_type) = about(&parties.caller_raw, &parties.caller_e164);
    (parties.callee_country, parties.callee_type) = about(&parties.callee_raw, &parties.callee_e164);
}

#[must_use]
pub fn headers(m: &Message<'_>, digests: &mut Digests, wanted: &[String]) -> SipHeaders {
    let contact = m.contact().and_then(|c| Uri::parse(c.uri).ok());
    let reason = reason(m);
    let seconds = |name: Name| {
        let value = m.header(name)?;
        let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        std::str::from_utf8(&value[..end]).ok()?.parse().ok()
    };
    let (reason_protocol, reason_cause, reason_text) =
        reason.map_or((None, None, None), |r| (Some(r.protocol), r.cause, r.text));
    SipHeaders {
        user_agent: m.text(Name::UserAgent),
        server: m.text(Name::Server),
        contact_host: contact.map(|u| text(u.host)),
        contact_port: contact.and_then(|u| u.port),
        allow_digest: digests.of_list(m, Name::Allow),
        supported_digest: digests.of_list(m, Name::Supported),
        require_digest: digests.of_list(m, Name::Require),
        expires_s: seconds(Name::Expires),
        session_expires_s: seconds(Name::SessionExpires),
        refer_to: m.text(Name::ReferTo),
        referred_by: m.text(Name::ReferredBy),
        replaces: m.text(Name::Replaces),
        reason_protocol,
        reason_cause,
        reason_text,
        warning: m.text(Name::Warning),
        retry_after_s: seconds(Name::RetryAfter),
        extra: wanted.iter().filter_map(|name| extra(m, name)).collect(),
    }
}

/// A header of somebody's own that the settings want to see, in a length that an event can bear.
fn extra(m: &Message<'_>, name: &str) -> Option<(String, String)> {
    let value = m.named(name)?;
    Some((name.to_owned(), text(&value[..value.len().min(MOST_EXTRA)])))
}

/// The attestation that an Identity header claims (RFC 8224, RFC 8588). Nobody checked its signature here.
fn attestation(m: &Message<'_>) -> Option<String> {
    let token = m.header(Name::Identity).filter(|value| value.len() <= 8_192)?;
    let payload = token.split(|&b| b == b'.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let attest = claims.get("attest")?.as_str()?;
    matches!(attest, "A" | "B" | "C").then(|| attest.to_owned())
}

/// A Reason header (RFC 3326).
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub protocol: String,
    pub cause: Option<i32>,
    pub text: Option<String>,
}

/// The first Reason.
#[must_use]
pub fn reason(m: &Message<'_>) -> Option<Reason> {
    let value = m.values(Name::Reason).next()?;
    let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let find = |name: &[u8]| Params::new(&value[end..]).find(name);
    let cause = find(b"cause").and_then(|c| std::str::from_utf8(c).ok()?.parse().ok());
    let said = find(b"text").map(|t| text(t.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(t)));
    Some(Reason { protocol: text(sip::trim(&value[..end])), cause, text: said })
}

/// Whether a response carries a Q.850 cause: then the failure is the far side's, not the next hop's.
#[must_use]
pub fn has_q850(m: &Message<'_>) -> bool {
    m.values(Name::Reason).any(|v| v.len() >= 5 && v[..5].eq_ignore_ascii_case(b"Q.850"))
}

#[must_use]
pub fn session(m: &Message<'_>) -> Option<SdpSummary> {
    let body = m.body();
    let found = sdp::Summary::parse(body)?;
    let srtp = if found.dtls {
        "dtls"
    } else if found.srtp {
        "sdes"
    } else {
        "none"
    };
    Some(SdpSummary {
        codecs: found.codecs,
        ptime_ms: found.ptime_ms.map(i32::from),
        dtmf_type: found.dtmf.map(str::to_owned),
        srtp: Some(srtp.to_owned()),
        ice: Some(found.ice),
        media_ip: found.media_ip.map(|ip| ip.to_string()),
        media_port: found.media_port,
        direction: Some(found.direction.to_owned()),
        fingerprint: Some(hex(&Sha256::digest(body)[..8])),
        body: None,
    })
}

/// Credentials in a request; of a REGISTER also the user, when it came without. A name is told as a keyed hash only, so that
/// nobody who reads the events can try names until one fits.
#[must_use]
pub fn auth(m: &Message<'_>, keys: &Keyring) -> Option<SipAuth> {
    let hash = |user: &[u8]| hex(&keys.mac8(&[b"user", user]).1);
    let Some(value) = m.header(Name::ProxyAuthorization).or_else(|| m.header(Name::Authorization)) else {
        let user = Uri::parse(m.to().uri).ok().and_then(|u| u.user).filter(|_| m.method() == Method::Register)?;
        return Some(SipAuth { username_hash: Some(hash(user)), ..SipAuth::default() });
    };
    let found = Credentials::parse(value);
    Some(SipAuth {
        challenged: false,
        credentials_present: true,
        result: None,
        realm: found.realm.map(text),
        username_hash: found.username.map(hash),
    })
}

/// The same with what the final status and, of a challenge, its realm say about it.
#[must_use]
pub fn auth_outcome(auth: Option<SipAuth>, status: u16, response: Option<&Message<'_>>) -> Option<SipAuth> {
    let challenged = matches!(status, 401 | 407);
    if auth.is_none() && !challenged {
        return None;
    }
    let mut auth = auth.unwrap_or_default();
    auth.challenged = challenged;
    auth.result = auth.credentials_present.then(|| match status {
        200..=299 => "accepted".to_owned(),
        401 | 403 | 407 => "rejected".to_owned(),
        _ => "unknown".to_owned(),
    });
    if let Some(realm) = response.and_then(challenge_realm) {
        auth.realm = Some(realm);
    }
    Some(auth)
}

/// The realm of a challenge in a 401 or 407.
#[must_use]
pub fn challenge_realm(m: &Message<'_>) -> Option<String> {
    let value = m.header(Name::ProxyAuthenticate).or_else(|| m.header(Name::WwwAuthenticate))?;
    sip::Challenge::parse(value).realm.map(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    #[test]
    fn a_reason_is_taken_apart_and_its_protocol_recognised() {
        let message = |reason: &str| {
            format!(
                "SIP/2.0 500 x\r\nVia: SIP/2.0/UDP a;branch=z\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nReason: {reason}\r\n\r\n"
            )
        };
        let raw = message("Q.850 ;cause=17;text=\"USER_BUSY\"");
        let mut index = Index::new();
        let m = index.parse(raw.as_bytes()).unwrap();
        let busy = Reason { protocol: "Q.850".into(), cause: Some(17), text: Some("USER_BUSY".into()) };
        assert_eq!(reason(&m), Some(busy));
        assert!(has_q850(&m));
        let raw = message("SIP;cause=503");
        assert!(!has_q850(&Index::new().parse(raw.as_bytes()).unwrap()));
    }

    #[test]
    fn the_attestation_is_read_and_nothing_else_of_the_token_believed() {
        let read = |identity: &str| {
            let raw = format!(
                "INVITE sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nIdentity: {identity}\r\n\r\n"
            );
            attestation(&Index::new().parse(raw.as_bytes()).unwrap())
        };
        let token =
            |claims: &str| format!("e30.{}.c2ln;info=<https://c.example/c>;alg=ES256", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(read(&token(r#"{"attest":"B","iat":1}"#)).as_deref(), Some("B"));
        for broken in [token(r#"{"attest":"Z"}"#), token("no json"), "x..y".into(), "x".into(), "a.%%%.b".into()] {
            assert_eq!(read(&broken), None, "{broken}");
        }
    }
}
