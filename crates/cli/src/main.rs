//! `cloister`: one program for every role.

// This program does IO: the clock and randomness of the system enter here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Everything is printed through `output`, because a reader may close the stream at any time.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cloister_transport::printable;

use failure::Failure;
use service::config_command::ConfigArguments;
use service::config_file;
use training_command::TrainingCommand;

mod audit;
mod byte_count;
#[cfg(feature = "training")]
mod canaries;
#[cfg(feature = "training")]
mod classes;
#[cfg(feature = "training")]
mod client;
#[cfg(feature = "training")]
mod compute_flags;
mod consortium;
mod create;
mod custodian;
#[cfg(feature = "training")]
mod data;
#[cfg(feature = "training")]
mod demo;
mod doctor;
mod enroll;
mod evaluation;
#[cfg(feature = "training")]
mod experts;
mod failure;
mod folder;
mod generate;
mod http;
mod identity;
#[cfg(feature = "training")]
mod lab;
#[cfg(not(feature = "training"))]
mod launcher;
#[cfg(any(test, not(feature = "training")))]
mod libtorch;
mod libtorch_version;
mod link_flags;
mod model;
mod output;
mod page;
mod party;
mod policy;
#[cfg(feature = "training")]
mod predict;
mod privacy;
mod progress;
#[cfg(feature = "training")]
mod round_settings;
mod rounds_so_far;
mod run;
mod server;
mod service;
#[cfg(feature = "training")]
mod sketch_flag;
#[cfg(feature = "training")]
mod task;
mod training_command;
mod utc_time;
mod whole_number;
mod withdraw;

/// Federated fine-tuning of Mixture-of-Experts models behind secure aggregation.
#[derive(Debug, Parser)]
#[command(name = "cloister", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Parsed once; its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a coordinator.
    Server(server::ServerArguments),
    /// Run a custodian that is no member: it holds shares and signs seals, and needs no notes and no libtorch.
    Custodian(custodian::CustodianArguments),
    /// Check the configuration file of a coordinator, a hospital or a custodian.
    Config(ConfigArguments),
    /// Examine the machine of a coordinator, a hospital or a custodian, before and while it runs. Nothing is changed.
    Doctor(doctor::DoctorArguments),
    /// Write man pages, or the completions of a shell.
    Generate(generate::GenerateArguments),
    /// Ask a running coordinator how its rounds stand, pause and resume them, and begin another edition.
    Run(run::RunArguments),
    /// Make and show a party's keys.
    Identity(identity::IdentityArguments),
    /// Enrol by an invitation of the coordinator's operator, and get the consortium file.
    Enroll(enroll::EnrollArguments),
    /// Found a consortium, change its roster, and sign its file.
    Consortium(consortium::ConsortiumArguments),
    /// List the models that a coordinator keeps, and get one of them at a hospital.
    Model(model::ModelArguments),
    /// Explain and check a party's policy.
    Policy(policy::PolicyArguments),
    /// Plan noise for a privacy budget, and report what was spent.
    Privacy(privacy::PrivacyArguments),
    /// Check what a coordinator kept of its rounds.
    Audit(audit::EvidenceArguments),
    /// Erase what a hospital or a custodian that leaves its consortium has on this machine, and state it.
    Withdraw(withdraw::WithdrawArguments),
    #[command(flatten)]
    Training(TrainingCommand),
}

fn main() -> ExitCode {
    let result = expect_version().and_then(|()| carry_out(std::env::args_os().collect()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_reported() {
                // It may quote a file that somebody else wrote.
                let lines: Vec<String> =
                    failure.to_string().lines().map(|line| printable(line.as_bytes())).collect();
                output::tell(format_args!("cloister: {}", lines.join("\n")));
            }
            failure.exit_code()
        }
    }
}

/// Set by the program without libtorch to its version when it starts the one with libtorch.
const EXPECTED_VERSION: &str = "CLOISTER_EXPECTED_VERSION";

/// Refuses to take the place of a program of another version, whose flags and files may be others.
fn expect_version() -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match std::env::var(EXPECTED_VERSION) {
        Ok(expected) if expected != version => Err(Failure::config(format!(
            "the installation has `cloister` {expected} and the training program {version}; install both in one version"
        ))),
        _ => Ok(()),
    }
}

/// The command line, with the defaults of a configuration file if one is given.
fn parse(arguments: &[OsString]) -> Result<Command, Failure> {
    let command = config_file::with_defaults(Cli::command(), arguments)?;
    let matches = command.get_matches_from(arguments);
    // Cannot fail: the matches come from this very command.
    Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(Failure::error)
}

/// The command of a service's command line. What is wrong with its configuration file is a failure, and the program goes on.
fn parse_service(arguments: &[OsString]) -> Result<Command, Failure> {
    let command = config_file::with_defaults(Cli::command(), arguments)?;
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| cli.command).map_err(|error| {
        let text = error.render().to_string();
        // The usage that follows is the service's.
        let words = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        Failure::config(words.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

fn carry_out(arguments: Vec<OsString>) -> Result<(), Failure> {
    match parse(&arguments)? {
        Command::Server(arguments) => server::run(arguments),
        Command::Custodian(arguments) => custodian::run(arguments),
        Command::Config(arguments) => carry_out(arguments.service_command()),
        Command::Doctor(flags) => doctor::run(&flags, &arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Identity(arguments) => identity::run(&arguments),
        Command::Enroll(arguments) => enroll::run(arguments),
        Command::Consortium(arguments) => consortium::run(&arguments),
        Command::Model(model) => model::run(&model, &arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Privacy(arguments) => privacy::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Withdraw(arguments) => withdraw::run(&arguments),
        #[cfg(feature = "training")]
        Command::Training(command) => train(command),
        // Their flags are for the training program to read.
        #[cfg(not(feature = "training"))]
        Command::Training(_) => launcher::run(&arguments),
    }
}

#[cfg(feature = "training")]
fn train(command: TrainingCommand) -> Result<(), Failure> {
    match command {
        TrainingCommand::Client(arguments) => client::run(arguments),
        TrainingCommand::Task(arguments) => task::run(&arguments),
        TrainingCommand::Data(arguments) => data::run(&arguments),
        TrainingCommand::Predict(arguments) => predict::run(&arguments),
        TrainingCommand::Canaries(arguments) => canaries::run(&arguments),
        TrainingCommand::Experts(arguments) => experts::run(arguments),
        TrainingCommand::Demo(arguments) => demo::run(arguments),
        TrainingCommand::Lab(arguments) => lab::run(arguments),
    }
}
