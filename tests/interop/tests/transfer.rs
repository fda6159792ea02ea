//! Plain transfers: whatever the server's manners, the bytes are the server's bytes.

use gosh_dl_interop::{Lab, log};

const MIB: usize = 1 << 20;

#[test]
fn one_and_sixteen_connections_bring_the_same_bytes() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("big.bin", 48 * MIB + 12345);
    let server = lab.site().start();
    for connections in ["1", "16"] {
        let name = format!("got-{connections}");
        lab.get(&[server.url("/big.bin")]).args(["-x", connections, "-o", &name]).succeed();
        lab.assert_same(&name, &content);
    }
    let requests = server.into_requests();
    // What one connection gives up to another is at most in flight once.
    assert!(
        log::content(&requests) as usize <= 2 * content.len() + 16 * MIB,
        "fetched {}",
        log::content(&requests)
    );
}

#[test]
fn an_empty_file_and_one_byte_arrive() {
    let Some(lab) = Lab::new() else { return };
    let (empty, single) = (lab.serve("empty", 0), lab.serve("single", 1));
    let server = lab.site().start();
    lab.get(&[server.url("/empty"), server.url("/single")]).succeed();
    lab.assert_same("empty", &empty);
    lab.assert_same("single", &single);
    assert_eq!(lab.listing(), ["empty", "single"]);
}

#[test]
fn a_limit_per_connection_is_overcome_by_more_connections() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("slow.bin", 16 * MIB);
    let server = lab.site().under("/limited/", "limit_rate 1m;").start();
    let done = lab.get(&[server.url("/limited/slow.bin")]).args(["-x", "8"]).succeed();
    lab.assert_same("slow.bin", &content);
    assert!(done.took.as_secs_f64() < 8.0, "8 connections of 1 MiB/s took {:?} for 16 MiB", done.took);
}

#[test]
fn redirects_are_followed_and_a_circle_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("end.bin", 3 * MIB);
    let last = lab.site().start();
    let hop = |from: &str, code: &str, to: &str| format!("location = {from} {{ return {code} {to}; }}");
    let first = lab
        .site()
        .rule(&hop("/a", "301", "/b"))
        .rule(&hop("/b", "302", "c"))
        .rule(&hop("/c", "307", "/d?x=1"))
        .rule(&hop("/d", "308", &last.url("/end.bin")))
        .rule(&hop("/circle", "302", "/circle"))
        .start();
    lab.get(&[first.url("/a")]).args(["-o", "end.bin"]).succeed();
    lab.assert_same("end.bin", &content);
    lab.get(&[first.url("/circle")]).fail();
    assert_eq!(lab.listing(), ["end.bin"]);
}

#[test]
fn basic_auth_is_given_from_the_address_and_from_a_header() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("secret.bin", MIB);
    std::fs::write(lab.path("users"), "user:{PLAIN}pass\n").expect("room");
    let users = lab.path("users");
    let server =
        lab.site().rule(&format!("auth_basic here; auth_basic_user_file {};", users.display())).start();
    lab.get(&[server.url("/secret.bin")]).fail();
    let address = server.url("/secret.bin").replace("http://", "http://user:pass@");
    lab.get(&[address]).args(["-o", "one"]).succeed();
    lab.get(&[server.url("/secret.bin")])
        .args(["-H", "Authorization: Basic dXNlcjpwYXNz", "-o", "two"])
        .succeed();
    lab.assert_same("one", &content);
    lab.assert_same("two", &content);
}

#[test]
fn a_server_that_likes_to_compress_gives_the_file_itself() {
    let Some(lab) = Lab::new() else { return };
    let text = "the same line again and again\n".repeat(100_000);
    std::fs::write(lab.path("www/text.txt"), &text).expect("room");
    let server = lab.site().rule("gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;").start();
    lab.get(&[server.url("/text.txt")]).args(["-x", "4"]).succeed();
    lab.assert_same("text.txt", text.as_bytes());
}

#[test]
fn a_server_without_ranges_is_read_from_one_connection() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("whole.bin", 20 * MIB);
    let server = lab.site().rule("max_ranges 0;").start();
    lab.get(&[server.url("/whole.bin")]).args(["-x", "16"]).succeed();
    lab.assert_same("whole.bin", &content);
}

#[test]
fn ipv6_is_spoken() {
    let Some(lab) = Lab::new() else { return };
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this kernel has no IPv6");
        return;
    }
    let content = lab.serve("six.bin", 5 * MIB);
    let server = lab.site().on_ipv6().start();
    lab.get(&[server.url("/six.bin")]).args(["-x", "4"]).succeed();
    lab.assert_same("six.bin", &content);
}

#[test]
fn what_the_server_refuses_fails_and_leaves_nothing_behind() {
    let Some(lab) = Lab::new() else { return };
    let server = lab
        .site()
        .rule("location = /forbidden { return 403; }")
        .rule("location = /broken { return 500; }")
        .start();
    for path in ["/missing", "/forbidden"] {
        let done = lab.get(&[server.url(path)]).fail();
        assert!(done.took.as_secs() < 5, "{path} took {:?}: it is no use to try again", done.took);
    }
    lab.get(&[server.url("/broken")]).args(["--max-tries", "2"]).fail();
    assert!(lab.listing().is_empty(), "{:?}", lab.listing());
    let broken = server.into_requests().iter().filter(|request| request.path == "/broken").count();
    assert_eq!(broken, 2);
}

#[test]
fn nobody_there_is_a_failure_and_no_address_is_a_misuse() {
    let Some(lab) = Lab::new() else { return };
    let mut server = lab.site().start();
    server.stop();
    let done = lab.get(&[server.url("/a")]).args(["--max-tries", "1"]).fail();
    assert!(done.took.as_secs() < 10, "{:?}", done.took);
    assert_eq!(lab.get::<&str>(&[]).run().code, Some(2));
    assert_eq!(lab.get(&["not an address"]).run().code.map(|code| code > 0), Some(true));
}

#[test]
fn a_checksum_decides_whether_the_file_appears() {
    let Some(lab) = Lab::new() else { return };
    std::fs::write(lab.path("www/abc"), "abc").expect("room");
    let server = lab.site().start();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let wrong = digest.replace("ba", "ab");
    lab.get(&[server.url("/abc")]).args(["-o", "bad", "--checksum", &format!("sha-256={wrong}")]).fail();
    assert!(!lab.listing().contains(&"bad".to_owned()), "{:?}", lab.listing());
    lab.get(&[server.url("/abc")]).args(["-o", "good", "--checksum", &format!("sha-256={digest}")]).succeed();
    lab.assert_same("good", b"abc");
    lab.get(&[server.url("/abc")])
        .args(["-o", "old", "--checksum", "md5=900150983cd24fb0d6963f7d28e17f72"])
        .succeed();
}

#[test]
fn a_limit_of_our_own_is_kept() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("own.bin", 8 * MIB);
    let server = lab.site().start();
    let done = lab.get(&[server.url("/own.bin")]).args(["--limit-rate", "2M", "-x", "4"]).succeed();
    lab.assert_same("own.bin", &content);
    let seconds = done.took.as_secs_f64();
    assert!((2.5..8.0).contains(&seconds), "8 MiB at 2 MiB/s took {seconds} s");
}
