//! Calls into libraries that may panic on a note and quote it in the panic's message.
//!
//! The parsers of Parquet, tokenizers, chat templates and pickled weights panic on some damaged input. The standard
//! panic hook prints the message, which may hold a patient's text, to standard error. [`hide_panics`] suppresses it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether the panic hook prints nothing for a panic of this thread.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What a library's call returns, or `None` if it panics. The panic's message is neither returned nor printed.
///
/// After `None`, whatever the call had mutable access to may be half changed and must not be used again.
pub(crate) fn hide_panics<T>(call: impl FnOnce() -> T) -> Option<T> {
    // The hook belongs to the whole process, so it is replaced once and asks its own thread: a panic elsewhere, at
    // the same time, is still reported as before.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
    // Calls may be nested: the inner one must not switch messages on for the rest of the outer one.
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_nothing_and_later_panics_are_printed() {
        assert_eq!(hide_panics(|| 1), Some(1));
        assert_eq!(hide_panics(|| hide_panics(|| panic!("a note")).is_none() && QUIET.get()), Some(true));
        assert_eq!(hide_panics(|| panic!("a note")), None::<()>);
        assert!(!QUIET.get());
    }
}
