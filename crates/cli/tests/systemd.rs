//! The units under `deploy/systemd`: systemd itself finds no fault in them, and their configurations are ones that
//! the program takes.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd")
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    let scratch = std::env::temp_dir().join(format!("cloister-units-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    for name in ["cloister-coordinator.service", "cloister-custodian.service", "cloister-hospital.service"] {
        // The program is not installed here, and the check looks for it.
        let unit = std::fs::read_to_string(deployed().join(name)).unwrap();
        assert!(unit.contains("ExecStart=/usr/bin/cloister "), "{name}");
        assert!(unit.contains("ExecReload=/bin/kill -HUP $MAINPID"), "{name}");
        let path = scratch.join(name);
        let verify = |unit: &str| {
            std::fs::write(&path, unit).unwrap();
            let output =
                Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
            String::from_utf8(output.stderr).unwrap()
        };
        let faults = verify(&unit.replace("/usr/bin/cloister", env!("CARGO_BIN_EXE_cloister")));
        let ours: Vec<&str> = faults.lines().filter(|line| line.contains("cloister")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        let wrong = verify(&unit.replace("WatchdogSec=", "WatchdogSec=soon "));
        assert!(wrong.contains("Failed to parse"), "control: a fault is found: {wrong}");
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn the_configurations_are_whole_and_name_files_that_are_missing_here() {
    for command in ["server", "custodian", "client"] {
        if command == "client" && cfg!(not(feature = "training")) {
            continue;
        }
        let mut program = Command::new(env!("CARGO_BIN_EXE_cloister"));
        program.args([command, "--config"]).arg(deployed().join(format!("{command}.toml")));
        let output = program.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        // Every setting is known and every needed one is there, so that the first fault is a file.
        assert_eq!(output.status.code(), Some(78), "{errors}");
        assert!(errors.contains("cannot read") && errors.contains("deploy/systemd/identity"), "{errors}");
    }
}
