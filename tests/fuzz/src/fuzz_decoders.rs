//! The fuzzer of what comes from peers: libFuzzer over the target that `CLOISTER_FUZZ_TARGET` names. It needs no
//! libtorch. `cargo xtask fuzz` builds and runs it.

#![no_main]

mod decoders;
mod harness;
mod memory;
mod target;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: harness::choose(decoders::DECODERS), |bytes: &[u8]| harness::run(bytes));
