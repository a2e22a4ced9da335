//! What `cloister run invite`, `invitations` and `uninvite` print.

use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;
use crate::output;

/// Prints the invitation alone on stdout, so that it can be piped to a mail program.
pub(super) fn print_invitation(answer: &Value) -> Result<(), Failure> {
    output::line(text(&answer["invitation"]))?;
    output::tell(format_args!(
        "Send this line to the party alone: until {} whoever has it can hand in one enrolment file. At the party: `cloister \
         enroll --invite \"…\" --identity DIR --name … --organisation …`. Invitation {} can be cancelled with `cloister run \
         uninvite {}`.",
        text(&answer["expires"]),
        answer["number"],
        answer["number"],
    ));
    Ok(())
}

/// Prints a table of all invitations. `data` is the coordinator's data folder, if it is on this machine.
pub(super) fn print_list(answer: &Value, data: Option<&Path>) -> Result<(), Failure> {
    let entries = answer["invitations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return output::line("no invitations; make one with `cloister run invite`");
    }
    output::line("number  for               valid until           state")?;
    for entry in entries {
        let roles: Vec<&str> = entry["roles"].as_array().into_iter().flatten().map(text).collect();
        let state = match entry["state"].as_str() {
            Some("used") => {
                let file = text(&entry["file"]);
                let place = match data {
                    Some(data) => data.join(file).display().to_string(),
                    None => format!("{file} in the coordinator's data folder"),
                };
                format!("used by {}: {place}", text(&entry["party"]))
            }
            state => state.unwrap_or_default().to_owned(),
        };
        let number = entry["number"].to_string();
        output::line(format_args!(
            "{number:<6}  {:<16}  {:<20}  {state}",
            roles.join("+"),
            text(&entry["expires"])
        ))?;
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
