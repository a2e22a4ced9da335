//! Checks of the data folder: its owner, who uses it, and how much fits.

use std::fs;
use std::io;
use std::path::Path;

use cloister_storage::{FileLock, FolderState, free_space};

use super::outcome::CheckOutcome;
use super::party::ExaminedParty;
use crate::byte_count::bytes;
use crate::failure::FailureKind;

/// Room for journal, ledger and logs beside the model.
const RECORDS: u64 = 100 << 20;

impl ExaminedParty {
    /// The folder is the user's, and no other program uses it. `lock` is the file that the service `role` locks.
    pub(super) fn check_data_folder(&mut self, lock: Option<&Path>, role: &str) -> CheckOutcome {
        let data = self.data.display().to_string();
        let state = match FolderState::read(&self.data) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return CheckOutcome::ok(format!("{data} does not exist yet; the first start makes it"));
            }
            Err(error) => {
                return CheckOutcome::fault(
                    FailureKind::Config,
                    format!("{data} cannot be used as the data folder: {error}"),
                    "give another folder, or correct its permissions",
                );
            }
        };
        let user = match lock.map_or(Ok(FileLock::Free), FileLock::read) {
            Ok(FileLock::Free) => "no program uses it now".to_owned(),
            Ok(FileLock::Held(process)) => match self.judge_user(process, role) {
                Ok(user) => user,
                Err(outcome) => return outcome,
            },
            Err(error) => format!("whether a program uses it cannot be told ({error})"),
        };
        judge_folder(&data, state, &user)
    }

    /// Who uses the folder, if it is the service itself.
    fn judge_user(&mut self, process: Option<u32>, role: &str) -> Result<String, CheckOutcome> {
        let data = self.data.display();
        let Some((number, command)) = process.and_then(|number| Some((number, command_of(number)?))) else {
            return Err(CheckOutcome::warning(
                format!("another process uses {data}"),
                format!(
                    "if it is not this party's `cloister {role}`, end it: two programs must not use one data folder"
                ),
            ));
        };
        self.is_running = is_service(&command, role);
        let name = command.first().map_or("?", String::as_str);
        match self.is_running {
            true => Ok(format!("process {number} (cloister {role}) uses it")),
            false => Err(CheckOutcome::fault(
                FailureKind::Unavailable,
                format!("{data} is used by process {number} ({name}), which is no `cloister {role}`"),
                "end it, or give this party a data folder of its own",
            )),
        }
    }

    /// Compares the free space with what a run needs, and says how that is derived.
    pub(super) fn check_space(&self, needed: Option<(u64, String)>) -> CheckOutcome {
        let Some((model, derivation)) = needed else {
            return CheckOutcome::not_checked(
                "what a run needs is unknown, because its model cannot be read",
            );
        };
        let needed = model.saturating_add(RECORDS);
        let free = match free_space(&self.data) {
            Ok(free) => free,
            Err(error) => {
                return CheckOutcome::not_checked(format!(
                    "the system does not say how much is free: {error}"
                ));
            }
        };
        judge_space(free, needed, &format!("{derivation}, and {} for records and logs", bytes(RECORDS)))
    }
}

fn judge_folder(data: &str, state: FolderState, user: &str) -> CheckOutcome {
    let FolderState { owner, user: this, mode, is_writable } = state;
    if !is_writable {
        return CheckOutcome::fault(
            FailureKind::Config,
            format!("{data} cannot be written by this user ({this}); its owner is {owner}"),
            "run this command as the user who runs the service, or give the folder to that user",
        );
    }
    if owner != this {
        return CheckOutcome::warning(
            format!("{data} belongs to user {owner}, and this command runs as user {this}; {user}"),
            "run this command as the user who runs the service",
        );
    }
    match state.is_open_to_others() {
        true => CheckOutcome::warning(
            format!("other users may look into {data} (mode {mode:04o}); {user}"),
            format!("run `chmod 700 {data}`"),
        ),
        false => CheckOutcome::ok(format!("{data} is open to its owner alone; {user}")),
    }
}

fn judge_space(free: u64, needed: u64, derivation: &str) -> CheckOutcome {
    let numbers = format!("{} are free; a run needs about {} ({derivation})", bytes(free), bytes(needed));
    match free {
        free if free < needed => CheckOutcome::fault(
            FailureKind::Unavailable,
            numbers,
            "free some space, or give a data folder on a larger disk",
        ),
        free if free < needed.saturating_mul(2) => {
            CheckOutcome::warning(numbers, "free some space before the rounds need it")
        }
        _ => CheckOutcome::ok(numbers),
    }
}

/// The command line of a process, if the system shows it.
fn command_of(process: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// Whether a command line is that of this service.
fn is_service(command: &[String], role: &str) -> bool {
    let [program, name, ..] = command else { return false };
    // The program that trains has a longer name.
    let program = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    program.starts_with("cloister") && name == role
}

#[cfg(test)]
mod tests {
    use super::super::outcome::CheckState;
    use super::*;

    #[test]
    fn a_folder_is_judged_by_owner_mode_and_permission() {
        let sound = FolderState { owner: 7, user: 7, mode: 0o700, is_writable: true };
        for (state, expected) in [
            (sound, CheckState::Ok),
            (FolderState { mode: 0o750, ..sound }, CheckState::Warning),
            (FolderState { owner: 8, ..sound }, CheckState::Warning),
            (FolderState { is_writable: false, ..sound }, CheckState::Fault),
        ] {
            assert_eq!(judge_folder("data", state, "no program uses it").state(), expected, "{state:?}");
        }
    }

    #[test]
    fn space_is_judged_against_the_need() {
        let states = [9, 10, 19, 20].map(|free| judge_space(free, 10, "the model").state());
        assert_eq!(states, [CheckState::Fault, CheckState::Warning, CheckState::Warning, CheckState::Ok]);
    }

    #[test]
    fn a_process_is_the_service_by_its_command() {
        let command =
            |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        assert!(is_service(&command(&["/usr/bin/cloister", "client", "--config", "x"]), "client"));
        assert!(!is_service(&command(&["/usr/bin/cloister", "server"]), "client"));
        assert!(!is_service(&command(&["tail", "client"]), "client"));
        assert!(!is_service(&[], "client"));
        assert!(
            command_of(std::process::id()).is_some_and(|command| !command.is_empty())
                || !cfg!(target_os = "linux")
        );
    }
}
