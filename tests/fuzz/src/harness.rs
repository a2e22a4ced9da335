//! Runs the target that `CLOISTER_FUZZ_TARGET` names.

use std::sync::OnceLock;

use crate::memory;
use crate::target::Target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

/// Takes the target that the environment names.
pub(crate) fn choose(targets: &[Target]) {
    let name = std::env::var("CLOISTER_FUZZ_TARGET").expect("CLOISTER_FUZZ_TARGET names the target");
    // Whatever is made once is made before memory is counted.
    let run = targets.iter().find(|target| target.name == name).expect("the target exists").run;
    run(&[]);
    TARGET.set(run).expect("it is chosen once");
}

/// Runs it on an input, within the bounds of memory.
pub(crate) fn run(bytes: &[u8]) {
    if let Some(run) = TARGET.get() {
        memory::bounded(*run, bytes);
    }
}
