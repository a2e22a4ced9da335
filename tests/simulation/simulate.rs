//! `cargo xtask simulate`: random lists of operations for as long as one likes, or one list again.
//!
//! Standard output is data: with `--json` one object, which `--replay` takes when it holds a failure.

mod evidence;
mod generator;
mod invariants;
mod knowledge;
mod logs;
mod operation;
mod shrink;
mod simulation;
mod sums;

use std::process::ExitCode;

use generator::{Failure, Report, explore, explore_differences};
use operation::{Configuration, Operation};
use serde::Deserialize;
use serde_json::{Value, json};

const USAGE: &str = "cargo xtask simulate [--seed N] [--operations N] [--differences] [--json]
cargo xtask simulate --replay FILE [--json]";

enum Task {
    Explore {
        seed: u64,
        operations: usize,
    },
    /// Lists about what sums of different rounds tell together, alone.
    Differences {
        seed: u64,
        operations: usize,
    },
    Replay {
        file: String,
    },
}

struct Arguments {
    task: Task,
    json: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut seed, mut operations, mut file) = (1, 40_000, None);
        let (mut differences, mut json) = (false, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--json" => json = true,
                "--differences" => differences = true,
                "--seed" => seed = number(&word, &value()?)?,
                "--operations" => operations = number(&word, &value()?)?,
                "--replay" => file = Some(value()?),
                _ => return Err(format!("{word:?} is no option")),
            }
        }
        let operations = operations as usize;
        let explore = if differences {
            Task::Differences { seed, operations }
        } else {
            Task::Explore { seed, operations }
        };
        Ok(Self { task: file.map_or(explore, |file| Task::Replay { file }), json })
    }
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{option} takes a whole number, not {text:?}"))
}

/// A file to replay: what `--json` printed, or the failure in it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Report { failure: List },
    Failure(List),
}

#[derive(Deserialize)]
struct List {
    configuration: Configuration,
    operations: Vec<Operation>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprintln!("simulate: {fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match &arguments.task {
        Task::Explore { seed, operations } => Ok((json!({ "seed": seed }), explore(*seed, *operations))),
        Task::Differences { seed, operations } => {
            Ok((json!({ "seed": seed }), explore_differences(*seed, *operations)))
        }
        Task::Replay { file } => replay(file).map(|report| (json!({ "replay": file }), report)),
    };
    match result {
        Ok((origin, report)) => show(origin, &report, arguments.json),
        Err(fault) => {
            eprintln!("simulate: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn replay(file: &str) -> Result<Report, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let kept = serde_json::from_str(&text)
        .map_err(|_| format!("{file} holds no failure as `cargo xtask simulate --json` prints one"))?;
    let (Kept::Report { failure: List { configuration, operations } }
    | Kept::Failure(List { configuration, operations })) = kept;
    let (simulation, result) = simulation::replay(&configuration, &operations);
    let mut report = Report { largest: configuration.members, ..Report::default() };
    report.count(operations.len(), &simulation);
    report.violations.extend(result.err().map(|violation| Failure { violation, configuration, operations }));
    Ok(report)
}

/// Prints what a run found, and says by the status whether a rule was broken.
fn show(origin: Value, report: &Report, as_json: bool) -> ExitCode {
    let failure = report.violations.first().map(shrink::shrunk);
    if as_json {
        println!("{}", object(origin, report, failure.as_ref()));
    } else {
        println!("{report}");
    }
    let Some(failure) = failure else { return ExitCode::SUCCESS };
    eprintln!("{}", shrink::reproduction(&failure));
    ExitCode::FAILURE
}

fn object(mut origin: Value, report: &Report, failure: Option<&Failure>) -> Value {
    let counts = json!({
        "operations": report.operations,
        "lists": report.lists,
        "largest_roster": report.largest,
        "rounds": report.closed + report.aborted,
        "closed": report.closed,
        "aborted": report.aborted,
        "stalled": report.stalled,
        "violations": report.violations.len(),
        "failure": failure,
    });
    if let (Value::Object(all), Value::Object(counts)) = (&mut origin, counts) {
        all.extend(counts);
    }
    origin
}
