//! Fuzz target: see `gosh_dl_sim::scenario::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_sim::scenario::fuzz(data));
