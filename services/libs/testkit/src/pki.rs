//! Certificates that a test makes for itself: an authority, and what it signs, as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// An authority with a folder for everything that it signs. The folder goes with it.
#[derive(Debug)]
pub struct Authority {
    folder: tempfile::TempDir,
    name: String,
    issuer: Issuer<'static, KeyPair>,
    ca: PathBuf,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a certificate says.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    /// Host names and IP addresses.
    pub names: &'a [&'a str],
    pub uris: &'a [&'a str],
    pub expired: bool,
    pub serial: Option<u64>,
}

impl Authority {
    #[must_use]
    pub fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("an authority");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).expect("written");
        Authority { folder, name: name.to_owned(), issuer: Issuer::new(params, key), ca }
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are; for other files of the same test too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for a host name, an address, or a client of that name.
    #[must_use]
    pub fn sign(&self, file: &str, name: &str) -> Pair {
        self.sign_as(file, &Wanted { common_name: name, names: &[name], ..Wanted::default() })
    }

    /// Writes `<file>.pem` and `<file>.key`; what was there is replaced at once, as a renewal does it.
    #[must_use]
    pub fn sign_as(&self, file: &str, wanted: &Wanted<'_>) -> Pair {
        let names: Vec<String> = wanted.names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of a certificate");
        let uris = wanted.uris.iter().map(|&uri| SanType::URI(uri.try_into().expect("a URI in ASCII")));
        params.subject_alt_names.extend(uris);
        params.distinguished_name = DistinguishedName::new();
        if !wanted.common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        }
        if wanted.expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        params.serial_number = wanted.serial.map(|serial| SerialNumber::from_slice(&serial.to_be_bytes()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let at = |end: &str| self.folder.path().join(format!("{file}.{end}"));
        let pair = Pair { cert: at("pem"), key: at("key") };
        replace(&pair.cert, &certificate.pem());
        replace(&pair.key, &key.serialize_pem());
        pair
    }

    /// A list that takes back the certificates with these serial numbers.
    #[must_use]
    pub fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.to_be_bytes()),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list").pem().expect("PEM");
        let path = self.folder.path().join("revoked.pem");
        replace(&path, &list);
        path
    }
}

fn replace(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    std::io::Write::write_all(&mut file.expect("a file"), text.as_bytes()).expect("written");
    std::fs::rename(&fresh, path).expect("replaced");
}

/// A client of today that believes one authority and shows a certificate or none.
#[must_use]
pub fn trusting(ca: &Path, own: Option<&Pair>) -> Arc<ClientConfig> {
    client(ca, own, &[&TLS13, &TLS12])
}

/// The same, of these versions.
#[must_use]
pub fn client(ca: &Path, own: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair.load();
            builder.with_client_auth_cert(chain, key).expect("a certificate and its key")
        }
    })
}

/// A server that shows a certificate and asks for none.
#[must_use]
pub fn server(own: &Pair) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let (chain, key) = own.load();
    Arc::new(builder.with_single_cert(chain, key).expect("a certificate and its key"))
}

impl Pair {
    fn load(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&self.cert).expect("a PEM file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        (chain, PrivateKeyDer::from_pem_file(&self.key).expect("a key"))
    }
}
