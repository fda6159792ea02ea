//! Over HTTP: what is sent, what is read, and what servers do wrong.

use super::*;

#[test]
fn announce_is_asked_and_answered_and_the_connection_given_back() {
    let mut table = Table::started(&[&["http://me:pw@a/announce?passkey=k"]]);
    let link = table.lease("http://a");
    let (_, request) = table.links[&link].clone();
    assert_eq!(
        request,
        "GET /announce?passkey=k&info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=pppppppppppppppppppp&port=6881\
         &uploaded=1&downloaded=2&left=3&compact=1&numwant=200&key=0000BEEF&event=started HTTP/1.1\r\n\
         Host: a\r\nUser-Agent: test/1\r\nAccept-Encoding: identity\r\nAuthorization: Basic bWU6cHc=\r\n\r\n"
    );
    let body = b"d8:completei7e11:external ip4:\x01\x02\x03\x0410:incompletei8e8:intervali1800e\
        5:peers6:\x0a\0\0\x01\x1a\xe110:tracker id2:xy15:warning message5:\x1b[31me";
    table.reply_with(link, "200 OK", body);
    assert!(table.links.is_empty());
    assert_eq!(
        (&*table.peers, &*table.ips),
        (&[peer("10.0.0.1:6881")][..], &["1.2.3.4".parse().unwrap()][..])
    );
    let shown = "http://a/announce?passkey=…".to_owned();
    assert_eq!(table.messages, [(shown.clone(), "\\u{1b}[31m".to_owned(), MessageKind::Warning)]);
    let expected = TrackerStatus {
        url: shown,
        tier: 0,
        state: TrackerState::Working,
        next_announce: Some(table.now + SECOND * 1800),
        last_answer: Some(table.now),
        last_error: None,
        warning: Some("\\u{1b}[31m".to_owned()),
        failures: 0,
        seeders: Some(7),
        leechers: Some(8),
        completed: None,
        peers_received: 1,
    };
    assert_eq!(table.announcer.trackers(), [expected]);
    table.pass(SECOND * 1800);
    let again = table.serve("http://a", body);
    assert!(again.ends_with("&numwant=50&key=0000BEEF&trackerid=xy"), "{again}");
    assert_eq!(table.messages.len(), 1, "the same warning is told once");
}

#[test]
fn answer_may_come_byte_by_byte() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let link = table.lease("http://a");
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", GOOD.len());
    for byte in [head.as_bytes(), GOOD].concat() {
        table.reply(link, &[byte]);
    }
    assert_eq!(table.peers, [peer("10.0.0.1:6881")]);
    assert!(table.links.is_empty());
}

#[test]
fn refusal_is_told_to_the_user_escaped_and_once() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    for status in ["200 OK", "400 Bad Request"] {
        let link = table.lease("http://a");
        table.reply_with(link, status, b"d14:failure reason12:\x1b]0;owned\x07\x0d\x0ae");
        assert_eq!(table.error(), "\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}");
        table.pass(SECOND * 40);
    }
    let expected = (
        "http://a/announce".to_owned(),
        "\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}".to_owned(),
        MessageKind::Failure,
    );
    assert_eq!(table.messages, [expected]);
}

