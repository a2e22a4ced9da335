//! Switches for the rules of the specification, at the lines that enforce them. They exist for tests alone.
//!
//! In a program that people run, every rule is [`in_force`]: the function is the constant `true`, and the
//! compiler removes the test. The attack suite builds this crate with the feature `switches` and shows for
//! each attack that it succeeds when its one rule is switched off. Without that control, an attack that fails
//! could fail for another reason. `cargo xtask check` fails if any other package asks for the feature.

/// Whether a rule is in force: always.
#[cfg(not(feature = "switches"))]
#[inline(always)]
pub const fn in_force(_rule: &'static str) -> bool {
    true
}

#[cfg(feature = "switches")]
pub use switched::{in_force, without};

#[cfg(feature = "switches")]
mod switched {
    use std::cell::RefCell;

    // One for each thread: the tests of one process run side by side.
    thread_local! {
        static OFF: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// Whether a rule is in force: it is, unless [`without`] has switched it off in this thread.
    pub fn in_force(rule: &'static str) -> bool {
        OFF.with_borrow(|off| !off.contains(&rule))
    }

    /// Runs a function with one rule switched off in this thread.
    pub fn without<T>(rule: &'static str, run: impl FnOnce() -> T) -> T {
        OFF.with_borrow_mut(|off| off.push(rule));
        let result = run();
        OFF.with_borrow_mut(Vec::pop);
        result
    }
}
