//! What is read of torrents, and what is refused.

use super::super::{Files, MAX_ADDRESSES, MAX_FILES, MAX_PATH_DEPTH};
use super::*;
use crate::wire::bencode::{DecodeError, DictEncoder, Document, Encoder, Written, encode};
use proptest::prelude::*;

type Entries<'a> = &'a [(&'a [&'a str], i64)];

/// A key that goes, one that comes, its value, and what is said then.
type Case = (&'static [u8], &'static [u8], &'static [u8], &'static str);

/// A torrent whose info dictionary has a name, a piece length of 4 bytes, and as many hashes as it takes.
fn torrent(total: i64, write: impl FnOnce(&mut DictEncoder<'_>)) -> Vec<u8> {
    encode(|to| {
        to.dict(|top| {
            top.entry(b"info", |to| {
                to.dict(|info| {
                    let pieces = usize::try_from(total).unwrap().div_ceil(4);
                    let hashes: Vec<u8> = (0..pieces).flat_map(|piece| [piece as u8; 20]).collect();
                    info.entry(b"name", |to| to.str("name"));
                    info.entry(b"piece length", |to| to.int(4));
                    info.entry(b"pieces", |to| to.bytes(&hashes));
                    write(info);
                })
            })
        })
    })
}

fn single(length: i64) -> Vec<u8> {
    torrent(length.max(0), |info| info.entry(b"length", |to| to.int(length)))
}

fn multi(entries: Entries<'_>) -> Vec<u8> {
    with_attributes(&entries.iter().map(|(path, len)| (*path, *len, "")).collect::<Vec<_>>())
}

fn with_attributes(entries: &[(&[&str], i64, &str)]) -> Vec<u8> {
    let total = entries.iter().map(|(_, len, _)| *len).sum();
    let file = |to: Encoder<'_>, (path, len, attributes): &(&[&str], i64, &str)| {
        to.dict(|file| {
            file.entry(b"length", |to| to.int(*len));
            file.entry(b"path", |to| strings(to, path));
            if !attributes.is_empty() {
                file.entry(b"attr", |to| to.str(attributes));
            }
        })
    };
    let list =
        |to: Encoder<'_>| to.list(|list| entries.iter().for_each(|entry| list.item(|to| file(to, entry))));
    torrent(total, |info| info.entry(b"files", list))
}

fn strings(to: Encoder<'_>, strings: &[&str]) -> Written {
    to.list(|list| strings.iter().for_each(|string| list.item(|to| to.str(string))))
}

fn decode(raw: &[u8]) -> Result<Metainfo, MetainfoError> {
    Metainfo::decode(Bytes::copy_from_slice(raw))
}

fn error(raw: &[u8]) -> String {
    decode(raw).unwrap_err().to_string()
}

fn paths(files: Files<'_>) -> Vec<String> {
    let path = |names: Vec<FileName>| names.iter().map(FileName::as_str).collect::<Vec<_>>().join("/");
    files.iter().map(|file| path(file.path())).collect()
}

fn paths_of(entries: Entries<'_>) -> Vec<String> {
    paths(decode(&multi(entries)).unwrap().files())
}

/// A torrent with one more key in `info`, and one key less.
fn changed(remove: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let raw = single(10);
    let document = Document::decode(&raw).unwrap();
    let old = document.root().get(b"info").unwrap().entries().unwrap().filter(|(name, _)| *name != remove);
    let info = encode(|to| {
        to.dict(|info| {
            old.for_each(|(name, old)| info.entry(name, |to| to.raw(old.raw())));
            info.entry(key, |to| to.raw(value));
        })
    });
    encode(|to| to.dict(|top| top.entry(b"info", |to| to.raw(&info))))
}

#[test]
fn single_file_is_one_file_with_the_name_of_the_torrent() {
    let metainfo = decode(&single(10)).unwrap();
    assert!(metainfo.is_single_file() && !metainfo.is_private());
    assert_eq!(paths(metainfo.files()), ["name"]);
    assert_eq!(metainfo.files().range(0), 0..10);
    assert_eq!((metainfo.grid().pieces(), metainfo.grid().piece_len()), (3, 4));
    let last = metainfo.grid().piece(2).unwrap();
    assert_eq!(metainfo.piece_hash(last), &[2; 20]);
}

