//! Downloads over TLS.

use crate::support::{Manner, Server, content};
use gosh_dl_tokio::{
    DownloadEngine, DownloadOptions, EngineConfig, EngineError, HttpConfig, NetworkErrorKind,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A server whose certificate is for `name` and is written to `certificate`.
fn secured(name: &str, body: Vec<u8>, manner: Manner, certificate: &Path) -> Server {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(certificate, own.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let config = Arc::new(config);
    Server::start_with(body, manner, move |socket| {
        Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket))
    })
}

fn config(dir: &Path, trusted: Option<&Path>) -> EngineConfig {
    let http = HttpConfig::new().max_retries(1_u32).ca_certificate(trusted.map(Path::to_owned));
    EngineConfig::new().download_dir(dir).http(http)
}

async fn fetch(config: EngineConfig, server: &Server) -> Result<(), EngineError> {
    let engine = DownloadEngine::new(config).await?;
    let mut events = engine.subscribe();
    let url = server.url("file.bin").replace("http://", "https://");
    let id = engine.add_http(&url, DownloadOptions::new()).await?;
    let mut result = engine.wait(id).await;
    while let Some(event) = events.try_recv() {
        if let gosh_dl_tokio::DownloadEvent::Failed { error, .. } = event {
            result = Err(error);
        }
    }
    engine.shutdown().await?;
    result
}

fn is_tls_failure(result: Result<(), EngineError>, word: &str) -> bool {
    matches!(result, Err(EngineError::Network { kind: NetworkErrorKind::Tls, message, .. }) if message.contains(word))
}

#[tokio::test]
async fn a_file_arrives_whole_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (body, ca) = (content(7_000_003), dir.path().join("ca.pem"));
    let server = secured("127.0.0.1", body.clone(), Manner::Answers, &ca);
    fetch(config(dir.path(), Some(&ca)), &server).await.unwrap();
    assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == body);
}

#[tokio::test]
async fn a_slow_server_is_read_to_the_end_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (body, ca) = (content(500_000), dir.path().join("ca.pem"));
    let server = secured("127.0.0.1", body.clone(), Manner::Dawdles, &ca);
    fetch(config(dir.path(), Some(&ca)), &server).await.unwrap();
    assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == body);
}

#[tokio::test]
async fn who_is_not_trusted_is_not_read_unless_everything_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let server = secured("127.0.0.1", content(1000), Manner::Answers, &ca);
    // Somebody else is trusted.
    let other = dir.path().join("other.pem");
    secured("127.0.0.1", Vec::new(), Manner::Answers, &other);
    assert!(is_tls_failure(fetch(config(dir.path(), Some(&other)), &server).await, "certificate"));
    assert_eq!(server.requests.load(Ordering::Relaxed), 0);
    let mut trusting = config(dir.path(), None);
    trusting.http.accept_invalid_certs = true;
    fetch(trusting, &server).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_host_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let server = secured("example.com", content(1000), Manner::Answers, &ca);
    assert!(is_tls_failure(fetch(config(dir.path(), Some(&ca)), &server).await, "another host"));
}

#[tokio::test]
async fn settings_apply_to_links_that_are_opened_later() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let server = secured("127.0.0.1", content(1000), Manner::Answers, &ca);
    let other = dir.path().join("other.pem");
    secured("127.0.0.1", Vec::new(), Manner::Answers, &other);
    let engine = DownloadEngine::new(config(dir.path(), Some(&other))).await.unwrap();
    let url = server.url("file.bin").replace("http://", "https://");
    let id = engine.add_http(&url, DownloadOptions::new()).await.unwrap();
    engine.wait(id).await.unwrap_err();
    engine.set_config(config(dir.path(), Some(&ca))).unwrap();
    engine.resume(id).await.unwrap();
    engine.wait(id).await.unwrap();
}
