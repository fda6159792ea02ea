//! What all TLS sessions of an engine share: the trusted roots, the ciphers, the tickets.

use super::verifier::{AcceptAll, TrustingSelfSigned};
use gosh_dl_core::base::link::TlsError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The roots, ciphers and session tickets for TLS sessions. Building one reads the platform's certificates, which takes
/// some milliseconds: make it when the first secured link is wanted.
#[derive(Clone, Debug)]
pub struct TlsContext {
    pub(super) config: Arc<ClientConfig>,
}

impl TlsContext {
    /// A context that trusts the platform's authorities (or, where the environment names a file in `SSL_CERT_FILE`,
    /// those in it), and besides them the certificates in the PEM file `ca_certificate`.
    ///
    /// **Dangerous**: with `accept_invalid_certs`, any certificate is accepted, so whoever sits between reads and
    /// changes everything.
    ///
    /// # Errors
    ///
    /// [`TlsError::BadCertificate`] if `ca_certificate` cannot be used (see [`read_certificates`] for why), and
    /// [`TlsError::UnknownIssuer`] if there is nobody at all to trust.
    pub fn new(ca_certificate: Option<&Path>, accept_invalid_certs: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let verifier: Arc<dyn ServerCertVerifier> = if accept_invalid_certs {
            Arc::new(AcceptAll(Arc::clone(&provider)))
        } else {
            verifier(ca_certificate, &provider)?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_no_common_version| TlsError::Protocol)?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }
}

fn verifier(
    ca_certificate: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let extra = match ca_certificate {
        None => Vec::new(),
        Some(path) => read_certificates(path).map_err(|error| {
            tracing::warn!(%error, "cannot use the CA certificates");
            TlsError::BadCertificate
        })?,
    };
    let from_environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let inner = match from_environment {
        Some(path) => roots_verifier(&path, &extra, provider)?,
        None => platform_verifier(&extra, provider)?,
    };
    if extra.is_empty() { Ok(inner) } else { Ok(Arc::new(TrustingSelfSigned { inner, trusted: extra })) }
}

fn roots_verifier(
    path: &Path,
    extra: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let named = read_certificates(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot use SSL_CERT_FILE");
        Vec::new()
    });
    roots.add_parsable_certificates(named.into_iter().chain(extra.iter().cloned()));
    webpki_verifier(roots, provider)
}

fn webpki_verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    match builder.build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => {
            tracing::warn!(%error, "there are no trusted certificates");
            Err(TlsError::UnknownIssuer)
        }
    }
}

fn platform_verifier(
    extra: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    use rustls_platform_verifier::Verifier;
    match Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        Err(error) => {
            tracing::warn!(%error, "the platform's certificates cannot be used");
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(extra.iter().cloned());
            webpki_verifier(roots, provider)
        }
    }
}

/// All of ring's ciphers; first the one that this processor does fastest.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let first = if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    // A stable sort: the rest keeps its order.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    provider
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes() -> bool {
    std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// The certificates in a PEM file.
///
/// # Errors
///
/// If the file cannot be read, is not PEM, or has no certificate in it that can be an authority.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFileError> {
    let fail = |reason: String| CertificateFileError { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (usable, _ignored) = roots.add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err(fail("it holds no usable certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// A file of certificates that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}