#[test]
fn files_lie_behind_each_other() {
    let metainfo = decode(&multi(&[(&["a"], 3), (&["d", "b"], 0), (&["d", "c"], 6)])).unwrap();
    let files = metainfo.files();
    assert!(!metainfo.is_single_file());
    assert_eq!(paths(files), ["a", "d/b", "d/c"]);
    assert_eq!(files.iter().map(|file| file.range()).collect::<Vec<_>>(), [0..3, 3..3, 3..9]);
    assert_eq!([0, 2, 3, 8, 9].map(|offset| files.at(offset)), [Some(0), Some(0), Some(2), Some(2), None]);
    assert_eq!(files.get(3).map(|file| file.index), None);
    assert_eq!(files.range(3), 9..9);
}

#[test]
fn info_hash_is_of_the_bytes_as_they_came() {
    // Keys unsorted, a zero too many, and something behind the end.
    let raw = b"d4:infod4:name1:a6:lengthi03e12:piece lengthi4e6:pieces20:aaaaaaaaaaaaaaaaaaaaee\n";
    let metainfo = decode(raw).unwrap();
    let info = &raw[7..raw.len() - 2];
    assert_eq!(metainfo.info_bytes(), info);
    assert_eq!(metainfo.raw(), &raw[..raw.len() - 1]);
    assert_eq!(metainfo.info_hash(), InfoHash(Sha1::digest(info).into()));
}

#[test]
fn metadata_from_a_peer_is_read_only_with_its_hash() {
    let whole = decode(&multi(&[(&["a"], 3)])).unwrap();
    let metainfo = Metainfo::from_info(&whole.info_bytes(), whole.info_hash()).unwrap();
    assert_eq!((metainfo.info_hash(), metainfo.info_bytes()), (whole.info_hash(), whole.info_bytes()));
    assert_eq!(paths(metainfo.files()), ["a"]);
    let wrong = Metainfo::from_info(&whole.info_bytes(), InfoHash([0; 20])).unwrap_err();
    assert_eq!(wrong, MetainfoError::HashMismatch);
}

#[test]
fn attributes_are_read_and_padding_needs_no_path() {
    let raw =
        with_attributes(&[(&["a"], 3, "x"), (&[], 1, "p"), (&["b"], 0, "l?h"), (&[".pad", "1"], 1, "p")]);
    let metainfo = decode(&raw).unwrap();
    let files = metainfo.files();
    let flags = |file: super::super::TorrentFile<'_>| (file.pad, file.executable, file.hidden);
    let expected = [(false, true, false), (true, false, false), (false, false, true), (true, false, false)];
    assert_eq!(files.iter().map(flags).collect::<Vec<_>>(), expected);
    assert_eq!(paths(files), ["a", ".pad/1", "b", ".pad/1"]);
    assert!(files.is_pad(1) && !files.is_pad(2));
}

#[test]
fn link_points_within_the_torrent() {
    let entry = "d4:attr1:l4:pathl1:ae12:symlink pathl2:..1:b1:cee";
    let raw =
        format!("d4:infod5:filesl{entry}d6:lengthi1e4:pathl1:xeee4:name1:n12:piece lengthi4e6:pieces20:")
            + &"a".repeat(20)
            + "ee";
    let metainfo = decode(raw.as_bytes()).unwrap();
    let link = metainfo.files().get(0).unwrap();
    assert_eq!((link.len, paths(metainfo.files())), (0, vec!["a".to_owned(), "x".to_owned()]));
    let target = link.symlink().unwrap();
    assert_eq!(target.iter().map(FileName::as_str).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(metainfo.files().get(1).unwrap().symlink(), None);
}

#[test]
fn names_are_made_safe() {
    let entries: Entries<'_> = &[
        (&["..", "etc", "pass\0wd"], 1),
        (&["/abs"], 1),
        (&["a", ".", "b"], 1),
        (&["CON"], 1),
        (&["x "], 1),
    ];
    assert_eq!(paths_of(entries), ["etc/pass_wd", "_abs", "a/b", "_CON", "x"]);
}

#[test]
fn web_servers_have_the_names_as_they_stand_in_the_torrent() {
    let metainfo = decode(&multi(&[(&["..", "a b", "é?"], 1), (&["x:y"], 1)])).unwrap();
    let paths: Vec<String> = metainfo.files().iter().map(|file| file.url_path()).collect();
    assert_eq!(paths, ["name//a%20b/%C3%A9%3F", "name/x%3Ay"]);
    assert_eq!(decode(&single(1)).unwrap().files().get(0).unwrap().url_path(), "name");
}

