//! From files to configurations of rustls. Whatever is wrong with a file is said with the setting that names it and what to do.
//!
//! TLS 1.2 and 1.3, only suites that rustls has (all of them authenticated, with forward secrecy); no early data, no
//! renegotiation. The provider is named here and nowhere taken from the process, so that another crate cannot change it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, SupportedProtocolVersion};

use super::names::{Names, expires_s};
use crate::config::{TlsConfig, TlsPeerConfig};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
/// Sessions that can be taken up again. A client that finds its own forgotten makes a whole handshake, nothing worse.
const SESSIONS: usize = 4_096;
/// Where systems keep the authorities that they believe.
const SYSTEM_CAS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} (setting tls.{field}): {what}", .file.display())]
pub struct FileError {
    /// Key in the `tls` section.
    pub field: &'static str,
    pub file: PathBuf,
    pub what: String,
}

/// What a listener shows and believes.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    pub config: Arc<ServerConfig>,
    pub facts: Facts,
}

/// What a connection to a peer shows and believes.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    pub config: Arc<ClientConfig>,
    pub facts: Facts,
}

/// What is told about files that are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Names in our certificate; empty without one.
    pub names: Vec<String>,
    /// When it ends (s since 1970).
    pub expires_s: Option<u64>,
    /// Digest over the bytes of all files: equal means unchanged.
    pub digest: [u8; 32],
}

/// One file, read once: what is parsed is what the digest is over.
struct File<'a> {
    field: &'static str,
    path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(field: &'static str, path: &'a Path, digest: &mut Sha256) -> Result<File<'a>, FileError> {
        let bytes = std::fs::read(path).map_err(|error| fault(field, path, readable(&error)))?;
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        Ok(File { field, path, bytes })
    }

    fn fault(&self, what: impl Into<String>) -> FileError {
        fault(self.field, self.path, what)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, FileError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match all {
            Ok(certificates) if certificates.is_empty() => {
                Err(self.fault("a PEM file with at least one CERTIFICATE block"))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.fault(format!("PEM that can be read: {error}"))),
        }
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, FileError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.fault(format!("certificates of authorities: {error}")))?;
        }
        Ok(Arc::new(roots))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, FileError> {
        let mode = std::fs::metadata(self.path).map_err(|error| self.fault(readable(&error)))?.mode();
        if mode & 0o007 != 0 {
            let path = self.path.display();
            return Err(self.fault(format!("a key that not everybody may read: chmod o-rwx {path}")));
        }
        PrivateKeyDer::from_pem_slice(&self.bytes)
            .map_err(|_| self.fault("a PEM file with a PRIVATE KEY block (PKCS#8, PKCS#1 or SEC1, without a password)"))
    }
}

fn fault(field: &'static str, path: &Path, what: impl Into<String>) -> FileError {
    FileError { field, file: path.to_owned(), what: what.into() }
}

fn readable(error: &std::io::Error) -> String {
    format!("a file that this user can read ({error})")
}

impl ServerFiles {
    pub fn load(settings: &TlsConfig) -> Result<ServerFiles, FileError> {
        let mut digest = Sha256::new();
        let cert = File::read("cert", &settings.cert, &mut digest)?;
        let key = File::read("key", &settings.key, &mut digest)?;
        let (chain, facts) = own(&cert)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| cert.fault(error.to_string()))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let ca = File::read("client_ca", path, &mut digest)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots()?, provider());
                let verifier = match &settings.client_crl {
                    None => verifier,
                    Some(path) => {
                        let crl = File::read("client_crl", path, &mut digest)?;
                        let lists: Result<Vec<_>, _> =
                            CertificateRevocationListDer::pem_slice_iter(&crl.bytes).collect();
                        let lists = lists.map_err(|error| crl.fault(format!("PEM that can be read: {error}")))?;
                        if lists.is_empty() {
                            return Err(crl.fault("a PEM file with at least one X509 CRL block"));
                        }
                        // An authority without a list took nothing back.
                        verifier.with_crls(lists).allow_unknown_revocation_status()
                    }
                };
                let built =
                    verifier.build().map_err(|error| ca.fault(format!("certificates of authorities: {error}")))?;
                builder.with_client_cert_verifier(built)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key.key()?).map_err(|error| key.fault(pair(&error, &settings.cert)))?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(ServerFiles { config: Arc::new(config), facts: Facts { digest: digest.finalize().into(), ..facts } })
    }
}

impl ClientFiles {
    pub fn load(settings: &TlsPeerConfig) -> Result<ClientFiles, FileError> {
        let mut digest = Sha256::new();
        let system =
            || SYSTEM_CAS.map(Path::new).into_iter().find(|path| path.exists()).unwrap_or(Path::new(SYSTEM_CAS[0]));
        let ca = File::read("ca", settings.ca.as_deref().unwrap_or_else(system), &mut digest)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| ca.fault(error.to_string()))?;
        let roots = match &settings.ca {
            Some(_) => ca.roots()?,
            None => lenient_roots(&ca)?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = verifier.map_err(|error| ca.fault(format!("certificates of authorities: {error}")))?;
        let builder = builder.with_webpki_verifier(verifier);
        let (mut config, facts) = match (&settings.cert, &settings.key) {
            (Some(cert_path), Some(key_path)) => {
                let cert = File::read("cert", cert_path, &mut digest)?;
                let key = File::read("key", key_path, &mut digest)?;
                let (chain, facts) = own(&cert)?;
                let config = builder.with_client_auth_cert(chain, key.key()?);
                (config.map_err(|error| key.fault(pair(&error, cert_path)))?, facts)
            }
            _ => (builder.with_no_client_auth(), Facts::default()),
        };
        // One peer has few connections and they live long: a session to take up again gains nothing.
        config.resumption = Resumption::disabled();
        Ok(ClientFiles { config: Arc::new(config), facts: Facts { digest: digest.finalize().into(), ..facts } })
    }
}

/// Of a system's bundle some certificates may be beyond us; the others are as good as before.
fn lenient_roots(ca: &File<'_>) -> Result<Arc<RootCertStore>, FileError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(ca.certificates()?);
    Ok(Arc::new(roots))
}

fn own(cert: &File<'_>) -> Result<(Vec<CertificateDer<'static>>, Facts), FileError> {
    let chain = cert.certificates()?;
    let first = chain.first().map(|der| der.as_ref()).unwrap_or_default();
    let expires = expires_s(first).ok_or_else(|| cert.fault("a certificate that can be read"))?;
    // A certificate that ran out would be shown all the same; the metric and the log say so, calls may go on.
    let names = Names::of(first).map(|names| names.all).unwrap_or_default();
    Ok((chain, Facts { names, expires_s: Some(expires), digest: [0; 32] }))
}

fn pair(error: &rustls::Error, cert: &Path) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => format!("the key that belongs to the certificate {}", cert.display()),
        other => format!("a key that TLS can use: {other}"),
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}
