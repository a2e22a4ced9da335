//! Memory is bounded: an input that makes a target take more than its length permits ends the program.

use std::alloc::System;
use std::panic;
use std::sync::Once;

use cap::Cap;

use crate::target::Target;

/// Bytes that each byte of input may take beyond what any input may.
const ALLOWANCE_PER_BYTE: usize = 64;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Runs a target on an input within the bounds (`WIRE-03`).
pub(crate) fn bounded(target: &Target, bytes: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(lift_when_panicking);
    let limit = MEMORY.allocated() + target.allowance + ALLOWANCE_PER_BYTE * bytes.len();
    MEMORY.set_limit(limit).expect("less than that is in use");
    (target.run)(bytes);
    MEMORY.set_limit(usize::MAX).expect("less than that is in use");
}

/// Telling of a panic takes memory too, and must not wait for it.
fn lift_when_panicking() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        MEMORY.set_limit(usize::MAX).expect("no limit is never exceeded");
        tell(what);
    }));
}
