//! `gosh-dl get`, as people and scripts run it.

use crate::lab::{Home, content};
use crate::origin::{Origin, Resource};
use std::io::{Read as _, Write as _};

#[test]
fn a_file_is_saved_and_no_state_is_left() {
    let (home, origin) = (Home::new(), Origin::new());
    let body = content(300_000);
    let url = origin.put("/dir/a.bin", Resource::new(body.clone()));
    let ended = home.run(&["get", &url]).expect(0);
    assert!(home.read("a.bin") == body);
    assert_eq!(home.names(), ["a.bin"]);
    assert_eq!(home.states(), [""; 0]);
    let path = home.file("a.bin");
    assert!(
        ended.stdout.starts_with(&format!("saved {} (293.0 KiB in ", path.display())),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stdout.lines().count(), 1);
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_empty_file_is_saved() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new(""));
    let ended = home.run(&["get", &url]).expect(0);
    assert!(ended.stdout.starts_with("saved "), "{}", ended.stdout);
    assert_eq!(home.read("a"), b"");
}

#[test]
fn name_and_directory_are_those_asked_for() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    home.run(&["get", &url, "-d", "new/deep", "-o", "b"]).expect(0);
    assert_eq!(home.read("new/deep/b"), b"x");
}

#[test]
fn quiet_says_nothing() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    let ended = home.run(&["get", "-q", &url]).expect(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn a_missing_file_is_one_line_and_code_1() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.url("/missing");
    let ended = home.run(&["get", &url]).expect(1);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with(&format!("gosh-dl: {url}: ")), "{}", ended.stderr);
    assert!(ended.stderr.contains("404") && ended.stderr.ends_with("; check the URL\n"), "{}", ended.stderr);
    assert_eq!((home.names(), home.states()), (vec![], vec![]));
}

#[test]
fn the_next_step_is_named() {
    let (home, origin) = (Home::new(), Origin::new());
    let locked = origin.put("/locked", Resource::status("401 Unauthorized"));
    let ended = home.run(&["get", &locked]).expect(1);
    assert!(ended.stderr.contains("give user:password@ before the host"), "{}", ended.stderr);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let plain = format!("https://{}/a", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ended = home.run(&["get", "--max-tries", "1", &plain]).expect(1);
    assert!(ended.stderr.contains("the server may not speak TLS at that port"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("127.0.0.1").count(), 1, "{}", ended.stderr);
    assert!(home.run(&["get"]).expect(2).stderr.contains("-i FILE"));
    let ended = home.run(&["get", "-H", "Host: x", &locked]).expect(2);
    assert!(ended.stderr.contains("--header \"Host: x\""), "{}", ended.stderr);
}

#[test]
fn a_wait_for_the_next_try_is_told() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/busy", Resource::status("503 Service Unavailable"));
    let ended = home.run(&["get", "--max-tries", "2", &url]).expect(1);
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    let told = format!("gosh-dl: {url}: the server answered 503 (service unavailable); trying again in ");
    assert!(lines[0].starts_with(&told), "{}", ended.stderr);
    let json = home.run(&["get", "--max-tries", "2", "--json", &url]).expect(1).json();
    let wait = json.iter().find(|line| line["event"] == "waiting").unwrap();
    assert_eq!(wait["kind"], "network");
    assert!(wait["retry_in"].as_f64().is_some_and(|seconds| seconds > 0.0), "{wait}");
    let quiet = home.run(&["get", "--max-tries", "2", "-q", &url]).expect(1);
    assert_eq!(quiet.stderr.lines().count(), 1, "{}", quiet.stderr);
}

#[test]
fn one_failure_of_many_is_code_1_and_a_summary() {
    let (home, origin) = (Home::new(), Origin::new());
    let urls = ["/a", "/b"].map(|path| origin.put(path, Resource::new(path)));
    let ended = home.run(&["get", &urls[0], &origin.url("/missing"), &urls[1]]).expect(1);
    assert_eq!(home.names(), ["a", "b"]);
    assert!(ended.stderr.ends_with("2 of 3 done, 1 failed\n"), "{}", ended.stderr);
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let home = Home::new();
    for arguments in [
        &["get"][..],
        &["get", "not-a-url"],
        &["get", "--connections", "0", "http://h.example/"],
        &["get", "--out", "x", "http://h.example/1", "http://h.example/2"],
        &["get", "--input-file", "missing"],
        &["get", "--no-such-option", "http://h.example/"],
        &["nonsense"],
    ] {
        let ended = home.run(arguments).expect(2);
        assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("gosh-dl: "), "{}", ended.stderr);
    }
}

