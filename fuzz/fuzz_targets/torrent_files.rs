//! Fuzz target: see `gosh_dl_core::fuzzing::torrent_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_core::fuzzing::torrent_files(data));
