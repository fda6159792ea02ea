//! Against a rustls server in memory.

use super::*;
use crate::buffers::BufferPool;
use bytes::{Buf as _, Bytes, BytesMut};
use gosh_dl_core::base::link::LinkError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Server {
    connection: ServerConnection,
    error: Option<Error>,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, unique_name());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = pem_file(&issuer.pem());
        Self { issuer, file }
    }

    fn context(&self) -> TlsContext {
        TlsContext::new(Some(self.file.path()), false).unwrap()
    }

    fn server(&self, params: CertificateParams) -> Server {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Server::new(certificate.der().clone(), &key)
    }
}

impl Server {
    fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self { connection: ServerConnection::new(Arc::new(config)).unwrap(), error: None }
    }

    fn take(&mut self) -> BytesMut {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        BytesMut::from(&bytes[..])
    }

    fn give(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).unwrap();
            if let Err(error) = self.connection.process_new_packets() {
                self.error = Some(error);
            }
        }
    }
}

fn pem_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn pool() -> BufferPool {
    BufferPool::new(4 << 20)
}

/// Moves bytes, at most `step` at a time towards the client, until nothing moves.
fn exchange(
    client: &mut TlsSession,
    server: &mut Server,
    pool: &BufferPool,
    step: usize,
) -> Result<(), TlsError> {
    loop {
        let sent = client.outgoing().split();
        server.give(&sent);
        let mut received = server.take();
        if sent.is_empty() && received.is_empty() {
            return Ok(());
        }
        while !received.is_empty() {
            let part = received.split_to(step.min(received.len()));
            client.incoming(pool).extend_from_slice(&part);
            client.process(pool)?;
            client.release(pool);
        }
    }
}

/// Two authorities of one name would be told apart by their signatures only, which is another error.
fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn localhost() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

fn handshake(context: &TlsContext, name: &str, mut server: Server) -> Result<(TlsSession, Server), TlsError> {
    let pool = pool();
    let mut client = TlsSession::new(context, name, &pool)?;
    assert!(client.is_handshaking());
    let result = exchange(&mut client, &mut server, &pool, 1000);
    server.give(&client.outgoing().split());
    if result.is_err() {
        assert!(server.error.is_some(), "the server hears of the failure");
    }
    result.map(|()| (client, server))
}

fn verdict(context: &TlsContext, name: &str, server: Server) -> TlsError {
    handshake(context, name, server).map(|_| ()).unwrap_err()
}

fn read_all(client: &mut TlsSession, max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = client.read_plaintext(max) {
        assert!(!data.is_empty() && data.len() <= max);
        all.extend_from_slice(&data);
    }
    all
}

#[test]
fn bytes_pass_both_ways() {
    let authority = Authority::new();
    for name in ["localhost", "localhost.", "127.0.0.1"] {
        let (mut client, mut server) =
            handshake(&authority.context(), name, authority.server(localhost())).unwrap();
        assert!(!client.is_handshaking());
        let pool = pool();
        client.write_plaintext(Bytes::from_static(b"GET / "), &pool).unwrap();
        exchange(&mut client, &mut server, &pool, 100).unwrap();
        let mut request = [0; 6];
        server.connection.reader().read_exact(&mut request).unwrap();
        assert_eq!(&request, b"GET / ");
        assert_eq!(server.connection.alpn_protocol(), None);
    }
}

