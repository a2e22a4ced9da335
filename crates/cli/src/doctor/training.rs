//! Checks of what a hospital trains with and on.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use cloister_client::{Memory, TrainingError, block_table, training_memory};
use cloister_experts::Device;
use cloister_experts::device::loaded_libtorch;
use cloister_experts::files::notes::NotesFile;
use cloister_experts::survey::{Survey, SurveyReport, Surveyor};
use cloister_experts::task::Task;
use cloister_experts::training::memory::available;
use cloister_params::plan::RoundSettings;

use super::hospital::{ExaminedHospital, RoundsToJudge};
use super::outcome::CheckOutcome;
use crate::byte_count::bytes;
use crate::failure::{Failure, FailureKind};
use crate::folder::{load_model, read_text};
use crate::libtorch_version::version;
use crate::privacy::rounds::refused;
use crate::whole_number::{counted, whole};

/// Why nothing that needs the task was examined.
const NO_TASK: &str = "the task cannot be read";
/// Why nothing that needs the base model was examined.
const NO_BASE: &str = "the task or the base model cannot be used";
/// Why a program of the hospital's own is not examined.
const OTHER_TRAINER: &str = "the program of `trainer_cmd` trains, and reads the notes itself";

impl ExaminedHospital {
    pub(super) fn check_device(&mut self) -> CheckOutcome {
        let compute = &self.member.compute;
        let libtorch = match loaded_libtorch() {
            Some(folder) => {
                let version = version(&folder).map_or_else(String::new, |version| format!("{version} "));
                format!("libtorch {version}({})", folder.display())
            }
            None => "libtorch".to_owned(),
        };
        let free = available(compute.device)
            .map_or_else(String::new, |free| format!(", {} free", bytes(free as u64)));
        let threads = usize::from(compute.threads);
        let device = match compute.device {
            Device::Cuda(number) => format!("GPU {number}"),
            _ => "the CPU".to_owned(),
        };
        let found = format!("{libtorch} computes on {device} with {}{free}", counted(threads, "thread"));
        match available_parallelism() {
            Ok(cores) if threads > cores.get() => CheckOutcome::warning(
                format!("{found}, and this machine has {}", counted(cores.get(), "core")),
                format!("set `threads` to at most {cores}"),
            ),
            _ => CheckOutcome::ok(found),
        }
    }

