//! `cargo xtask`: the project's own commands. Run it without arguments for the list.

// This program does IO: the clock and randomness of the system enter here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

mod accounting;
mod audit;
mod bench_train;
mod build_cost;
mod commands;
mod fence;
mod fixtures;
mod fuzz;
mod hardening;
mod package;
mod program;
mod python;
mod setup;
mod trace;
mod vectors;
mod vetting;
mod workspace;

/// What went wrong, in one sentence that says what to do.
type Failure = String;

const USAGE: &str = "\
cargo xtask COMMAND

  setup            install what is missing: libtorch, the MiniLM weights
  demo [ARGS…]     set up, build, and run the main job: a coordinator and eight hospitals
  test [SUITE]     set up, and pass every test, or those of one crate or suite
  cloister ARGS…   run the program with the environment that it needs
  model smollm2    fetch SmolLM2-135M and make it a Mixture of Experts under target/models, for the lab
  package [--without-training] [--out DIR] [--binaries DIR] [--profile NAME]
                   an archive and Debian packages, under target/package unless told otherwise
  env              print that environment as shell exports
  check            formatting, lints, style, documentation, the crate graph, the dependencies, the traces
  build-cost [--fresh]
                   what a fresh build of the program costs in processor time, and fail if it is too much
  fence            check the crate graph alone
  style [--figures | --json]
                   check sizes, names, closures, circles of modules, front pages and prose, or print what they count
  vetting          check where dependencies are from, their licences, their versions
  trace [--write]  check that every requirement is defined once, in code, and tested
  simulate [--seed N] [--operations N] [--json] | --replay FILE [--json]
                   random lists of operations over whole consortia; a list that breaks a rule is shrunk and printed
  attack [--json]  every attack that must stay dead, with its one rule in force and switched off
  tamper [--json]  every field of every entry and file of recorded rounds changed; `audit verify` must find and name it
  bench masks [--runs N] [--json] | noise [--json]
                   how fast masks are expanded and added, or noise is drawn, on this machine
  bench train [--size tiny|middle] [--precision float32|bfloat16] [--private | --regulariser] [--runs N] [--at-least RATIO] [--json] | --carry FOLDER
                   how fast adapters learn, beside Python's transformers with peft, or what DP-SGD costs; or a folder that
                   measures it on a machine without Rust
  fuzz [TARGET] [--seconds N] [--executions N] [--json] | TARGET --replay FILE
                   fuzz every decoder, or one; ten seconds each unless told otherwise
  constant-time    run what works on secrets under Valgrind; planted leaks must be found
  memory           run the tests of the mask kernels under AddressSanitizer
  vectors [--check]  write the protocol's test vectors, or check them in both directions
  accounting [--check]  write the accountant's reference values with PyPI dp-accounting, or compare with them
  audit [ARGS…]    run the lab's audit, quick without arguments, and bound ε from its scores with PyPI jax-privacy too
  fixtures [--check]  write the tiny models of the tests with Python's transformers, or check them, and what PEFT makes of
                   our adapters
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let result = match command.as_str() {
        "setup" => setup::ensure().and_then(|_| setup::ensure_valgrind()).map(|_| ExitCode::SUCCESS),
        "demo" => commands::cloister("demo", rest),
        "cloister" => commands::cloister_arguments(rest),
        "model" => commands::model(rest),
        "test" => commands::test(rest),
        "package" => package::run(rest),
        "env" => commands::print_environment(),
        "check" => commands::check(),
        "trace" => trace::run(rest),
        "simulate" => commands::simulate(rest),
        "attack" => commands::attack(rest),
        "tamper" => commands::tamper(rest),
        "bench" => commands::bench(rest),
        "constant-time" => hardening::constant_time(rest),
        "memory" => hardening::memory(rest),
        "fuzz" => setup::ensure().and_then(|installed| fuzz::run(rest, &installed)),
        "vectors" => vectors::run(rest),
        "accounting" => accounting::run(rest),
        "audit" => audit::run(rest),
        "fixtures" => fixtures::run(rest),
        "vetting" => vetting::check().map(|()| ExitCode::SUCCESS),
        "build-cost" => build_cost::run(rest),
        "style" => commands::style(rest),
        "fence" => fence::check().map(|()| ExitCode::SUCCESS),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("unknown command {other:?}; run `cargo xtask` for the list")),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("xtask: {failure}");
        ExitCode::FAILURE
    })
}
