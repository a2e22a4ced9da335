//! What a user is told of classes.

use cloister_experts::files::notes::near_twins;
use cloister_transport::printable;

use crate::output;

/// Says on stderr which classes may be meant to be one. The names of classes are no note's text: every member signs them.
pub(crate) fn warn_of_twins(classes: &[String]) {
    for twins in near_twins(classes) {
        output::tell(format_args!("warning: {}", printable(twins.to_string().as_bytes())));
    }
}
