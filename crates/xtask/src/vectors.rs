//! The test vectors of the protocol: written by a Python program that shares no code with the crates, and checked in
//! both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Failure;
use crate::workspace::{cargo, root, run_checked, setup_dir};

/// What the program needs beyond Python's own library.
const REQUIREMENTS: &str = "cryptography==50.0.2\ncffi==2.1.1\npycparser==3.12\n";

/// Writes the vectors; with `--check`, fails when the committed ones are others, when the Rust code does not hold to
/// them, or when the program finds fault with values that the Rust code made.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    match arguments {
        [] => Python::ensure()?.write(&committed())?,
        [flag] if flag == "--check" => check(&Python::ensure()?)?,
        _ => return Err("`cargo xtask vectors` takes `--check` or nothing".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn check(python: &Python) -> Result<(), Failure> {
    let scratch = root().join("target/vectors");
    let (fresh, made) = (scratch.join("v1"), scratch.join("rust"));
    empty(&fresh)?;
    empty(&made)?;
    python.write(&fresh)?;
    compare(&committed(), &fresh)?;
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "cloister-tests", "--test", "conformance"]);
    run_checked(tests.env("CLOISTER_WRITE_VECTORS", &made), "the conformance tests")?;
    python.verify(&made.join("rust.json"))
}

fn program() -> PathBuf {
    root().join("protocols/vectors/generate.py")
}

fn committed() -> PathBuf {
    root().join("protocols/vectors/v1")
}

fn empty(folder: &Path) -> Result<(), Failure> {
    let say = |error| format!("cannot empty {}: {error}", folder.display());
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(say)?;
    }
    fs::create_dir_all(folder).map_err(say)
}

fn names(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let say = |error| format!("cannot read {}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(say)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Names the first file that is not the same in both folders.
fn compare(committed: &Path, fresh: &Path) -> Result<(), Failure> {
    let all: BTreeSet<String> = names(committed)?.union(&names(fresh)?).cloned().collect();
    let differs = |name: &&String| fs::read(committed.join(name)).ok() != fs::read(fresh.join(name)).ok();
    match all.iter().find(differs) {
        None => Ok(()),
        Some(name) => Err(format!(
            "{} is not what protocols/vectors/generate.py writes; run `cargo xtask vectors` and look at the difference",
            committed.join(name).display()
        )),
    }
}

/// A Python with what the program needs.
#[derive(Debug)]
struct Python {
    program: PathBuf,
    /// Where packages are when there is no virtual environment.
    packages: Option<PathBuf>,
}

impl Python {
    /// Makes a virtual environment, or, where Python comes without that module, a folder of packages.
    fn ensure() -> Result<Self, Failure> {
        check_version()?;
        let environment = setup_dir().join("vectors-venv");
        let (in_environment, packages) =
            (environment.join("bin/python"), setup_dir().join("vectors-packages"));
        if is_installed(&environment) || Self::make_environment(&environment, &in_environment)? {
            return Ok(Self { program: in_environment, packages: None });
        }
        if !is_installed(&packages) {
            let target = packages.display().to_string();
            install(Path::new("python3"), &packages, &["--target", &target])?;
        }
        Ok(Self { program: "python3".into(), packages: Some(packages) })
    }

    /// Whether the environment could be made.
    fn make_environment(environment: &Path, python: &Path) -> Result<bool, Failure> {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(environment);
        let made = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            return Ok(false);
        }
        install(python, environment, &[]).map(|()| true)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(program()).env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        run_checked(self.command().arg("write").arg(folder), "writing the vectors")
    }

    fn verify(&self, file: &Path) -> Result<(), Failure> {
        run_checked(self.command().arg("verify").arg(file), "checking the values that the Rust code made")
    }
}

fn check_version() -> Result<(), Failure> {
    let probe = "import sys; sys.exit(sys.version_info < (3, 11))";
    match Command::new("python3").args(["-c", probe]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("python3 is older than 3.11; the test vectors need a newer one".into()),
        Err(_) => Err("python3 is missing; install Python 3.11 or newer to work on the test vectors".into()),
    }
}

/// The file that says that a folder has everything, and of which versions.
fn marker(folder: &Path) -> PathBuf {
    folder.join("requirements.txt")
}

fn is_installed(folder: &Path) -> bool {
    fs::read_to_string(marker(folder)).is_ok_and(|found| found == REQUIREMENTS)
}

fn install(python: &Path, folder: &Path, options: &[&str]) -> Result<(), Failure> {
    eprintln!("set-up: installing the Python package `cryptography` for the test vectors");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    pip.args(options).args(REQUIREMENTS.lines());
    run_checked(&mut pip, "fetching `cryptography` from PyPI")?;
    fs::write(marker(folder), REQUIREMENTS)
        .map_err(|error| format!("cannot write to {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-vectors-{}-{name}", std::process::id()));
        empty(&folder).expect("a temporary folder can be made");
        for (file, text) in files {
            fs::write(folder.join(file), text).expect("a file can be written");
        }
        folder
    }

    #[test]
    fn the_first_file_that_differs_is_named() {
        let committed = folder("committed", &[("a.json", "1"), ("b.json", "2"), ("c.json", "3")]);
        let same = folder("same", &[("a.json", "1"), ("b.json", "2"), ("c.json", "3")]);
        let changed = folder("changed", &[("a.json", "1"), ("b.json", "!"), ("c.json", "!")]);
        let fewer = folder("fewer", &[("a.json", "1"), ("b.json", "2")]);
        let more = folder("more", &[("0.json", ""), ("a.json", "1"), ("b.json", "2"), ("c.json", "3")]);
        assert_eq!(compare(&committed, &same), Ok(()));
        let named = |other: &Path| compare(&committed, other).expect_err("they differ");
        assert!(named(&changed).contains("b.json is not"), "{}", named(&changed));
        assert!(named(&fewer).contains("c.json is not"));
        assert!(named(&more).contains("0.json is not"));
        for folder in [committed, same, changed, fewer, more] {
            fs::remove_dir_all(folder).expect("it was made above");
        }
    }

    #[test]
    fn other_arguments_are_refused() {
        assert!(run(&["--chekc".to_owned()]).is_err());
    }
}
