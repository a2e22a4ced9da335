//! The commands that build and run.

use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use crate::program::{build, build_without_training};
use crate::python::Python;
use crate::workspace::{cargo, root, run, run_checked, target_dir};
use crate::{Failure, bench_train, fence, fixtures, setup, trace, vetting};

/// Builds the program and runs one of its subcommands.
pub(crate) fn cloister(subcommand: &str, rest: &[String]) -> Result<ExitCode, Failure> {
    let mut arguments = vec![subcommand.to_owned()];
    arguments.extend_from_slice(rest);
    cloister_arguments(&arguments)
}

/// Builds the program and runs it with these arguments. The development profile is optimised, and shares its
/// build with the tests; what a hospital installs is built with `--release`.
pub(crate) fn cloister_arguments(arguments: &[String]) -> Result<ExitCode, Failure> {
    let installed = setup::ensure()?;
    let program = build("dev", &installed)?;
    let status = run(Command::new(program).args(arguments).envs(installed.environment()))?;
    Ok(exit_code(status))
}

/// `model smollm2`: SmolLM2-135M as a Mixture of Experts under `target/models/smollm2-moe`, for the lab.
pub(crate) fn model(arguments: &[String]) -> Result<ExitCode, Failure> {
    if arguments != ["smollm2"] {
        return Err("`cargo xtask model` takes `smollm2`".into());
    }
    let folder = target_dir().join("models");
    let (dense, sparse) = (folder.join("smollm2"), folder.join("smollm2-moe"));
    if experts("convert", &setup::ensure_smollm2()?, &dense, &[])? == ExitCode::SUCCESS {
        return experts("upcycle", &dense, &sparse, &["--experts", "4", "--experts-per-token", "2"]);
    }
    Ok(ExitCode::FAILURE)
}

/// Runs `cloister experts COMMAND FROM TO OPTIONS`.
fn experts(command: &str, from: &Path, to: &Path, options: &[&str]) -> Result<ExitCode, Failure> {
    let mut arguments = vec!["experts".to_owned(), command.to_owned()];
    arguments.extend([from, to].map(|path| path.display().to_string()));
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    cloister_arguments(&arguments)
}

/// Runs every test, or those of one crate (`params`) or suite of `tests/` (`sums`). Those of `privacy` run in
/// both profiles.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode, Failure> {
    let installed = setup::ensure()?;
    let mut command = cargo();
    // All failures in one run, because a run takes minutes.
    command.args(["test", "--no-fail-fast"]).envs(installed.environment());
    if matches!(arguments.first().map(String::as_str), None | Some("cli" | "lab")) {
        command.envs(trainer_python()?.environment());
        command.env("CLOISTER_WITHOUT_TRAINING", build_without_training("dev", Some(&installed))?);
        command.envs(fixtures::installed_python().map(|python| ("CLOISTER_TORCH_PYTHON", python)));
    }
    match arguments.split_first() {
        None => {
            command.arg("--workspace");
        }
        Some((suite, rest)) => {
            if root().join("crates").join(suite).is_dir() {
                command.arg("--package").arg(format!("cloister-{suite}"));
            } else {
                command.args(["--package", "cloister-tests", "--test", suite]);
            }
            command.args(rest);
        }
    }
    run_checked(&mut command, "cargo test")?;
    if matches!(arguments.first().map(String::as_str), None | Some("privacy")) {
        test_as_installed(arguments.get(1..).unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tests `privacy` in the build that a hospital installs, because that build publishes ε and draws the noise:
/// it has other optimisations, and other checks of arithmetic, than the development profile.
fn test_as_installed(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--release", "--package", "cloister-privacy"]).args(arguments);
    run_checked(&mut command, "cargo test --release")
}

/// A Python with what the training programs under `deploy/trainers` need at least.
fn trainer_python() -> Result<Python, Failure> {
    Python::ensure("trainer", "numpy for training programs", "numpy==2.4.6\n")
}

/// Random rounds, beyond those of the test suite.
pub(crate) fn simulate(arguments: &[String]) -> Result<ExitCode, Failure> {
    example("simulate", arguments)
}

/// Every change of recorded rounds, and what the audit says of it.
pub(crate) fn tamper(arguments: &[String]) -> Result<ExitCode, Failure> {
    example("tamper", arguments)
}

/// Every attack, with its rule and without.
pub(crate) fn attack(arguments: &[String]) -> Result<ExitCode, Failure> {
    example("attack", arguments)
}

/// Sizes, names, circles and prose. The checker is a crate of its own, so that a demo does not compile its parser.
pub(crate) fn style(arguments: &[String]) -> Result<ExitCode, Failure> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "style", "--"]).args(arguments);
    Ok(exit_code(run(&mut command)?))
}

/// Runs an example of the test suites' package.
fn example(name: &str, arguments: &[String]) -> Result<ExitCode, Failure> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "cloister-tests", "--example", name, "--"]);
    Ok(exit_code(run(command.args(arguments))?))
}

/// Runs a benchmark by name, built as a hospital installs it.
pub(crate) fn bench(arguments: &[String]) -> Result<ExitCode, Failure> {
    let usage = "`cargo xtask bench` measures `masks`, `sharing`, `noise` or `train`";
    let (name, rest) = arguments.split_first().ok_or(usage)?;
    let package = match name.as_str() {
        "masks" | "sharing" => "cloister-crypto",
        "noise" => "cloister-privacy",
        "train" => return bench_train::run(rest),
        _ => return Err(usage.into()),
    };
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", package, "--example", name, "--"]);
    Ok(exit_code(run(command.args(rest))?))
}

/// Prints the environment as `export` lines, for a shell that calls cargo itself.
pub(crate) fn print_environment() -> Result<ExitCode, Failure> {
    for (name, value) in setup::ensure()?.environment() {
        println!("export {name}='{}'", value.to_string_lossy());
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks what must hold before tests are worth running, the fast checks first.
pub(crate) fn check() -> Result<ExitCode, Failure> {
    let installed = setup::ensure()?;
    run_checked(cargo().args(["fmt", "--all", "--", "--check"]), "cargo fmt --check")?;
    let fuzz = ["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--", "--check"];
    run_checked(cargo().args(fuzz), "cargo fmt --check of tests/fuzz")?;
    fence::check()?;
    if style(&[])? != ExitCode::SUCCESS {
        return Err("the sources break a rule of CONTRIBUTING.md; the lines above say where".into());
    }
    vetting::check()?;
    trace::run(&[])?;
    let lints = ["--all-targets", "--quiet", "--", "-D", "warnings"];
    let everything = &mut cargo();
    everything.args(["clippy", "--workspace"]).args(lints).envs(installed.environment());
    run_checked(everything, "cargo clippy")?;
    let documentation = &mut cargo();
    documentation.args(["doc", "--workspace", "--no-deps", "--quiet"]).envs(installed.environment());
    run_checked(documentation.env("RUSTDOCFLAGS", "-D warnings"), "cargo doc")?;
    // Coordinators and custodians must build on a machine without libtorch.
    let without_training = &mut cargo();
    without_training.args(["clippy", "--package", "cloister-cli", "--no-default-features"]).args(lints);
    run_checked(without_training.env_remove("LIBTORCH"), "cargo clippy without libtorch")?;
    Ok(ExitCode::SUCCESS)
}

/// A program's status as this program's own; a signal counts as failure.
fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
