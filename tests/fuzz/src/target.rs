//! What a target is.

/// A decoder or reader under test.
pub(crate) struct Target {
    /// Its name on the command line, and of its folders.
    pub(crate) name: &'static str,
    /// Panics when the code breaks its promise.
    pub(crate) run: fn(&[u8]),
}
