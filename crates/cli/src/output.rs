//! What the program says: results on stdout, everything else on stderr. Readers of either may go away at any time.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Prints a text on stdout.
///
/// # Errors
/// The reader went away, which ends a command quietly ([`Failure::reader_left`]), or the stream cannot be written to.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::error(format!("cannot write the result to standard output: {error}")),
    })
}

/// Prints a line on stdout.
///
/// # Errors
/// See [`print`].
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    print(format_args!("{text}\n"))
}

/// Tells a line on stderr. Who reads it may go away; what the program does goes on.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
