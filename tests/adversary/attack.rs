//! Tries every attack with its rule in force and with it switched off, and says what came of it.

#![allow(clippy::unwrap_used, dead_code)]

mod attacks;
mod lying;
mod stage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let mut listed = Vec::new();
    let mut all_dead = true;
    for attack in attacks::ATTACKS {
        let outcome = attack.attempt();
        let is_dead = outcome.refused && outcome.control_succeeded;
        all_dead &= is_dead;
        let said = match (outcome.refused, outcome.control_succeeded) {
            (true, true) => "refused; without its rule it succeeds",
            (true, false) => "refused, and not by its rule: the control shows nothing",
            (false, _) => "SUCCEEDED",
        };
        eprintln!("{:<50} {:<10} {said}", attack.name.replace('_', " "), attack.rule);
        listed.push(serde_json::json!({
            "name": attack.name,
            "rule": attack.rule,
            "refused": outcome.refused,
            "control_succeeded": outcome.control_succeeded,
        }));
    }
    if as_json {
        println!("{}", serde_json::json!({ "attacks": listed }));
    }
    if all_dead { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
