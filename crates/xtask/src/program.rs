//! Builds of the program, with and without libtorch.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::setup::Installed;
use crate::workspace::{cargo, io_failure, run_checked, target_dir};

/// Builds the whole program in a profile of cargo. The result is the built file.
pub(crate) fn build(profile: &str, installed: &Installed) -> Result<PathBuf, Failure> {
    let mut command = cargo();
    command.args(["build", "--package", "cloister-cli", "--profile", profile]).envs(installed.environment());
    eprintln!("building cloister (minutes the first time)");
    run_checked(&mut command, "cargo build")?;
    Ok(built(profile))
}

/// Builds the program without libtorch in a profile of cargo. The result is a copy, because the next build of the whole program
/// takes its place. With `installed`, where the whole program is built too, no dependency is compiled twice.
pub(crate) fn build_without_training(
    profile: &str,
    installed: Option<&Installed>,
) -> Result<PathBuf, Failure> {
    let mut command = cargo();
    command.args(["build", "--package", "cloister-cli", "--profile", profile, "--no-default-features"]);
    match installed {
        // Beside the crates of training, all dependencies have the features that they have in the whole program.
        Some(installed) => {
            let beside = ["experts", "lab", "trainer"].map(|name| format!("--package=cloister-{name}"));
            command.args(beside).args(["--bin", "cloister"]).envs(installed.environment());
        }
        None => {
            command.env_remove("LIBTORCH");
        }
    }
    eprintln!("building cloister without libtorch");
    run_checked(&mut command, "cargo build without training")?;
    let copy = target_dir().join(format!("without-training-{profile}"));
    fs::copy(built(profile), &copy).map_err(io_failure("write", &copy))?;
    Ok(copy)
}

/// Where cargo puts the program.
fn built(profile: &str) -> PathBuf {
    // The one profile whose folder has another name.
    let folder = if profile == "dev" { Path::new("debug") } else { Path::new(profile) };
    target_dir().join(folder).join("cloister")
}
