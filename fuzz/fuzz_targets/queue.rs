//! Fuzz target: see `gosh_dl_core::fuzzing::swarm::queue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gosh_dl_core::fuzzing::swarm::queue(data));