#[test]
fn names_that_some_disk_takes_for_the_same_get_a_number() {
    let entries: Entries<'_> = &[
        (&["d", "read.me"], 1),
        (&["D", "READ.me"], 1),
        (&["e\u{301}"], 1),
        (&["É"], 1),
        (&["a:"], 1),
        (&["a?"], 1),
        (&["a*"], 1),
        (&["a_.1"], 1),
        (&["f"], 1),
        (&["F", "x"], 1),
    ];
    let expected =
        ["d/read.me", "D/READ.1.me", "e\u{301}", "É.1", "a_", "a_.1", "a_.2", "a_.1.1", "f.1", "F/x"];
    assert_eq!(paths_of(entries), expected);
}

#[test]
fn the_same_path_twice_is_refused() {
    assert_eq!(
        error(&multi(&[(&["a", "b"], 1), (&["c"], 1), (&["a", "b"], 1)])),
        "`info.files[2].path` is the path of file 0 too"
    );
    let alike: Entries<'_> = &[(&["A"], 1), (&["a"], 1), (&["a"], 2)];
    assert_eq!(error(&multi(alike)), "`info.files[2].path` is the path of file 1 too");
    let folder = "`info.files[1].path` is a folder in the path of file 0";
    assert_eq!(error(&multi(&[(&["a", "b"], 1), (&["a"], 1)])), folder);
    assert_eq!(decode(&multi(&[(&["ab"], 1), (&["a"], 1), (&["a.b"], 1)])).map(drop), Ok(()));
}

#[test]
fn errors_name_the_key() {
    let cases: [Case; 14] = [
        (b"name", b"x", b"0:", "the torrent has no `info.name`"),
        (b"", b"name", b"2:..", "`info.name` in the torrent leaves no safe name"),
        (b"", b"name", b"i1e", "`info.name` in the torrent is of the wrong kind"),
        (b"length", b"x", b"0:", "the torrent has no `info.length`"),
        (b"", b"length", b"i-1e", "`info.length` in the torrent is out of range"),
        (b"", b"length", b"i0e", "`info.pieces` has 60 bytes, where the lengths make it 0"),
        (b"", b"length", b"i9223372036854775807e", "the files of the torrent are too long together"),
        (b"piece length", b"x", b"0:", "the torrent has no `info.piece length`"),
        (b"", b"piece length", b"i0e", "`info.piece length` in the torrent is out of range"),
        (
            b"",
            b"piece length",
            b"i4611686018427387904e",
            "`info.piece length` in the torrent is out of range",
        ),
        (b"pieces", b"x", b"0:", "the torrent has no `info.pieces`"),
        (b"", b"pieces", b"1:a", "`info.pieces` has 1 bytes, where the lengths make it 60"),
        (b"", b"files", b"i1e", "`info.files` in the torrent is of the wrong kind"),
        (b"", b"files", b"le", "the torrent has no content"),
    ];
    for (remove, key, value, expected) in cases {
        assert_eq!(error(&changed(remove, key, value)), expected);
    }
    assert_eq!(error(b"de"), "the torrent has no `info`");
    assert_eq!(error(b"d4:infoi1ee"), "`info` in the torrent is of the wrong kind");
    assert_eq!(
        error(&multi(&[(&["a"], 1), (&[".."], 1)])),
        "`info.files[1].path` in the torrent leaves no safe name"
    );
    assert_eq!(error(&multi(&[(&[], 1)])), "`info.files[0].path` in the torrent leaves no safe name");
    assert_eq!(error(&changed(b"pieces", b"meta version", b"i2e")), MetainfoError::OnlyV2.to_string());
    assert_eq!(error(b"<html>"), "not a torrent: no bencoded value starts at byte 0");
}

