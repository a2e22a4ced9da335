//! `cargo xtask style`: reads every source and document of the project and reports what `CONTRIBUTING.md` forbids.
//!
//! It is a separate crate, so that `cargo xtask demo` does not wait for its parser to compile.

// This program does IO: it reads the project's files.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

mod circles;
mod closures;
mod crates;
mod examples;
mod figures;
mod links;
mod modules;
mod prose;
mod repeated;
mod sizes;
mod sources;
mod words;

use sources::Sources;

const USAGE: &str = "\
style [--figures | --json]

  (nothing)   report every violation, and fail if there is one
  --figures   print what each rule counts
  --json      the same as JSON
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sources = match Sources::read() {
        Ok(sources) => sources,
        Err(failure) => {
            eprintln!("style: {failure}");
            return ExitCode::FAILURE;
        }
    };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => report(&sources),
        ["--figures"] => {
            print!("{}", figures::text(&sources));
            ExitCode::SUCCESS
        }
        ["--json"] => {
            println!("{}", figures::json(&sources));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Prints each violation on its own line, with the file that it is in.
fn report(sources: &Sources) -> ExitCode {
    let mut violations = Vec::new();
    violations.extend(circles::violations(sources));
    violations.extend(repeated::violations(sources));
    violations.extend(sizes::violations(sources));
    violations.extend(closures::violations(sources));
    violations.extend(words::violations(sources));
    violations.extend(prose::violations(sources));
    violations.extend(links::violations(sources));
    violations.extend(crates::violations(sources));
    violations.extend(examples::violations(sources));
    violations.extend(modules::violations(sources));
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("style: {} violations; CONTRIBUTING.md gives each rule and its reason", violations.len());
    ExitCode::FAILURE
}