#[test]
fn requests_carry_what_was_asked() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    let options =
        ["--user-agent", "me/1", "--referer", "http://r.example/", "-H", "X-Key: v: w", "--cookie", "k=v"];
    home.run(&[&["get", &url], &options[..]].concat()).expect(0);
    let head = origin.heads().concat().to_ascii_lowercase();
    for line in
        ["user-agent: me/1\r\n", "referer: http://r.example/\r\n", "x-key: v: w\r\n", "cookie: k=v\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn json_tells_every_step() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new(content(100_000)));
    let ended = home.run(&["get", "--json", &url, &origin.url("/missing")]).expect(1);
    let lines = ended.json();
    let of = |url: &str| -> Vec<_> { lines.iter().filter(|line| line["url"] == url).cloned().collect() };
    let words: Vec<_> = of(&url).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!((words[0].as_str(), words[1].as_str()), ("added", "started"));
    let last = of(&url).pop().unwrap();
    assert_eq!(last["event"], "completed");
    assert_eq!(last["path"].as_str(), home.file("a").to_str());
    assert_eq!((last["total"].as_u64(), last["completed"].as_u64()), (Some(100_000), Some(100_000)));
    assert_eq!(last["id"].as_str().map(str::len), Some(16));
    let failed = of(&origin.url("/missing")).pop().unwrap();
    assert_eq!((&failed["event"], &failed["kind"]), (&"failed".into(), &"network".into()));
    assert_eq!(failed["retryable"], false);
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("404")));
}

#[test]
fn nothing_that_a_server_says_drives_the_terminal() {
    let (home, origin) = (Home::new(), Origin::new());
    let name = "Content-Disposition: attachment; filename*=UTF-8''%1B%5B2Ja%E2%80%AEgpj.exe%C2%9B";
    let named = origin.put("/named", Resource::new("x").header(name));
    let reason = origin.put("/reason", Resource::status("404 \u{1b}[31mgone\u{7}\u{202e}"));
    let moved = Resource::status("302 Found").header("Location: ftp://h.example/\u{1b}]0;title\u{7}");
    let moved = origin.put("/moved", moved);
    for extra in [&[][..], &["--json"], &["-vvv"]] {
        let home = Home::new();
        let ended =
            home.run(&[&["get", "--max-tries", "1", &named, &reason, &moved], extra].concat()).expect(1);
        ended.expect_harmless();
    }
    home.run(&["get", "--max-tries", "1", "--timeout", "5", "http://127.0.0.1:1/%1b\u{202e}"])
        .expect(1)
        .expect_harmless();
}

#[test]
fn an_existing_file_is_treated_as_asked() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a.txt", Resource::new("new"));
    std::fs::write(home.file("a.txt"), "old").unwrap();
    let skip = home.run(&["get", &url, "--on-conflict", "skip"]).expect(0);
    assert!(skip.stdout.starts_with("skipped ") && skip.stdout.contains("already there"), "{}", skip.stdout);
    let fail = home.run(&["get", &url, "--on-conflict", "fail"]).expect(1);
    assert!(fail.stderr.contains("--on-conflict rename"), "{}", fail.stderr);
    assert_eq!(home.read("a.txt"), b"old");
    home.run(&["get", &url]).expect(0);
    assert_eq!((home.read("a.txt"), home.read("a.1.txt")), (b"old".to_vec(), b"new".to_vec()));
    home.run(&["get", &url, "--on-conflict", "overwrite"]).expect(0);
    assert_eq!(home.read("a.txt"), b"new");
}

#[test]
fn a_wrong_checksum_is_code_1() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("abc"));
    home.run(&["get", &url, "--checksum", "md5=900150983cd24fb0d6963f7d28e17f72"]).expect(0);
    let ended =
        home.run(&["get", &url, "-o", "b", "--checksum", "md5=00000000000000000000000000000000"]).expect(1);
    assert!(ended.stderr.contains("check the checksum"), "{}", ended.stderr);
    assert_eq!(home.names().iter().filter(|name| *name == "b").count(), 0);
}

#[test]
fn a_list_from_standard_input_is_fetched() {
    let (home, origin) = (Home::new(), Origin::new());
    let mut list = String::from("# files\n");
    for index in 0..200 {
        let url = origin.put(&format!("/{index}"), Resource::new(format!("file {index}")));
        list.push_str(&format!("{url}\n  out=file-{index}\n"));
    }
    let ended = home.run_with_input(&["get", "-j", "16", "-i", "-"], &list).expect(0);
    assert_eq!((home.names().len(), ended.stdout.lines().count()), (200, 200));
    assert_eq!(home.read("file-123"), b"file 123");
    assert!(ended.stderr.ends_with("200 of 200 done\n"), "{}", ended.stderr);
    assert_eq!(home.states(), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    for arguments in [
        &["get", "--json", &url][..],
        &["get", &url],
        &["completions", "zsh"],
        &["--version"],
        &["get", "--help"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "gosh-dl: cannot write to standard output: No space left on device\n");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    for arguments in [&["get", "--json", &url][..], &["completions", "zsh"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = home.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{arguments:?}");
    }
}
