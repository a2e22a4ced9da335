//! Events as lines of JSON on stdout, for programs that watch.

use serde_json::Value;

/// Prints one event; `event` names it.
pub(crate) fn print(value: &Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A watcher that went away does not stop a round.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
