//! The cost of the first demo on a fresh machine: the processor time of compiling the program and everything
//! that it depends on.
//!
//! Seconds differ between machines. They are therefore divided by those of a calibration, a program of fixed
//! text that the same compiler compiles on the same machine.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, ExitCode};

use crate::Failure;
use crate::program::build;
use crate::setup;
use crate::workspace::{io_failure, run_checked, target_dir};

/// The largest cost of a fresh build, in calibrations. It was 176 when level 3 compiled every dependency;
/// half of that is the aim, and a tenth is added for the difference between two runs.
const MOST_CALIBRATIONS: f64 = 97.0;

/// Functions of the calibration's program. A change would make all earlier figures incomparable.
const CALIBRATION_FUNCTIONS: usize = 25;

/// `build-cost`: measures a build in a folder without one, and fails if it costs too much. In a folder that
/// has a build it measures nothing and says so, unless `--fresh` removes that build.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let built = target_dir().join("debug/.fingerprint");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        // Not without the flag: it costs the next command minutes.
        ["--fresh"] => remove_build()?,
        _ => return Err("`cargo xtask build-cost` takes `--fresh`".into()),
    }
    if has_dependencies(&built) {
        println!(
            "SKIPPED: build-cost measures fresh builds, and this folder has one; --fresh removes it first"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let installed = setup::ensure()?;
    let calibration_before = calibrate()?;
    let before = children_seconds()?;
    build("dev", &installed)?;
    let seconds = children_seconds()? - before;
    // A shared machine changes its speed within the minutes of a build.
    let calibration = f64::midpoint(calibration_before, calibrate()?);
    let ratio = seconds / calibration;
    println!(
        "a fresh build took {seconds:.0} s of processor time, {ratio:.0} calibrations of {calibration:.2} s; at most \
         {MOST_CALIBRATIONS:.0} are allowed"
    );
    if ratio > MOST_CALIBRATIONS {
        return Err("the build costs more than a first demo may: leave out the dependency, put it behind a feature that \
                    the demo does not need, or lower its level in Cargo.toml"
            .into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the program's dependencies were compiled here. `cargo xtask` itself needs a few, and not this one.
fn has_dependencies(fingerprints: &std::path::Path) -> bool {
    fs::read_dir(fingerprints)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("curve25519-dalek-")))
}

/// Removes what cargo built in the development profile, except for this running program.
fn remove_build() -> Result<(), Failure> {
    let folder = target_dir().join("debug");
    for name in [".fingerprint", "build", "deps", "examples", "incremental"] {
        let path = folder.join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)
                .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// Seconds of processor time that the compiler takes for the calibration's program: the median of three.
fn calibrate() -> Result<f64, Failure> {
    let folder = target_dir().join("build-cost");
    fs::create_dir_all(&folder).map_err(io_failure("write", &folder))?;
    let source = folder.join("calibration.rs");
    fs::write(&source, calibration_program()).map_err(io_failure("write", &source))?;
    let mut measured = Vec::new();
    for _ in 0..3 {
        let before = children_seconds()?;
        let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        compiler.args(["--edition", "2024", "--crate-type", "rlib", "-C", "opt-level=1", "--out-dir"]);
        run_checked(compiler.arg(&folder).arg(&source), "rustc")?;
        measured.push(children_seconds()? - before);
    }
    // The median: one run that other load disturbed does not count.
    measured.sort_by(f64::total_cmp);
    Ok(measured[1])
}

/// A program of fixed text: types with derived traits, and sorting and maps of them, as usual code has.
fn calibration_program() -> String {
    let mut program = String::from("use std::collections::BTreeMap;\n");
    for number in 0..CALIBRATION_FUNCTIONS {
        let _ = write!(
            program,
            "#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]\npub struct Row{number} {{ pub key: u64, pub text: \
             String }}\npub fn group{number}(mut rows: Vec<Row{number}>) -> BTreeMap<String, Vec<Row{number}>> {{\n    \
             rows.sort();\n    let mut groups = BTreeMap::<String, Vec<Row{number}>>::new();\n    for row in rows {{ \
             groups.entry(format!(\"{{:?}}\", row.text)).or_default().push(row); }}\n    groups\n}}\n"
        );
    }
    program
}

/// Seconds of processor time of all children that ended, with theirs, from Linux's accounting in ticks of 10 ms.
fn children_seconds() -> Result<f64, Failure> {
    let path = "/proc/self/stat";
    let text =
        fs::read_to_string(path).map_err(|error| format!("build-cost needs Linux's {path}: {error}"))?;
    // The second field is the program's name in parentheses, and may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // proc(5): `cutime` and `cstime` are the fields 16 and 17, of which the first two stand before the parenthesis.
    let ticks: Option<f64> =
        fields.get(13..15).and_then(|pair| pair.iter().map(|field| field.parse::<f64>().ok()).sum());
    ticks.map(|ticks| ticks / 100.0).ok_or(format!("{path} has an unknown form: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_time_of_children_that_ended() {
        let before = children_seconds().expect("Linux");
        let status =
            Command::new("sh").args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]).status();
        assert!(status.expect("a shell").success());
        assert!(children_seconds().expect("Linux") > before);
    }

    #[test]
    fn the_calibration_is_always_the_same_program() {
        assert_eq!(calibration_program(), calibration_program());
        assert_eq!(calibration_program().matches("pub fn group").count(), CALIBRATION_FUNCTIONS);
    }
}
