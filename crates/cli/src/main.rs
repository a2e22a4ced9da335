//! `cloister`: one program for every role.

// This program does IO: the clock and randomness of the system enter here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// What is printed goes through `output`, as readers may go away.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "training")]
mod classes;
#[cfg(feature = "training")]
mod client;
mod consortium;
#[cfg(feature = "training")]
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
#[cfg(feature = "training")]
mod lab;
mod output;
mod privacy;
#[cfg(feature = "training")]
mod progress;
#[cfg(feature = "training")]
mod round_settings;
mod server;

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
    /// Look at a consortium's rules.
    Consortium(consortium::ConsortiumArguments),
    /// Look at a hospital's files before it trains on them.
    #[cfg(feature = "training")]
    Data(data::DataArguments),
    /// Look at Mixture-of-Experts models, their blocks and adapters.
    #[cfg(feature = "training")]
    Experts(experts::ExpertsArguments),
    /// Plan, count and state what differential privacy promises.
    Privacy(privacy::PrivacyArguments),
    /// Run a coordinator and several hospitals on this machine, on synthetic notes or a file of yours.
    #[cfg(feature = "training")]
    Demo(demo::DemoArguments),
    /// Compare strategies of federated training on public data, in one process.
    #[cfg(feature = "training")]
    Lab(lab::LabArguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Server(arguments) => server::run(arguments),
        #[cfg(feature = "training")]
        Command::Client(arguments) => client::run(arguments),
        Command::Consortium(arguments) => consortium::run(&arguments),
        Command::Privacy(arguments) => privacy::run(&arguments),
        #[cfg(feature = "training")]
        Command::Data(arguments) => data::run(&arguments),
        #[cfg(feature = "training")]
        Command::Experts(arguments) => experts::run(arguments),
        #[cfg(feature = "training")]
        Command::Demo(arguments) => demo::run(arguments),
        #[cfg(feature = "training")]
        Command::Lab(arguments) => lab::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_told() {
                output::tell(format_args!("cloister: {failure}"));
            }
            failure.exit_code()
        }
    }
}
