//! Fuzz target: see `gosh_dl_core::fuzzing::peers::peer_extensions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_core::fuzzing::peers::peer_extensions(data));