    pub(super) fn check_task(&mut self) -> CheckOutcome {
        let path = &self.member.task;
        let task = read_text(path).and_then(|text| {
            Task::parse(&text).map_err(|error| Failure::config(format!("{}: {error}", path.display())))
        });
        match task {
            Ok(task) => {
                let found = match &task {
                    Task::Classifier(model) => {
                        format!("a classifier that sorts notes into {} classes", model.classes.len())
                    }
                    Task::Adapter(task) => {
                        format!("an adapter of {} ({:?})", task.base_model, task.objective)
                    }
                };
                self.task = Some(task);
                CheckOutcome::ok(found)
            }
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    /// The files are those that the task names (`TASK-01`), and rows can be read by them.
    pub(super) fn check_base(&mut self) -> CheckOutcome {
        let Some(task) = &self.task else { return CheckOutcome::not_checked(NO_TASK) };
        let base = &self.member.base_model;
        let opened = match task {
            Task::Classifier(_) => Ok("MiniLM's files can be read"),
            Task::Adapter(task) => {
                task.check_base(base).map(|()| "every file is the one that the task names")
            }
        };
        let opened = opened.and_then(|found| {
            self.surveyor = Some(Surveyor::open(task, base, self.member.windows.into())?);
            Ok(found)
        });
        match opened {
            Ok(found) => CheckOutcome::ok(format!("{}: {found}", base.display())),
            Err(error) => CheckOutcome::failure(&Failure::experts(error)),
        }
    }

    /// The initial parameters have the task's blocks.
    pub(super) fn check_parameters(&mut self) -> CheckOutcome {
        let (Some(task), Some(_)) = (&self.task, &self.surveyor) else {
            return CheckOutcome::not_checked(NO_BASE);
        };
        let path = &self.member.model;
        let fits = load_model(path).and_then(|model| {
            let blocks = model.blocks().values();
            let numbers = blocks.iter().map(Vec::len).sum();
            let initial = task.initial(&self.member.base_model).map_err(Failure::experts)?;
            initial.with_values(blocks.to_vec()).map_err(|why| {
                Failure::config(format!("{}: {why}; get the initial parameters of this task", path.display()))
            })?;
            Ok((blocks.len(), numbers, model.digest()))
        });
        match fits {
            Ok((blocks, numbers, digest)) => {
                let (blocks, numbers) = (counted(blocks, "block"), whole(numbers));
                CheckOutcome::ok(format!(
                    "{blocks} with {numbers} numbers fit the task; their digest is {digest}"
                ))
            }
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    pub(super) fn check_notes(&mut self) -> CheckOutcome {
        self.judge_file(self.member.notes_file())
    }

    pub(super) fn check_held_out(&mut self) -> CheckOutcome {
        let is_counted = self.task.as_ref().is_some_and(Task::has_evaluation);
        self.judge_file(self.member.held_out_file(is_counted))
    }

    /// As `cloister data check`, in counts alone.
    fn judge_file(&self, file: NotesFile) -> CheckOutcome {
        if self.has_program() {
            return CheckOutcome::not_checked(OTHER_TRAINER);
        }
        let Some(surveyor) = &self.surveyor else { return CheckOutcome::not_checked(NO_BASE) };
        let path = file.path.clone();
        let mut survey = Survey::default();
        match surveyor.add(&mut survey, file, &mut |_| {}) {
            Ok(()) => judge_rows(&path, &surveyor.report(&survey, None)),
            Err(error) => CheckOutcome::failure(&Failure::experts(error)),
        }
    }

    pub(super) fn check_memory(&mut self) -> CheckOutcome {
        if self.has_program() {
            return CheckOutcome::not_checked(OTHER_TRAINER);
        }
        if self.linked.party.is_running {
            return CheckOutcome::not_checked("the running client has taken its memory already");
        }
        let (Some(task), Some(_)) = (&self.task, &self.surveyor) else {
            return CheckOutcome::not_checked(NO_BASE);
        };
        let memory = self
            .member
            .training(task.clone(), &self.linked.flags)
            .and_then(|config| training_memory(&config).map_err(failure));
        match memory {
            Ok(memory) => judge_memory(memory),
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    /// Whether the policy admits rounds with these settings, as `cloister policy check`.
    pub(super) fn check_settings(&mut self) -> CheckOutcome {
        let Some(rounds) = &self.rounds else {
            return CheckOutcome::not_checked("a hospital has no settings file; name one with --settings");
        };
        let judged = read_text(&rounds.settings).and_then(|text| {
            let settings = RoundSettings::parse(&text)
                .map_err(|error| Failure::config(format!("{}: {error}", rounds.settings.display())))?;
            self.judge_settings(rounds, &settings)
        });
        match judged {
            Ok(outcome) => outcome,
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    fn judge_settings(
        &self,
        rounds: &RoundsToJudge,
        settings: &RoundSettings,
    ) -> Result<CheckOutcome, Failure> {
        let Some(policy) = &self.linked.party.policy else {
            return Ok(CheckOutcome::not_checked("the policy cannot be read"));
        };
        if let (Some(task), Some(_)) = (&self.task, &self.surveyor) {
            let table = block_table(task, &self.member.base_model).map_err(failure)?;
            if !settings.blocks.iter().map(|block| block.shape).eq(table) {
                return Err(Failure::config(format!(
                    "the blocks in {} are not those of the task; use settings that were made for this task file",
                    rounds.settings.display()
                )));
            }
        }
        let ledger = cloister_client::ledger_path(&self.linked.flags.data);
        let verdict =
            policy.verdict(settings, rounds.count, Some(ledger.as_path()).filter(|path| path.exists()))?;
        match &verdict.refusals[..] {
            [] => Ok(CheckOutcome::ok(policy.admission_in_words(rounds.count, verdict.counted))),
            refusals => Ok(CheckOutcome::failure(&refused(refusals.join("; and ")))),
        }
    }

    /// The bytes that the model takes in the data folder, and how they are derived.
    pub(super) fn model_space(&self) -> Option<(u64, String)> {
        let has_whole_experts = matches!(&self.task, Some(Task::Adapter(task)) if task.adapter.experts == cloister_experts::families::ExpertTraining::Whole);
        let (model, what) = match has_whole_experts {
            true => {
                (size_of_folder(&self.member.base_model)?, "the merged model, as large as the base model")
            }
            false => (
                fs::metadata(&self.member.model).ok()?.len(),
                "the trained model, as large as the initial parameters",
            ),
        };
        // A model is written beside the one that it replaces.
        Some((2 * model, format!("twice {what}, because a new one is written beside the old one")))
    }

    fn has_program(&self) -> bool {
        self.member.trainer.has_program()
    }
}

fn failure(error: TrainingError) -> Failure {
    match error {
        TrainingError::Experts(error) => Failure::experts(error),
        other => Failure::config(other),
    }
}

fn judge_rows(path: &Path, report: &SurveyReport) -> CheckOutcome {
    let SurveyReport { rows, records, bad_rows, .. } = report;
    let path = path.display();
    let counts = format!("{path}: {} in {}", counted(*rows, "row"), counted(*records, "record"));
    // The messages name places and rules, and nothing of a row's content.
    if let Some(message) = report.unread.first().or(report.first_bad_rows.first()) {
        return CheckOutcome::fault(
            FailureKind::Config,
            format!("{} of {} cannot be used ({message})", whole(*bad_rows), counted(*rows, "row")),
            "run `cloister data check`, which lists more of them, and correct or remove them: the client would stop",
        );
    }
    if *rows == 0 {
        let found = format!("{path} has no rows");
        return CheckOutcome::fault(FailureKind::Config, found, "give a file with at least one row");
    }
    let missing = report.classes.iter().filter(|(_, count)| **count == 0);
    let missing: Vec<&str> = missing.map(|(class, _)| class.as_str()).collect();
    match missing.is_empty() {
        true => CheckOutcome::ok(counts),
        false => CheckOutcome::ok(format!("{counts}; no row of {}", missing.join(", "))),
    }
}

fn judge_memory(Memory { needed, free }: Memory) -> CheckOutcome {
    let needs = format!("training takes about {}", bytes(needed as u64));
    match free {
        None => CheckOutcome::ok(format!("{needs}; the system does not say how much is free")),
        Some(free) if free < needed => CheckOutcome::fault(
            FailureKind::Unavailable,
            format!("{needs}, and {} are free", bytes(free as u64)),
            "end other programs, or take smaller batches, a smaller model or a larger machine",
        ),
        Some(free) => CheckOutcome::ok(format!("{needs}, and {} are free", bytes(free as u64))),
    }
}

/// The bytes of the files in a folder.
fn size_of_folder(folder: &Path) -> Option<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder).ok()? {
        size += entry.ok()?.metadata().ok().filter(fs::Metadata::is_file).map_or(0, |file| file.len());
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::super::outcome::CheckState;
    use super::*;

    #[test]
    fn memory_is_judged_against_the_need() {
        for (free, state) in
            [(Some(9), CheckState::Fault), (Some(10), CheckState::Ok), (None, CheckState::Ok)]
        {
            assert_eq!(judge_memory(Memory { needed: 10, free }).state(), state);
        }
    }
}