#[test]
fn entries_of_files_are_checked() {
    let entry = |entry: &[u8]| error(&changed(b"length", b"files", &[b"l", entry, b"e"].concat()));
    assert_eq!(entry(b"d4:pathl1:aee"), "the torrent has no `info.files[0].length`");
    assert_eq!(entry(b"d6:lengthi-1e4:pathl1:aee"), "`info.files[0].length` in the torrent is out of range");
    assert_eq!(entry(b"d6:lengthi1ee"), "the torrent has no `info.files[0].path`");
    assert_eq!(entry(b"d6:lengthi1e4:path1:ae"), "`info.files[0].path` in the torrent is of the wrong kind");
    assert_eq!(
        entry(b"d6:lengthi1e4:pathli1eee"),
        "`info.files[0].path` in the torrent is of the wrong kind"
    );
    assert_eq!(entry(b"i1e"), "`info.files` in the torrent is of the wrong kind");
    assert!(matches!(
        decode(&changed(b"length", b"files", b"ld6:lengthi1e6:lengthi1e4:pathl1:aeee")),
        Err(MetainfoError::Bencode(DecodeError::DuplicateKey(_)))
    ));
}

#[test]
fn content_without_a_byte_is_refused() {
    assert_eq!(decode(&single(0)).unwrap_err(), MetainfoError::Empty);
    assert_eq!(decode(&multi(&[(&["a"], 0)])).unwrap_err(), MetainfoError::Empty);
}

#[test]
fn limits_are_reached() {
    let deep = vec!["d"; MAX_PATH_DEPTH];
    assert!(decode(&multi(&[(&deep, 1)])).is_ok());
    let deeper = vec!["d"; MAX_PATH_DEPTH + 1];
    assert_eq!(error(&multi(&[(&deeper, 1)])), "`info.files[0].path` in the torrent is too deep");
    let many = b"d6:lengthi0e4:pathl1:aee".repeat(MAX_FILES as usize + 1);
    let too_many = changed(b"length", b"files", &[b"l", &many[..], b"e"].concat());
    assert_eq!(decode(&too_many).unwrap_err(), MetainfoError::TooManyFiles);
    let too_fine = changed(b"", b"length", format!("i{}e", 4 * (1i64 << 21) + 1).as_bytes());
    assert_eq!(decode(&too_fine).unwrap_err(), MetainfoError::TooManyPieces((1 << 21) + 1));
    let too_long = Bytes::from(vec![b'd'; MAX_METAINFO_LEN + 1]);
    assert_eq!(Metainfo::decode(too_long).unwrap_err(), MetainfoError::TooLong(MAX_METAINFO_LEN + 1));
    assert!(matches!(decode(&b"l".repeat(2 << 20)), Err(MetainfoError::WrongKind(_))));
    assert!(matches!(decode(&[b"d1:a", &b"l".repeat(2 << 20)[..]].concat()), Err(MetainfoError::Bencode(_))));
}

#[test]
fn private_is_what_is_not_plainly_public() {
    let is_private = |value: &[u8]| decode(&changed(b"", b"private", value)).unwrap().is_private();
    assert_eq!([&b"i1e"[..], b"1:1", b"i2e", b"le"].map(is_private), [true; 4]);
    assert_eq!([&b"i0e"[..], b"0:"].map(is_private), [false; 2]);
}

