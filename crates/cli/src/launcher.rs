//! The commands that need libtorch, in the program without it: finds libtorch and the training program, and becomes that
//! program. The dynamic loader opens libtorch before a program's first line, so a program that links it cannot look for it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::EXPECTED_VERSION;
use crate::failure::{Failure, FailureKind};
use crate::libtorch::Places;

/// The file of the training program: these sources, built with the feature `training`.
const TRAINING_PROGRAM: &str = "cloister-training";
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Flags that the training program reads.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct PassedOn {
    /// The flags of the command. Its own `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes the training program with these arguments. Returns only if that fails.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let launcher = std::env::current_exe().map_err(Failure::error)?;
    let folder = launcher.parent().unwrap_or(Path::new("/"));
    let program = training_program(folder)?;
    let libraries = Places::from_environment(folder).find()?;
    let mut command = Command::new(&program);
    if let Some((name, rest)) = arguments.split_first() {
        // Help and errors name the command that was typed.
        command.arg0(name).args(rest);
    }
    command.env(LIBRARY_PATH, prepended(&libraries, std::env::var_os(LIBRARY_PATH)));
    let error = command.env(EXPECTED_VERSION, env!("CARGO_PKG_VERSION")).exec();
    Err(Failure::error(format!(
        "cannot start {}: {error}; install the package cloister-hospital again",
        program.display()
    )))
}

fn training_program(folder: &Path) -> Result<PathBuf, Failure> {
    let places = [folder.join(TRAINING_PROGRAM), folder.join("../lib/cloister").join(TRAINING_PROGRAM)];
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(
            FailureKind::Unavailable,
            "this command trains or uses models, which the training program does, and it is not installed; install the package \
             cloister-hospital, or the whole archive",
        )
    })
}

/// A library path that begins with a folder: another libtorch on the path must not be loaded.
fn prepended(folder: &Path, existing: Option<OsString>) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(existing) = existing.filter(|existing| !existing.is_empty()) {
        path.push(":");
        path.push(existing);
    }
    path
}
