//! TLS: good certificates work, bad ones fail, and nothing is kept of what they sent.

use gosh_dl_interop::certificates::Authority;
use gosh_dl_interop::{Lab, log};

const MIB: usize = 1 << 20;

#[test]
fn one_and_sixteen_connections_bring_the_same_bytes() {
    let Some(lab) = Lab::new() else { return };
    let authority = Authority::new(&lab.path(""));
    let content = lab.serve("big.bin", 48 * MIB + 4321);
    let server = lab.site().tls(&authority.good()).start();
    for connections in ["1", "16"] {
        let name = format!("got-{connections}");
        let get = lab.get(&[server.url("/big.bin")]).args(["-x", connections, "-o", &name]);
        get.arg("--ca-certificate").arg(authority.file()).succeed();
        lab.assert_same(&name, &content);
    }
    assert!(log::content(&server.into_requests()) as usize >= 2 * content.len());
}

#[test]
fn the_version_may_be_1_2() {
    let Some(lab) = Lab::new() else { return };
    let authority = Authority::new(&lab.path(""));
    let content = lab.serve("old.bin", 4 * MIB);
    // nginx takes the first `ssl_protocols` of a server, so the older one stands on its own site.
    let server = lab.site().tls(&authority.good()).rule("ssl_conf_command MaxProtocol TLSv1.2;").start();
    lab.get(&[server.url_by_name("/old.bin")]).arg("--ca-certificate").arg(authority.file()).succeed();
    lab.assert_same("old.bin", &content);
}

#[test]
fn an_authority_may_be_named_by_the_environment() {
    let Some(lab) = Lab::new() else { return };
    let authority = Authority::new(&lab.path(""));
    let content = lab.serve("env.bin", MIB);
    let server = lab.site().tls(&authority.good()).start();
    lab.get(&[server.url("/env.bin")]).env("SSL_CERT_FILE", authority.file()).succeed();
    lab.assert_same("env.bin", &content);
}

#[test]
fn a_certificate_that_nobody_trusts_fails() {
    let Some(lab) = Lab::new() else { return };
    let authority = Authority::new(&lab.path(""));
    lab.serve("a.bin", MIB);
    let server = lab.site().tls(&authority.good()).start();
    lab.get(&[server.url("/a.bin")]).fail();
    assert!(lab.listing().is_empty(), "{:?}", lab.listing());
    assert!(server.into_requests().iter().all(|request| request.method != "GET"), "a request went out");
}

#[test]
fn each_bad_certificate_fails_though_the_authority_is_trusted() {
    let Some(lab) = Lab::new() else { return };
    let authority = Authority::new(&lab.path(""));
    lab.serve("a.bin", MIB);
    let bad = [authority.self_signed(), authority.expired(), authority.wrong_host()];
    for certificate in bad {
        let server = lab.site().tls(&certificate).start();
        let done = lab.get(&[server.url("/a.bin")]).arg("--ca-certificate").arg(authority.file()).fail();
        let name = certificate.chain.display();
        assert!(done.stderr.to_lowercase().contains("certificate"), "{name}: {}", done.stderr);
        assert!(done.took.as_secs() < 5, "{name} took {:?}: it is no use to try again", done.took);
        assert!(lab.listing().is_empty(), "{name}: {:?}", lab.listing());
    }
}

#[test]
fn a_server_that_speaks_no_tls_fails() {
    let Some(lab) = Lab::new() else { return };
    lab.serve("a.bin", MIB);
    let server = lab.site().start();
    let address = server.url("/a.bin").replace("http://", "https://");
    lab.get(&[address]).args(["--max-tries", "1"]).fail();
    assert!(lab.listing().is_empty(), "{:?}", lab.listing());
}
