//! The fuzzer: libFuzzer over the target that `CLOISTER_FUZZ_TARGET` names. `cargo xtask fuzz` builds and runs it.

#![no_main]

mod decoders;
mod files;
mod memory;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn choose() {
    let name = std::env::var("CLOISTER_FUZZ_TARGET").expect("CLOISTER_FUZZ_TARGET names the target");
    let target = decoders::DECODERS.iter().chain(files::FILES).find(|target| target.name == name);
    // Whatever is made once is made before memory is counted.
    let run = target.expect("the target exists").run;
    run(&[]);
    TARGET.set(run).expect("it is chosen once");
}

fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(run) = TARGET.get() {
        memory::bounded(*run, bytes);
    }
});
