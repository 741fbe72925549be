//! Who a certificate speaks for (RFC 5922 §7.1): SIP URIs and host names of its SAN; only without any, its common name.
//!
//! Only read from certificates that were verified. A name becomes an account and stands in events, so one that holds control
//! characters or is unreasonably long is no name.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const MAX_NAME: usize = 255;
/// A certificate for more names than that is told by its first ones.
const MAX_NAMES: usize = 16;

/// The names of a certificate; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub all: Vec<String>,
}

impl Names {
    pub fn of(der: &[u8]) -> Option<Names> {
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let mut all = Vec::new();
        if let Ok(Some((_, SubjectAltName(names)))) = tbs.get_extension::<SubjectAltName>() {
            all.extend(names.iter().filter_map(uri));
            all.extend(names.iter().filter_map(dns));
        }
        if all.is_empty() {
            all.extend(tbs.subject().common_name().ok().flatten().map(|name| name.value().into_owned()));
        }
        all.retain(|name| !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control));
        all.truncate(MAX_NAMES);
        (!all.is_empty()).then_some(Names { all })
    }

    /// The one that identifies the peer.
    #[must_use]
    pub fn into_first(self) -> Option<String> {
        self.all.into_iter().next()
    }
}

/// `sip:example.com` is the domain, `sip:alice@example.com` one user of it. `sips` says the same.
fn uri(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else { return None };
    let (scheme, rest) = uri.as_str().split_once(':')?;
    let is_sip = scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
    let rest = rest.split([';', '?']).next()?;
    let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
    let host = host.to_ascii_lowercase();
    is_sip.then(|| user.map_or(host.clone(), |user| format!("{user}@{host}")))
}

fn dns(name: &GeneralName) -> Option<String> {
    let GeneralName::DnsName(name) = name else { return None };
    Some(name.as_str().to_ascii_lowercase())
}

/// When a certificate ends (s since 1970).
pub fn expires_s(der: &[u8]) -> Option<u64> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}
