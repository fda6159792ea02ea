//! Fuzz target: see `gosh_dl_core::fuzzing::resting::shelf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_core::fuzzing::resting::shelf(data));
