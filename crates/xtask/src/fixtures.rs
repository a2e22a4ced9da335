//! The tiny checkpoints of `crates/experts/tests/fixtures`: what `transformers` and `peft` compute with them,
//! and whether PEFT computes the same with our adapters as we do. Python's torch is too large for every run
//! of the gate, so this is a separate command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Failure;
use crate::setup;
use crate::workspace::{cargo, root, run_checked, setup_dir};

/// Releases of PEFT that must load the adapters that we write. The fixtures are made with the last one.
const PEFT_RELEASES: &[&str] = &["0.20.0", "0.21.0", "0.21.2"];

/// Writes the fixtures. With `--check`, makes them again elsewhere, fails if the committed ones differ, and
/// lets each release of PEFT load the adapters and merged models that the Rust code writes.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    match arguments {
        [] => generate(&python()?, &["write", &text(&committed())])?,
        [flag] if flag == "--check" => check(&python()?)?,
        _ => return Err("`cargo xtask fixtures` takes `--check` or nothing".into()),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn committed() -> PathBuf {
    root().join("crates/experts/tests/fixtures")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn check(python: &Path) -> Result<(), Failure> {
    let scratch = root().join("target/fixtures");
    let (fresh, written) = (scratch.join("fresh"), scratch.join("written"));
    // Files of an earlier run must not pass for new ones.
    if scratch.is_dir() {
        fs::remove_dir_all(&scratch)
            .map_err(|error| format!("cannot empty {}: {error}", scratch.display()))?;
    }
    generate(python, &["write", &text(&fresh)])?;
    generate(python, &["compare", &text(&committed()), &text(&fresh)])?;
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "cloister-experts", "--test", "families", "adapters"]);
    tests.envs(setup::ensure()?.environment()).env("CLOISTER_WRITE_ADAPTERS", &written);
    run_checked(&mut tests, "the tests of adapters")?;
    PEFT_RELEASES.iter().try_for_each(|release| load(python, release, &written))
}

/// Lets one release of PEFT load the adapters.
fn load(python: &Path, release: &str, written: &Path) -> Result<(), Failure> {
    let packages = setup_dir().join(format!("peft-{release}"));
    if !packages.is_dir() {
        let mut pip = pip(python);
        pip.arg("--target").arg(&packages).args(["--no-deps", &format!("peft=={release}")]);
        run_checked(&mut pip, &format!("fetching peft {release} from PyPI"))?;
    }
    let mut program = script(python, "load_adapters.py");
    program.env("PYTHONPATH", packages).arg(committed()).arg(written);
    run_checked(&mut program, &format!("loading our adapters with peft {release}"))
}

fn generate(python: &Path, arguments: &[&str]) -> Result<(), Failure> {
    run_checked(script(python, "generate.py").args(arguments), "the program that makes the fixtures")
}

/// One of the Python programs next to the fixtures.
pub(crate) fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(committed().join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
    // Models are read from folders only, so that no result depends on the network.
    command.env("HF_HUB_OFFLINE", "1");
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        command.env("OMP_NUM_THREADS", "1");
    }
    command
}

/// The Python of [`python`], if it was installed before.
pub(crate) fn installed_python() -> Option<PathBuf> {
    let folder = setup_dir().join("transformers-venv");
    folder.join("requirements.txt").exists().then(|| folder.join("bin/python"))
}

/// A Python with torch for the CPU, `transformers` and `peft`.
pub(crate) fn python() -> Result<PathBuf, Failure> {
    let folder = setup_dir().join("transformers-venv");
    let python = folder.join("bin/python");
    let requirements = committed().join("requirements.txt");
    let marker = folder.join("requirements.txt");
    let installed = fs::read_to_string(&marker).ok();
    if installed.is_some() && installed == fs::read_to_string(&requirements).ok() {
        return Ok(python);
    }
    eprintln!("set-up: installing torch, transformers and peft for Python (600 MB to fetch, 1.7 GB kept)");
    run_checked(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv")?;
    // Without the dependencies of torch's wheel, which are 3 GB of CUDA: a small library takes their place.
    run_checked(pip(&python).args(["--no-deps", "-r"]).arg(&requirements), "fetching packages from PyPI")?;
    run_checked(&mut script(&python, "without_cuda.py"), "preparing torch for the CPU")?;
    fs::copy(&requirements, &marker)
        .map_err(|error| format!("cannot write {}: {error}", marker.display()))?;
    Ok(python)
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]);
    // Wheels only: a source distribution would run code of its own to install itself.
    pip.arg("--only-binary=:all:");
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_refused() {
        assert!(run(&["--chekc".to_owned()]).is_err());
    }

    #[test]
    fn fixtures_are_made_with_the_newest_release_that_loads_our_adapters() {
        let requirements = fs::read_to_string(committed().join("requirements.txt")).expect("it is committed");
        let newest = PEFT_RELEASES.last().expect("there are some");
        assert!(requirements.lines().any(|line| line == format!("peft=={newest}")));
    }
}