#[test]
fn each_failure_says_what_is_wrong_and_shows_no_secret() {
    let secret = "http://a/0123456789abcdef0123456789abcdef/announce";
    let error = |act: &dyn Fn(&mut Table, LinkKey)| {
        let mut table = Table::started(&[&[secret]]);
        let link = table.lease("http://a");
        act(&mut table, link);
        assert!(table.links.is_empty(), "{}", table.error());
        assert_eq!(table.states()[0].1, TrackerState::Failing);
        assert!(table.messages.is_empty() && !table.error().contains("0123456789abcdef"));
        table.error()
    };
    let reply = |head: &'static str, body: &'static [u8]| {
        error(&move |table: &mut Table, link| table.reply_with(link, head, body))
    };
    assert_eq!(reply("404 Not Found", b"<html>"), "the tracker answered 404");
    assert_eq!(reply("500 Oops", GOOD), "the tracker answered 500");
    assert_eq!(reply("302 Found", b""), "the tracker answered 302");
    assert_eq!(
        reply("200 OK", b""),
        "the answer is not that of a tracker: the bencoding is cut off at byte 0"
    );
    assert_eq!(
        reply("200 OK", b"<html>"),
        "the answer is not that of a tracker: no bencoded value starts at byte 0"
    );
    assert_eq!(
        reply("200 OK", b"d5:peers6:abc"),
        "the answer is not that of a tracker: the bencoding is cut off at byte 13"
    );
    assert_eq!(reply("200 OK", b"de"), "the answer has neither an interval nor peers");
    let encoded = reply("200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b");
    assert_eq!(encoded, "the tracker compresses its answer although it was asked not to");
    let cut = |table: &mut Table, link| {
        table.reply(link, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nd5:p");
        table.input(link, LinkInput::Closed(LinkError::Eof));
    };
    assert_eq!(error(&cut), "closed by the other side");
    let garbage = |table: &mut Table, link| table.reply(link, b"\0\0\0\0\r\n\r\n");
    assert_ne!(error(&garbage), "");
}

#[test]
fn huge_body_ends_the_exchange_at_its_limit() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let link = table.lease("http://a");
    table.reply(link, b"HTTP/1.1 200 OK\r\n\r\n");
    table.reply(link, &vec![b'l'; 1 << 20]);
    assert!(table.links.contains_key(&link));
    table.reply(link, b"l");
    assert_eq!((table.links.len(), table.error()), (0, "the answer is too long".into()));
}

#[test]
fn answer_that_drips_is_given_up_after_a_minute() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let link = table.lease("http://a");
    table.reply(link, b"HTTP/1.1 200 OK\r\n\r\n");
    let began = table.now;
    while table.links.contains_key(&link) {
        table.pass(SECOND * 5);
        if table.links.contains_key(&link) {
            table.reply(link, b"l");
        }
    }
    assert_eq!((table.now - began, table.error()), (SECOND * 60, "the tracker does not answer".into()));
}

#[test]
fn silent_server_is_given_up() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    table.lease("http://a");
    table.pass(SECOND * 30);
    assert_eq!((table.links.len(), table.error()), (0, "the server stopped responding".into()));
}

#[test]
fn host_that_gives_no_connection_fails() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let (slot, _) = table.leases.remove(0);
    let origin = crate::wire::http::HttpUrl::parse("http://a").unwrap().origin().clone();
    let error = DownloadError::Connect { origin, error: LinkError::Refused };
    table.act(|announcer, now| announcer.lease_failed(now, slot, error));
    assert_eq!(table.error(), "http://a: connection refused");
    table.pass(SECOND * 20);
    // One that never says anything is not waited for.
    assert_eq!(table.leases.len(), 1);
    table.pass(SECOND * 60);
    assert_eq!((table.leases.len(), table.error()), (0, "the tracker does not answer".into()));
}

#[test]
fn kept_connection_that_was_closed_meanwhile_is_nobodys_fault() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    for _ in 0..3 {
        let link = table.lease_of("http://a", true);
        table.input(link, LinkInput::Closed(LinkError::Reset));
        assert_eq!(table.states()[0].1, TrackerState::Announcing);
    }
    let link = table.lease_of("http://a", true);
    table.input(link, LinkInput::Closed(LinkError::Reset));
    assert_eq!(table.error(), "connection reset");
}

#[test]
fn server_that_asks_to_wait_is_left_alone() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let link = table.lease("http://a");
    table.reply_with(link, "503 Busy\r\nRetry-After: 600", b"");
    table.pass(SECOND * 599);
    assert!(table.leases.is_empty());
    table.pass(SECOND);
    assert_eq!(table.leases.len(), 1);
}

#[test]
fn redirects_are_followed_without_the_password() {
    let mut table = Table::started(&[&["http://me:pw@a/announce"]]);
    let link = table.lease("http://a");
    table.reply_with(link, "301 Moved\r\nLocation: /other/announce?x=1", b"moved");
    let link = table.lease("http://a");
    assert!(table.links[&link].1.contains("\r\nAuthorization: Basic bWU6cHc=\r\n"));
    assert_eq!(table.target(link), "/other/announce?x=1");
    table.reply_with(link, "307 Moved\r\nLocation: https://b/announce", b"");
    let link = table.lease("https://b");
    assert!(!table.links[&link].1.contains("Authorization"), "{}", table.links[&link].1);
    table.reply_with(link, "200 OK", GOOD);
    assert_eq!(table.states()[0].1, TrackerState::Working);
}

