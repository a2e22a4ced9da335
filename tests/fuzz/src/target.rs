//! What is fuzzed.

/// Something that takes any bytes.
#[derive(Debug)]
pub(crate) struct Target {
    /// What `cargo xtask fuzz` calls it.
    pub(crate) name: &'static str,
    /// Panics when a promise is broken.
    pub(crate) run: fn(&[u8]),
    /// Bytes of memory that any input may take.
    pub(crate) allowance: usize,
}

impl Target {
    /// A target that may take what a decoder of messages may: lists are reserved by the MiB at most, whatever their
    /// length claims.
    pub(crate) const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, allowance: 4 << 20 }
    }
}
