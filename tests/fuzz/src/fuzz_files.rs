//! The fuzzer of a party's own files: libFuzzer over the target that `CLOISTER_FUZZ_TARGET` names. `cargo xtask fuzz`
//! builds and runs it.

#![no_main]

mod files;
mod harness;
mod memory;
mod target;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: harness::choose(files::FILES), |bytes: &[u8]| harness::run(bytes));
