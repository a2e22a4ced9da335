//! The container files under `deploy/containers`: the program has each command and flag that they name.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// The words of an instruction in the form of a JSON list.
fn instruction(text: &str, name: &str) -> Option<Vec<String>> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    serde_json::from_str(&line[line.find('[')?..]).ok()
}

#[test]
fn each_command_of_a_container_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/containers");
    let mut commands = 0;
    for name in ["coordinator", "hospital"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.Containerfile"))).unwrap();
        assert!(text.contains("\nUSER cloister-") && text.contains("--read-only"), "{name}");
        let entry = instruction(&text, "ENTRYPOINT").unwrap();
        for words in [Some(entry), instruction(&text, "HEALTHCHECK")].into_iter().flatten() {
            let (program, arguments) = words.split_first().unwrap();
            assert_eq!(program, "/usr/bin/cloister");
            if arguments[0] == "client" && cfg!(not(feature = "training")) {
                continue;
            }
            commands += 1;
            // Every flag is known, so that the first fault is a file or the coordinator that is missing here.
            let output = Command::new(env!("CARGO_BIN_EXE_cloister")).args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(69 | 78)), "{words:?}: {said}");
        }
    }
    assert!(commands >= 2);
}
