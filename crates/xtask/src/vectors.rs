//! The protocol's test vectors: written by a Python program that shares no code with the crates, and checked
//! in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Failure;
use crate::python::Python;
use crate::workspace::{cargo, io_failure, root, run_checked};

/// The program's requirements beyond Python's standard library, pinned by hash.
const REQUIREMENTS: &str = include_str!("../../../protocols/vectors/requirements.txt");

/// Writes the vectors. With `--check`, fails if the committed ones differ, if the Rust code does not agree
/// with them, or if the program rejects values that the Rust code made.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    match arguments {
        [] => write(&python()?, &committed())?,
        [flag] if flag == "--check" => check(&python()?)?,
        _ => return Err("`cargo xtask vectors` takes `--check` or nothing".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn python() -> Result<Python, Failure> {
    Python::ensure("vectors", "`cryptography` for the test vectors", REQUIREMENTS)
}

fn check(python: &Python) -> Result<(), Failure> {
    let scratch = root().join("target/vectors");
    let (fresh, made) = (scratch.join("v1"), scratch.join("rust"));
    empty(&fresh)?;
    empty(&made)?;
    write(python, &fresh)?;
    compare(&committed(), &fresh)?;
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "cloister-tests", "--test", "conformance"]);
    run_checked(tests.env("CLOISTER_WRITE_VECTORS", &made), "the conformance tests")?;
    // The other direction: what the Rust code writes must satisfy the independent program.
    verify(python, &made.join("rust.json"))
}

fn program() -> PathBuf {
    root().join("protocols/vectors/generate.py")
}

fn committed() -> PathBuf {
    root().join("protocols/vectors/v1")
}

fn empty(folder: &Path) -> Result<(), Failure> {
    let say = io_failure("empty", folder);
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(say)?;
    }
    fs::create_dir_all(folder).map_err(say)
}

fn names(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let entries = fs::read_dir(folder).map_err(io_failure("read", folder))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Compares two folders, and names the first file that differs.
fn compare(committed: &Path, fresh: &Path) -> Result<(), Failure> {
    // The union, so that a file that is missing on either side differs, too.
    let all: BTreeSet<String> = names(committed)?.union(&names(fresh)?).cloned().collect();
    for name in all {
        if fs::read(committed.join(&name)).ok() != fs::read(fresh.join(&name)).ok() {
            return Err(format!(
                "{} is not what protocols/vectors/generate.py writes; run `cargo xtask vectors` and look at the \
                 difference",
                committed.join(name).display()
            ));
        }
    }
    Ok(())
}

fn write(python: &Python, folder: &Path) -> Result<(), Failure> {
    run_checked(python.command().arg(program()).arg("write").arg(folder), "writing the vectors")
}

fn verify(python: &Python, file: &Path) -> Result<(), Failure> {
    let what = "checking the values that the Rust code made";
    run_checked(python.command().arg(program()).arg("verify").arg(file), what)
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
