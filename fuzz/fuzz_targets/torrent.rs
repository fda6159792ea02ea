//! Fuzz target: see `gosh_dl_core::fuzzing::whole_torrent::torrent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_core::fuzzing::whole_torrent::torrent(data));
