//! The program's output: results on stdout, everything else on stderr. The reader of either may close it at
//! any time.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Prints a text on stdout.
///
/// # Errors
/// The reader closed the stream, which ends a command quietly ([`Failure::reader_left`]), or writing failed.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    // `println!` would panic if the pipe is closed.
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::error(format!("cannot write the result to standard output: {error}")),
    })
}

/// Prints a line on stdout.
///
/// # Errors
/// See [`print()`].
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    print(format_args!("{text}\n"))
}

/// Prints a line on stderr. If its reader has closed it, the program goes on.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
