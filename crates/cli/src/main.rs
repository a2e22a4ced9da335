//! `cloister`: one program for every role.

// This program does IO: the clock and randomness of the system enter here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Everything is printed through `output`, because a reader may close the stream at any time.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failure::Failure;
use service::config_command::ConfigArguments;
use service::config_file;

#[cfg(feature = "training")]
mod classes;
#[cfg(feature = "training")]
mod client;
#[cfg(feature = "training")]
mod compute_flags;
mod consortium;
mod create;
#[cfg(feature = "training")]
mod data;
#[cfg(feature = "training")]
mod demo;
mod events;
#[cfg(feature = "training")]
mod experts;
mod failure;
mod folder;
mod generate;
mod identity;
#[cfg(feature = "training")]
mod lab;
mod link_flags;
mod output;
mod policy;
#[cfg(feature = "training")]
mod predict;
mod privacy;
#[cfg(feature = "training")]
mod progress;
#[cfg(feature = "training")]
mod round_settings;
mod run;
mod server;
mod service;
#[cfg(feature = "training")]
mod task;

/// Federated fine-tuning of Mixture-of-Experts models behind secure aggregation.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
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
    /// Run a hospital: a member, a custodian, or both, as the consortium file says.
    #[cfg(feature = "training")]
    Client(client::ClientArguments),
    /// Check the configuration file of a coordinator or a hospital.
    Config(ConfigArguments),
    /// Write man pages, or the completions of a shell.
    Generate(generate::GenerateArguments),
    /// Ask a running coordinator how its rounds stand, pause and resume them, and begin another edition.
    Run(run::RunArguments),
    /// Make and show a party's keys.
    Identity(identity::IdentityArguments),
    /// Found a consortium, change its roster, and sign its file.
    Consortium(consortium::ConsortiumArguments),
    /// Write what a consortium agrees on before it trains: task, initial parameters, round settings, and a policy.
    #[cfg(feature = "training")]
    Task(task::TaskArguments),
    /// Check a hospital's files before it trains on them.
    #[cfg(feature = "training")]
    Data(data::DataArguments),
    /// Sort new notes with a trained model. Nothing leaves this machine.
    #[cfg(feature = "training")]
    Predict(Box<predict::PredictArguments>),
    /// Check, convert and export Mixture-of-Experts models and adapters, and prepare tasks.
    #[cfg(feature = "training")]
    Experts(experts::ExpertsArguments),
    /// Explain and check a party's policy.
    Policy(policy::PolicyArguments),
    /// Plan noise for a privacy budget, and report what was spent.
    Privacy(privacy::PrivacyArguments),
    /// Run a coordinator and several hospitals on this machine, with synthetic notes or a file of yours.
    #[cfg(feature = "training")]
    Demo(demo::DemoArguments),
    /// Compare strategies of federated training on public data, in one process.
    #[cfg(feature = "training")]
    Lab(lab::LabArguments),
}

fn main() -> ExitCode {
    let result = parse().and_then(carry_out);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_reported() {
                output::tell(format_args!("cloister: {failure}"));
            }
            failure.exit_code()
        }
    }
}

/// The command line, with the defaults of a configuration file if one is given.
fn parse() -> Result<Command, Failure> {
    parse_from(std::env::args_os().collect())
}

fn parse_from(arguments: Vec<OsString>) -> Result<Command, Failure> {
    let command = config_file::with_defaults(Cli::command(), &arguments)?;
    let matches = command.get_matches_from(arguments);
    // Cannot fail: the matches come from this very command.
    Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(Failure::error)
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Server(arguments) => server::run(arguments),
        #[cfg(feature = "training")]
        Command::Client(arguments) => client::run(arguments),
        Command::Config(arguments) => parse_from(arguments.service_command()).and_then(carry_out),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Identity(arguments) => identity::run(&arguments),
        Command::Consortium(arguments) => consortium::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Privacy(arguments) => privacy::run(&arguments),
        #[cfg(feature = "training")]
        Command::Task(arguments) => task::run(&arguments),
        #[cfg(feature = "training")]
        Command::Data(arguments) => data::run(&arguments),
        #[cfg(feature = "training")]
        Command::Predict(arguments) => predict::run(&arguments),
        #[cfg(feature = "training")]
        Command::Experts(arguments) => experts::run(arguments),
        #[cfg(feature = "training")]
        Command::Demo(arguments) => demo::run(arguments),
        #[cfg(feature = "training")]
        Command::Lab(arguments) => lab::run(arguments),
    }
}