#[test]
fn redirect_loop_ends_after_five() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    for _ in 0..6 {
        let link = table.lease("http://a");
        table.reply_with(link, "302 Found\r\nLocation: http://a/announce", b"");
    }
    assert_eq!((table.leases.len(), table.error()), (0, "too many redirects".into()));
}

#[test]
fn redirects_lead_neither_into_the_own_network_nor_to_other_schemes() {
    let error = |location: &str| {
        let mut table = Table::started(&[&["http://a/announce"]]);
        let link = table.lease("http://a");
        table.reply_with(link, &format!("302 Found\r\nLocation: {location}"), b"");
        assert!(table.leases.is_empty() && table.links.is_empty());
        table.error()
    };
    for local in [
        "http://127.0.0.1/announce",
        "http://[::1]:8080/announce",
        "http://169.254.169.254/",
        "http://0x7f.1/",
    ] {
        assert_eq!(error(local), "redirects into the own network", "{local}");
    }
    for other in ["file:///etc/passwd", "ftp://b/", "gopher://b/", "udp://b:1/"] {
        assert_eq!(
            error(other),
            "redirects to a URL that cannot be asked: only http and https URLs are supported"
        );
    }
}

#[test]
fn local_services_are_asked_for_announces_only() {
    let table = Table::started(&[&["http://127.0.0.1:8080/admin/reboot"], &["http://127.0.0.1/announce"]]);
    assert_eq!(table.leases.iter().map(|lease| &*lease.1).collect::<Vec<_>>(), ["http://127.0.0.1"]);
    assert_eq!(table.error(), "a tracker in the own network must be called /announce");
    assert_eq!(table.reaches[&table.leases[0].0], Reach::Host);
}

#[test]
fn names_that_lead_into_the_own_network_count_as_what_they_lead_to() {
    let mut table = Table::started(&[&["http://a/admin"]]);
    assert_eq!(table.lead_astray(), Reach::Elsewhere);
    assert_eq!(table.error(), "a tracker in the own network must be called /announce");
    let mut table = Table::started(&[&["http://a/announce"]]);
    assert_eq!(table.lead_astray(), Reach::Host);
    assert_eq!(table.error(), "not the address of a host");
    let mut table = Table::started(&[&["http://a/announce"]]);
    let link = table.lease("http://a");
    table.reply_with(link, "302 Found\r\nLocation: http://b/announce", b"");
    assert_eq!(table.lead_astray(), Reach::Elsewhere);
    assert_eq!(table.error(), "redirects into the own network");
    assert_eq!(table.states()[0].1, TrackerState::Failing);
}

#[test]
fn of_ten_thousand_peers_as_many_are_taken_as_were_asked_for() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let body = [b"d5:peers60000:", &[1; 60_000][..], b"e"].concat();
    table.serve("http://a", &body);
    assert_eq!(table.peers.len(), 200);
}

#[test]
fn scrape_is_asked_for_and_shown_at_most_once_a_minute() {
    let mut table = Table::new(&[&["http://a/x/announce.php?k=v"], &["http://b/no"]]);
    table.act(|announcer, now| announcer.scrape(now));
    assert_eq!(table.leases.len(), 1);
    let body = b"d5:filesd20:hhhhhhhhhhhhhhhhhhhhd8:completei11e10:downloadedi12e10:incompletei13eeee";
    let target = table.serve("http://a", body);
    assert_eq!(target, "/x/scrape.php?k=v&info_hash=hhhhhhhhhhhhhhhhhhhh");
    let status = table.announcer.trackers().remove(0);
    assert_eq!((status.seeders, status.completed, status.leechers), (Some(11), Some(12), Some(13)));
    table.act(|announcer, now| announcer.scrape(now));
    assert!(table.leases.is_empty());
    table.pass(SECOND * 60);
    table.act(|announcer, now| announcer.scrape(now));
    let link = table.lease("http://a");
    table.reply_with(link, "404 Not Found", b"");
    assert_eq!((table.states()[0].1, table.error()), (TrackerState::Idle, String::new()));
}
