//! `cloister canaries`: whether a trained model recites what was planted in the notes that it was trained on.

mod plant;
mod report;
mod test;

use std::path::Path;

use clap::{Args, Subcommand};
use cloister_crypto::hash::{Domain, digest};
use cloister_experts::task::Task;

use crate::failure::Failure;
use crate::folder::read_text;

/// Flags of `cloister canaries`.
#[derive(Debug, Args)]
pub(crate) struct CanaryArguments {
    #[command(subcommand)]
    command: CanaryCommand,
}

#[derive(Debug, Subcommand)]
enum CanaryCommand {
    /// Write a copy of the notes with made-up numbers in random places, to train on instead of the notes. Nothing leaves this
    /// machine.
    Plant(plant::PlantArguments),
    /// Test whether a model that was trained on such a copy tells its numbers from others. Nothing leaves this machine. The
    /// exit status is 3 if it has memorised them, and 4 if the test shows nothing.
    Test(Box<test::TestArguments>),
}

pub(crate) fn run(arguments: &CanaryArguments) -> Result<(), Failure> {
    match &arguments.command {
        CanaryCommand::Plant(arguments) => plant::run(arguments),
        CanaryCommand::Test(arguments) => test::run(arguments),
    }
}

/// A task, and the digest of its file, as plans have it.
fn read_task(path: &Path) -> Result<(Task, String), Failure> {
    let text = read_text(path)?;
    let task = Task::parse(&text).map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    Ok((task, digest(Domain::Task, &[text.as_bytes()]).to_string()))
}
