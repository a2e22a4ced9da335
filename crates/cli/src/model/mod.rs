//! `cloister model`: the models that a coordinator keeps.

#[cfg(feature = "training")]
mod pull;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_params::id::Digest;
use cloister_server::{KeptModel, kept_models};
use serde_json::json;

use crate::byte_count::bytes;
use crate::failure::Failure;
use crate::folder::unreadable;
use crate::output;

/// Flags of `cloister model`.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// List the models that a coordinator keeps: those of its last closings, and the one that the edition started from.
    List(ListArguments),
    /// Get a model that the coordinator keeps, at a hospital. A running client stays connected. A pull that was ended goes on
    /// when the same command is given again.
    Pull(PullArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// The coordinator's data folder.
    #[arg(long)]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PullArguments {
    /// The hospital's configuration file, as for `cloister client`.
    file: PathBuf,
    /// The model's digest: 64 hexadecimal digits, as `cloister model list`, a closing, or epoch-start.toml has them.
    #[arg(long, value_name = "HEX")]
    digest: Digest,
    /// The file to write the model to, in the format of initial parameters.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Carries out the command. `arguments` is the whole command line.
pub(crate) fn run(
    model: &ModelArguments,
    #[cfg_attr(feature = "training", expect(unused_variables))] arguments: &[OsString],
) -> Result<(), Failure> {
    match &model.command {
        ModelCommand::List(list) => print_list(list),
        #[cfg(feature = "training")]
        ModelCommand::Pull(pull) => pull::run(pull),
        // It reads a hospital's configuration, which has flags for training.
        #[cfg(not(feature = "training"))]
        ModelCommand::Pull(_) => crate::launcher::run(arguments),
    }
}

fn print_list(list: &ListArguments) -> Result<(), Failure> {
    let kept = kept_models(&list.data).map_err(|error| unreadable(&list.data, &error))?;
    if list.json {
        let models: Vec<_> = kept.iter().rev().map(to_json).collect();
        return output::line(json!({"models": models}));
    }
    if kept.is_empty() {
        return output::line("no model is kept; a coordinator keeps them from its first start on");
    }
    kept.iter().rev().try_for_each(|model| {
        output::line(format_args!("{}  {:<10}  {}", model.digest, bytes(model.bytes), model.path.display()))
    })
}

fn to_json(model: &KeptModel) -> serde_json::Value {
    json!({"digest": model.digest.to_string(), "bytes": model.bytes, "file": model.path})
}
