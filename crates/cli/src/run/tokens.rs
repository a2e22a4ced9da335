//! What `cloister run token` prints.

use cloister_transport::printable;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;

/// Prints the token alone on stdout, so that it can go into a file.
pub(super) fn print_added(answer: &Value) -> Result<(), Failure> {
    output::line(answer["token"].as_str().unwrap_or_default())?;
    let added = &answer["added"];
    output::tell(format_args!(
        "Give this line to its operator alone, in a file that only its owner can read: it is not shown again. Until {} it gives \
         whoever has it the role {}. `cloister run token revoke {}` ends it.",
        added["expires"].as_str().unwrap_or_default(),
        added["role"].as_str().unwrap_or_default(),
        added["number"],
    ));
    Ok(())
}

/// Prints a table of all tokens.
pub(super) fn print_list(answer: &Value) -> Result<(), Failure> {
    let tokens = answer["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tokens.is_empty() {
        return output::line("no tokens; make one with `cloister run token add`");
    }
    output::line("number  role       valid until           last used             state    name")?;
    for token in tokens {
        let [role, expires, last_used, state, name] = ["role", "expires", "last_used", "state", "name"]
            .map(|field| token[field].as_str().unwrap_or("never"));
        let (number, name) = (token["number"].to_string(), printable(name.as_bytes()));
        output::line(format_args!(
            "{number:<6}  {role:<9}  {expires:<20}  {last_used:<20}  {state:<7}  {name}"
        ))?;
    }
    Ok(())
}
