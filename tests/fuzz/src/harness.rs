//! Runs the target that `CLOISTER_FUZZ_TARGET` names.

use std::sync::OnceLock;

use crate::memory;
use crate::target::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

/// Takes the target that the environment names.
pub(crate) fn choose(targets: &'static [Target]) {
    let name = std::env::var("CLOISTER_FUZZ_TARGET").expect("CLOISTER_FUZZ_TARGET names the target");
    // Whatever is made once is made before memory is counted.
    let target = targets.iter().find(|target| target.name == name).expect("the target exists");
    (target.run)(&[]);
    TARGET.set(target).expect("it is chosen once");
}

/// Runs it on an input, within the bounds of memory.
pub(crate) fn run(bytes: &[u8]) {
    if let Some(target) = TARGET.get() {
        memory::bounded(target, bytes);
    }
}
