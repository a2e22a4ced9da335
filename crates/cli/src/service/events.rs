//! Events as lines of JSON on stdout, for programs that follow a run.

use serde_json::Value;

use crate::service::log;

/// Prints one event; `event` names it, and `time` is when it is printed (RFC 3339, UTC).
pub(crate) fn print(mut value: Value) {
    use std::io::Write;
    value["time"] = log::now().into();
    let mut out = std::io::stdout().lock();
    // A reader that closed the stream must not end a round, so errors are ignored. Flushed, because programs
    // wait for the line.
    let _ = writeln!(out, "{}", log::escape_commands(&value.to_string())).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use cloister_transport::commands_terminals;

    use super::*;

    /// ROUND-32
    #[test]
    fn a_peers_words_reach_a_watcher_whole_and_a_terminal_as_text() {
        let words = "no part\n\u{1b}[2J\u{9b}2J\u{202e}Z\u{fc}rich \u{1f3e5}";
        let event = serde_json::json!({"event": "refused", "reason": words});
        let printed = log::escape_commands(&event.to_string());
        assert!(!printed.chars().any(commands_terminals), "{printed}");
        assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), event);
        // Control: JSON itself lets some through.
        assert!(event.to_string().chars().any(commands_terminals));
    }
}
