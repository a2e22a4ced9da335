//! Folders of the project, and how commands are started.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::Failure;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}

/// The folder in which set-up stores what it installs.
pub(crate) fn setup_dir() -> PathBuf {
    root().join("target/setup")
}

/// The folder into which cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with its output shown. An error names the program that could not be started.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, Failure> {
    command.status().map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))
}

/// Turns an IO error into a sentence: `cannot {action} {path}: …`.
pub(crate) fn io_failure<'a>(action: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Failure + Copy + 'a {
    move |error| format!("cannot {action} {}: {error}", path.display())
}

/// Runs a command that must succeed.
pub(crate) fn run_checked(command: &mut Command, what: &str) -> Result<(), Failure> {
    if run(command)?.success() { Ok(()) } else { Err(format!("{what} failed; its output is above")) }
}