fn with_outer(write: impl FnOnce(&mut DictEncoder<'_>)) -> Metainfo {
    let inner = decode(&single(10)).unwrap();
    let raw = encode(|to| {
        to.dict(|top| {
            top.entry(b"info", |to| to.raw(&inner.info_bytes()));
            write(top);
        })
    });
    decode(&raw).unwrap()
}

#[test]
fn trackers_come_in_tiers_and_a_single_one_is_a_tier() {
    let announce = |top: &mut DictEncoder<'_>| top.entry(b"announce", |to| to.str(" http://a "));
    assert_eq!(with_outer(announce).trackers(), [["http://a"]]);
    let both = with_outer(|top| {
        announce(top);
        let list = b"ll3:t:13:t:2el0:ei5e3:t:3le3:t:4e";
        top.entry(b"announce-list", |to| to.raw(list));
    });
    assert_eq!(both.trackers(), [vec!["t:1", "t:2"], vec!["t:3"], vec!["t:4"]]);
    let empty = with_outer(|top| {
        announce(top);
        top.entry(b"announce-list", |to| to.raw(b"lleli1eee"));
    });
    assert_eq!(empty.trackers(), [["http://a"]]);
}

#[test]
fn what_stands_beside_the_info_is_read_and_bounded() {
    let metainfo = with_outer(|top| {
        top.entry(b"url-list", |to| to.str("http://w/"));
        top.entry(b"httpseeds", |to| strings(to, &["http://h", "http://h", ""]));
        top.entry(b"nodes", |to| to.raw(b"ll3:a.bi1eel1:ci0eeli1eee"));
        top.entry(b"comment", |to| to.bytes(b"\xffx"));
        top.entry(b"created by", |to| to.str(&"y".repeat(9000)));
        top.entry(b"creation date", |to| to.int(-5));
    });
    assert_eq!(metainfo.web_seeds(), ["http://w/"]);
    assert_eq!(metainfo.http_seeds(), ["http://h"]);
    assert_eq!(metainfo.nodes(), [("a.b".to_owned(), 1)]);
    assert_eq!(metainfo.comment(), Some("\u{fffd}x"));
    assert_eq!(metainfo.created_by().map(str::len), Some(4096));
    assert_eq!(metainfo.creation_date(), Some(-5));
    let many: Vec<String> = (0..2000).map(|n| format!("t:{n}")).collect();
    let flood = with_outer(|top| {
        let tiers = |to: Encoder<'_>| {
            to.list(|list| {
                many.chunks(100).for_each(|tier| {
                    let tier: Vec<&str> = tier.iter().map(String::as_str).collect();
                    list.item(|to| strings(to, &tier));
                })
            })
        };
        top.entry(b"announce-list", tiers);
    });
    assert_eq!(flood.trackers().iter().map(Vec::len).sum::<usize>(), MAX_ADDRESSES);
}

#[test]
fn optional_keys_of_the_wrong_kind_are_left_out() {
    let metainfo = with_outer(|top| {
        for key in
            ["announce", "announce-list", "comment", "created by", "creation date", "nodes", "url-list"]
        {
            top.entry(key.as_bytes(), |to| to.raw(b"d1:ale1:bi1ee"));
        }
    });
    assert!(metainfo.trackers().is_empty() && metainfo.web_seeds().is_empty() && metainfo.nodes().is_empty());
    assert_eq!((metainfo.comment(), metainfo.creation_date()), (None, None));
}

proptest! {
    #[test]
    fn every_file_is_reached_the_same_way(lens in prop::collection::vec(0i64..5, 1..60)) {
        prop_assume!(lens.iter().any(|len| *len > 0));
        let names: Vec<String> = (0..lens.len()).map(|n| format!("f{n}")).collect();
        let parts: Vec<[&str; 2]> = names.iter().map(|name| ["d", name.as_str()]).collect();
        let entries: Vec<(&[&str], i64)> = parts.iter().map(|part| &part[..]).zip(lens.iter().copied()).collect();
        let metainfo = decode(&multi(&entries)).unwrap();
        let files = metainfo.files();
        prop_assert_eq!(files.len(), lens.len());
        let mut at = 0;
        for (index, file) in files.iter().enumerate() {
            prop_assert_eq!(file.range(), at..at + u64::try_from(lens[index]).unwrap());
            let got = files.get(index).unwrap();
            prop_assert_eq!((got.path(), got.range(), got.index), (file.path(), file.range(), index));
            for offset in file.range() {
                prop_assert_eq!(files.at(offset), Some(index));
            }
            at += file.len;
        }
        prop_assert_eq!((at, files.at(at)), (metainfo.grid().total(), None));
    }

    #[test]
    fn no_two_files_end_up_in_one(paths in prop::collection::vec(prop::collection::vec("[aA:?.é\u{301}e]{1,3}", 1..3), 1..12)) {
        let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.iter().map(String::as_str).collect()).collect();
        let entries: Vec<(&[&str], i64)> = paths.iter().map(|path| (&path[..], 1)).collect();
        let Ok(metainfo) = decode(&multi(&entries)) else { return Ok(()) };
        let nfc = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
        let fold = |name: &FileName| nfc.normalize(&nfc.normalize(name.as_str()).to_lowercase()).into_owned();
        let mut files = std::collections::BTreeSet::new();
        let mut folders = std::collections::BTreeSet::new();
        for file in metainfo.files() {
            let path: Vec<String> = file.path().iter().map(fold).collect();
            folders.extend((1..path.len()).map(|depth| path[..depth].to_vec()));
            prop_assert!(files.insert(path));
        }
        prop_assert!(files.is_disjoint(&folders));
    }
}
