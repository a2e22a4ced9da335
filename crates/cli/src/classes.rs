//! Warnings about the names of classes.

use cloister_experts::files::notes::near_twins;
use cloister_transport::printable;

use crate::output;

/// Warns on stderr about classes that may be meant to be one. Their names may be shown: all members agree on
/// them in the
/// task file.
pub(crate) fn warn_of_twins(classes: &[String]) {
    for twins in near_twins(classes) {
        // Class names come from a file, so they must not command the terminal.
        output::tell(format_args!("warning: {}", printable(twins.to_string().as_bytes())));
    }
}
