//! Libraries that look at notes may panic on what they find, with words that quote it. Nobody hears those.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is told to nobody.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What a library returns, or nothing where it panics; what it says then is neither passed on nor printed.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if !QUIET.get() {
                tell(what);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_what_comes_after_is_heard() {
        assert_eq!(quietly(|| 1), Some(1));
        assert_eq!(quietly(|| quietly(|| panic!("a note")).is_none() && QUIET.get()), Some(true));
        assert_eq!(quietly(|| panic!("a note")), None::<()>);
        assert!(!QUIET.get());
    }
}
