//! Events as lines of JSON on stdout, for programs that watch.

use cloister_transport::commands_terminals;
use serde_json::Value;

/// Prints one event; `event` names it.
pub(crate) fn print(value: &Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A watcher that went away does not stop a round.
    let _ = writeln!(out, "{}", line(value)).and_then(|()| out.flush());
}

/// An event's line. Of a peer's words everything that would command a terminal is escaped, not only what JSON asks for.
fn line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match commands_terminals(c) {
            // Such characters are in texts alone, and none needs a pair of units.
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
