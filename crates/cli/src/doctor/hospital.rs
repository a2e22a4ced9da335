//! `cloister doctor client`.

use std::path::PathBuf;

use cloister_client::ledger_path;
use cloister_experts::survey::Surveyor;
use cloister_experts::task::Task;
use cloister_privacy::ledger::History;

use super::Check;
use super::linked_party::LinkedParty;
use super::outcome::CheckOutcome;
use crate::client::{ClientArguments, MemberFlags};
use crate::failure::Failure;
use crate::whole_number::counted;

/// Round settings to judge by the hospital's policy.
#[derive(Debug)]
pub(super) struct RoundsToJudge {
    pub(super) settings: PathBuf,
    pub(super) count: u32,
}

/// A hospital's machine, and what the checks have read of it so far.
pub(super) struct ExaminedHospital {
    pub(super) linked: LinkedParty,
    pub(super) member: MemberFlags,
    pub(super) rounds: Option<RoundsToJudge>,
    pub(super) task: Option<Task>,
    /// Reads rows by the task; `None` unless the base model can be used.
    pub(super) surveyor: Option<Surveyor>,
}

/// The checks of a hospital beside those of every party, in the order in which they run: later ones need what earlier ones
/// have read.
pub(super) const CHECKS: &[Check<ExaminedHospital>] = &[
    ("privacy_ledger", ExaminedHospital::check_ledger),
    ("device", ExaminedHospital::check_device),
    ("task", ExaminedHospital::check_task),
    ("base_model", ExaminedHospital::check_base),
    ("initial_parameters", ExaminedHospital::check_parameters),
    ("notes", ExaminedHospital::check_notes),
    ("held_out_notes", ExaminedHospital::check_held_out),
    ("memory", ExaminedHospital::check_memory),
    ("disk_space", |hospital| hospital.linked.party.check_space(hospital.model_space())),
    ("round_settings", ExaminedHospital::check_settings),
];

impl ExaminedHospital {
    pub(super) fn new(arguments: ClientArguments, rounds: Option<RoundsToJudge>) -> Self {
        let ClientArguments { party, member } = arguments;
        let linked = LinkedParty::new(party, "client");
        Self { linked, member, rounds, task: None, surveyor: None }
    }

    fn check_ledger(&mut self) -> CheckOutcome {
        let path = ledger_path(&self.linked.flags.data);
        if !path.exists() {
            return CheckOutcome::ok("there is none yet; the first start makes it");
        }
        match History::read(&path) {
            Ok(history) => CheckOutcome::ok(format!(
                "it is {}, and has {}; no line is damaged",
                history.opening,
                counted(history.charges.len(), "charge")
            )),
            Err(error) => CheckOutcome::failure(&Failure::config(error)),
        }
    }
}
