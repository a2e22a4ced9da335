//! The program without libtorch, which finds libtorch and becomes the training program, with both real programs.

#![cfg(all(feature = "training", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Both programs as a package installs them, and the libtorch of this build.
struct Installed {
    folder: PathBuf,
    libtorch: PathBuf,
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Installed {
    fn new(name: &str) -> Option<Self> {
        let set = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(launcher), Some(libtorch)) = (set("CLOISTER_WITHOUT_TRAINING"), set("LIBTORCH")) else {
            println!(
                "SKIPPED: CLOISTER_WITHOUT_TRAINING names no program without training; `cargo xtask test` builds it"
            );
            return None;
        };
        let folder = std::env::temp_dir().join(format!("cloister-launcher-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("lib/cloister")).unwrap();
        // A copy: the program looks beside its file, and a link would lead elsewhere.
        write_by(Command::new("cp").arg(launcher).arg(folder.join("bin/cloister")));
        symlink(env!("CARGO_BIN_EXE_cloister"), folder.join("lib/cloister/cloister-training")).unwrap();
        Some(Self { folder, libtorch })
    }

    /// The launcher in an environment that says nothing of libtorch.
    fn cloister(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("bin/cloister"));
        for name in ["LD_LIBRARY_PATH", "LIBTORCH", "CLOISTER_LIBTORCH", "CLOISTER_CONFIG"] {
            command.env_remove(name);
        }
        command.args(arguments);
        command
    }

    /// A Python whose torch is this folder.
    fn python(&self, torch: &Path) -> PathBuf {
        let path = self.folder.join("python3");
        let script = format!("#!/bin/sh\necho {}\n", torch.display());
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        write_by(Command::new("sh").args(["-c", write]).arg(&path).arg(script));
        path
    }
}

/// Writes a program by another process. While this process has a file open for writing, a process that another test starts
/// at the same time has it open too, and the file cannot be executed until then ("text file busy").
fn write_by(command: &mut Command) {
    assert!(command.status().unwrap().success());
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Computes with a model.
fn check() -> Vec<&'static str> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../experts/tests/fixtures/olmoe");
    vec!["experts", "check", "--rank", "2", "--batch-size", "8", model]
}

#[test]
fn a_training_command_runs_without_a_library_path() {
    let Some(installed) = Installed::new("runs") else { return };
    let python = installed.python(&installed.libtorch);
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_PYTHON", &python));
    assert_eq!(code, Some(0), "Python's torch: {text}");
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_LIBTORCH", &installed.libtorch));
    assert_eq!(code, Some(0), "a named folder: {text}");
    symlink(&installed.libtorch, installed.folder.join("lib/cloister/libtorch")).unwrap();
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_PYTHON", "no-such-python"));
    assert_eq!(code, Some(0), "a folder beside the program: {text}");
    // Control: the training program itself, without the search.
    let training = installed.folder.join("lib/cloister/cloister-training");
    let (_, text) = said(Command::new(training).env_remove("LD_LIBRARY_PATH").arg("--version"));
    assert!(text.contains("error while loading shared libraries"), "{text}");
}

#[test]
fn flags_and_help_reach_the_training_program_as_they_were_written() {
    let Some(installed) = Installed::new("flags") else { return };
    let run = |arguments: &[&str]| {
        said(installed.cloister(arguments).env("CLOISTER_LIBTORCH", &installed.libtorch))
    };
    let (code, text) = run(&["client", "--help"]);
    assert!(code == Some(0) && text.contains("--held-out") && text.contains("cloister client"), "{text}");
    let (code, text) = run(&["predict", "--", "--notes", "--flag"]);
    assert!(code == Some(2) && text.contains("unexpected argument '--flag'"), "{text}");
    let config = installed.folder.join("client.toml");
    fs::write(&config, "notes_of = 'x'\n").unwrap();
    let (code, text) = run(&["config", "check", "client", &config.display().to_string()]);
    assert!(code == Some(78) && text.contains("unknown setting notes_of"), "{text}");
    let (code, text) = run(&["--help"]);
    assert!(code == Some(0) && text.contains("  client ") && text.contains("  server "), "{text}");
}

#[test]
fn what_is_missing_is_said_in_one_sentence() {
    let Some(installed) = Installed::new("missing") else { return };
    let without = installed.python(Path::new(""));
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_PYTHON", &without));
    assert_eq!((code, text.lines().count()), (Some(69), 1), "{text}");
    assert!(text.contains("-m pip install torch==2.11.0"), "{text}");
    let other = installed.folder.join("other");
    fs::create_dir_all(other.join("lib")).unwrap();
    fs::write(other.join("lib/libtorch_cpu.so"), "").unwrap();
    fs::write(other.join("build-version"), "2.10.0\n").unwrap();
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_LIBTORCH", &other));
    assert_eq!((code, text.lines().count()), (Some(78), 1), "{text}");
    assert!(text.contains("is version 2.10.0") && text.contains("libtorch 2.11"), "{text}");
    fs::remove_file(installed.folder.join("lib/cloister/cloister-training")).unwrap();
    let (code, text) = said(installed.cloister(&check()).env("CLOISTER_LIBTORCH", &installed.libtorch));
    assert_eq!((code, text.lines().count()), (Some(69), 1), "{text}");
    assert!(text.contains("cloister-hospital"), "{text}");
    // Control: what needs no libtorch runs.
    let (code, text) = said(&mut installed.cloister(&["custodian", "--help"]));
    assert!(code == Some(0) && text.contains("--coordinator"), "{text}");
}

#[test]
fn both_programs_have_one_version_and_refuse_another() {
    let Some(installed) = Installed::new("version") else { return };
    let (_, launcher) = said(&mut installed.cloister(&["--version"]));
    let (_, training) = said(Command::new(env!("CARGO_BIN_EXE_cloister")).arg("--version"));
    assert_eq!(launcher, training);
    let mut other = Command::new(env!("CARGO_BIN_EXE_cloister"));
    let (code, text) = said(other.args(["experts", "--help"]).env("CLOISTER_EXPECTED_VERSION", "0.0.9"));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("`cloister` 0.0.9") && text.contains("in one version"), "{text}");
}
