//! Events as lines of JSON on stdout, for programs that follow a run.

use cloister_transport::commands_terminals;
use serde_json::Value;

/// Prints one event; `event` names it.
pub(crate) fn print(value: &Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that closed the stream must not end a round, so errors are ignored. Flushed, because programs
    // wait for the line.
    let _ = writeln!(out, "{}", line(value)).and_then(|()| out.flush());
}

/// An event's line. Every character of a peer's words that could command a terminal is escaped, more than
/// JSON requires.
fn line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match commands_terminals(c) {
            // Outside strings JSON has none of these characters, and each of them fits one `\u` escape.
            true => line += &format!("\\u{:04x}", u32::from(c)),
            false => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-32
    #[test]
    fn a_peers_words_reach_a_watcher_whole_and_a_terminal_as_text() {
        let words = "no part\n\u{1b}[2J\u{9b}2J\u{202e}Z\u{fc}rich \u{1f3e5}";
        let event = serde_json::json!({"event": "refused", "reason": words});
        let printed = line(&event);
        assert!(!printed.chars().any(commands_terminals), "{printed}");
        assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), event);
        // Control: JSON itself lets some through.
        assert!(event.to_string().chars().any(commands_terminals));
    }
}
