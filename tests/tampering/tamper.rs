//! `cargo xtask tamper`: changes every field of every entry and file of recorded rounds, and looks what the audit says.
//!
//! Standard output is data: with `--json` one object. The exit status is 1 if a change is not found, or misnamed.

#![allow(clippy::unwrap_used)]

mod fields;
mod mutations;
mod rounds;

use std::process::ExitCode;

use mutations::Tamperer;
use rounds::RecordedRounds;

const USAGE: &str = "cargo xtask tamper [--json]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = match &arguments[..] {
        [] => false,
        [flag] if flag == "--json" => true,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = Tamperer::new(&RecordedRounds::new(), 1).run();
    if json {
        println!("{}", serde_json::to_string_pretty(&report).expect("it serialises"));
    } else {
        println!("{} of {} changes were found", report.detected, report.mutations);
        report.undetected.iter().for_each(|name| println!("not found: {name}"));
        report.misnamed.iter().for_each(|name| println!("misnamed: {name}"));
    }
    match report.undetected.is_empty() && report.misnamed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