#[test]
fn a_long_answer_arrives_whole_however_it_is_cut() {
    let authority = Authority::new();
    let answer: Vec<u8> =
        (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for step in [1461, 16_000, 100_000, 1 << 20] {
        let pool = pool();
        let (mut client, mut server) =
            handshake(&authority.context(), "localhost", authority.server(localhost())).unwrap();
        let mut got = Vec::new();
        for part in answer.chunks(50_000) {
            server.connection.writer().write_all(part).unwrap();
            exchange(&mut client, &mut server, &pool, step).unwrap();
            got.extend(read_all(&mut client, 20_000));
        }
        assert!(got == answer, "step {step}");
        assert!(pool.retained() <= 4 << 20);
    }
}

#[test]
fn what_is_written_early_is_sent_after_the_handshake() {
    let authority = Authority::new();
    let (pool, mut server) = (pool(), authority.server(localhost()));
    let mut client = TlsSession::new(&authority.context(), "localhost", &pool).unwrap();
    client.write_plaintext(Bytes::from_static(b"early"), &pool).unwrap();
    assert!(!client.is_all_encrypted());
    exchange(&mut client, &mut server, &pool, 1 << 20).unwrap();
    assert!(client.is_all_encrypted());
    let mut request = [0; 5];
    server.connection.reader().read_exact(&mut request).unwrap();
    assert_eq!(&request, b"early");
}

#[test]
fn an_end_without_close_notify_is_told_apart() {
    let authority = Authority::new();
    let pool = pool();
    let (mut client, mut server) =
        handshake(&authority.context(), "localhost", authority.server(localhost())).unwrap();
    assert_eq!(client.on_eof(), LinkError::Truncated);
    server.connection.writer().write_all(b"last").unwrap();
    server.connection.send_close_notify();
    exchange(&mut client, &mut server, &pool, 1 << 20).unwrap();
    assert!(client.is_peer_closed());
    assert_eq!(read_all(&mut client, 100), b"last");
    assert_eq!(client.on_eof(), LinkError::Eof);
    client.close(&pool);
    assert!(client.outgoing().has_remaining());
    server.give(&client.outgoing().split());
    assert!(server.error.is_none());
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let other = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    assert_eq!(verdict(&authority.context(), "localhost", authority.server(other)), TlsError::WrongHost);
    let server = authority.server(localhost());
    assert_eq!(verdict(&authority.context(), "127.0.0.2", server), TlsError::WrongHost);
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    for (from, to) in [(2000, 2001), (3000, 3001)] {
        let mut params = localhost();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        assert_eq!(verdict(&authority.context(), "localhost", authority.server(params)), TlsError::Expired);
    }
}

#[test]
fn an_unknown_authority_is_refused_unless_everything_is_accepted() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let server = unknown.server(localhost());
    assert_eq!(verdict(&known.context(), "localhost", server), TlsError::UnknownIssuer);
    let trusting = TlsContext::new(None, true).unwrap();
    handshake(&trusting, "localhost", unknown.server(localhost())).unwrap();
}

fn self_signed(is_ca: IsCa) -> (Server, tempfile::NamedTempFile) {
    let mut params = localhost();
    params.is_ca = is_ca;
    params.distinguished_name.push(rcgen::DnType::CommonName, unique_name());
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (Server::new(certificate.der().clone(), &key), pem_file(&certificate.pem()))
}

#[test]
fn a_self_signed_certificate_is_accepted_only_where_it_is_trusted_by_itself() {
    let authority = Authority::new();
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let (server, _file) = self_signed(is_ca);
        assert_eq!(verdict(&authority.context(), "localhost", server), TlsError::UnknownIssuer, "{is_ca:?}");
        let (server, file) = self_signed(is_ca);
        let context = TlsContext::new(Some(file.path()), false).unwrap();
        handshake(&context, "localhost", server).unwrap();
        let (server, file) = self_signed(is_ca);
        let context = TlsContext::new(Some(file.path()), false).unwrap();
        assert_eq!(verdict(&context, "other.example", server), TlsError::WrongHost, "{is_ca:?}");
    }
}

#[test]
fn what_is_not_tls_breaks_the_protocol() {
    let authority = Authority::new();
    let pool = pool();
    let mut client = TlsSession::new(&authority.context(), "localhost", &pool).unwrap();
    client.incoming(&pool).extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(client.process(&pool), Err(TlsError::Protocol));
    assert_eq!(client.process(&pool), Err(TlsError::Protocol));
}

#[test]
fn a_name_that_no_certificate_has_is_refused() {
    let context = TlsContext::new(None, true).unwrap();
    for name in ["", "a b", "exa_mple..com", "*.example.com"] {
        assert_eq!(TlsSession::new(&context, name, &pool()).unwrap_err(), TlsError::InvalidName, "{name}");
    }
}

#[test]
fn a_useless_file_of_certificates_is_told() {
    let file = pem_file("nothing");
    assert!(read_certificates(file.path()).unwrap_err().to_string().contains("no usable certificate"));
    assert!(read_certificates(std::path::Path::new("/nonexistent/ca.pem")).is_err());
    assert_eq!(TlsContext::new(Some(file.path()), false).unwrap_err(), TlsError::BadCertificate);
}

#[test]
fn the_fastest_cipher_is_offered_first_and_all_are_offered() {
    let context = TlsContext::new(None, true).unwrap();
    let suites = &context.config.crypto_provider().cipher_suites;
    assert_eq!(suites.len(), rustls::crypto::ring::ALL_CIPHER_SUITES.len());
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("aes") {
        assert_eq!(suites[0].suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}
