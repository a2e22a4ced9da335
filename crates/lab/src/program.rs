//! The researcher's own program as every member's local step (`protocols/trainer.md`).
//!
//! Each member's training and evaluation is a job, exchanged as a real hospital's client exchanges it. The
//! program learns about a member what a hospital's program would: its texts, the common model and the plan's
//! settings.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::task::Task;
use cloister_experts::{BlockVectors, LocalResult, LocalTraining, ModelConfig};
use cloister_trainer::{JobInputs, ProgramTrainer, TrainerProgram};
use serde_json::json;

use crate::config::{Config, HeadKind, ModelPrecision};
use crate::error::LabError;
use crate::learners::{Learners, ModelScore};
use crate::statistics::Statistics;

/// CPU threads of a job. Members train one after another, so the machine is not shared.
const THREADS: usize = 1;

/// Texts with their labels.
pub(crate) type LabelledTexts<'a> = Vec<(&'a str, &'a str)>;

/// Members that train with a program.
pub(crate) struct ProgramLearners {
    members: Vec<ProgramTrainer>,
    /// Files of the members' texts, and of jobs; removed with this.
    folder: PathBuf,
}

impl ProgramLearners {
    /// Writes the texts of each member, and those that are measured on, into files below `folder`.
    pub(crate) fn new(
        program: &TrainerProgram,
        (model, base_model): (&ModelConfig, &Path),
        members: &[LabelledTexts<'_>],
        held_out: &LabelledTexts<'_>,
        folder: PathBuf,
    ) -> Result<Self, LabError> {
        // Made before anything is written there, so that it is removed even if writing fails.
        let mut learners = Self { members: Vec::with_capacity(members.len()), folder };
        let folder = &learners.folder;
        fs::create_dir_all(folder).map_err(LabError::file(folder))?;
        let test = folder.join("held-out.jsonl");
        write_texts(&test, held_out)?;
        let program = TrainerProgram { folder: folder.join("job"), ..program.clone() };
        for (member, texts) in members.iter().enumerate() {
            let notes = folder.join(format!("member-{}.jsonl", member + 1));
            write_texts(&notes, texts)?;
            let inputs = JobInputs {
                task: Task::Classifier(model.clone()),
                base_model: base_model.to_owned(),
                notes,
                held_out: test.clone(),
                threads: THREADS,
            };
            learners.members.push(ProgramTrainer::new(&program, inputs)?);
        }
        Ok(learners)
    }
}

impl Drop for ProgramLearners {
    fn drop(&mut self) {
        // The texts are public; a folder that stays behind does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Learners for ProgramLearners {
    fn members(&self) -> usize {
        self.members.len()
    }

    fn train(
        &mut self,
        member: usize,
        start: &BlockVectors,
        settings: &LocalTraining,
    ) -> Result<LocalResult, LabError> {
        Ok(self.members[member].train(start, settings, &mut |_, _| ())?.local)
    }

    /// The contract of programs has no such job.
    fn statistics(&mut self, _member: usize, _model: &BlockVectors) -> Result<Option<Statistics>, LabError> {
        Ok(None)
    }

    fn score(&mut self, member: usize, model: &BlockVectors) -> Result<ModelScore, LabError> {
        let everything = (0, 1);
        let (correct, total) = self.members[member].evaluate(model, everything)?;
        // A program answers how many texts it classified correctly, and not which.
        Ok(ModelScore { accuracy: correct as f64 / total as f64, by_class: Vec::new() })
    }
}

/// One JSON object a line, the format of notes in `protocols/trainer.md`.
fn write_texts(path: &Path, texts: &LabelledTexts<'_>) -> Result<(), LabError> {
    let lines: String =
        texts.iter().map(|(text, label)| format!("{}\n", json!({ "text": text, "label": label }))).collect();
    fs::write(path, lines).map_err(LabError::file(path))
}

/// Rejects settings that a job cannot pass to a program, and names them: a run must not do less than its
/// configuration says.
pub(crate) fn check(config: &Config) -> Result<(), LabError> {
    let training = &config.strategy.training;
    let asked = config.strategy.kind.settings().training(training);
    let passed_on = LocalTraining {
        epochs: asked.epochs,
        batch_size: asked.batch_size,
        learning_rate: asked.learning_rate,
        routing_penalty: asked.routing_penalty,
        seed: asked.seed,
        ..LocalTraining::default()
    };
    let untold = [
        (config.model.folder.is_some(), "`model.folder`: programs train the classifier alone"),
        (config.model.precision != ModelPrecision::Float32, "`model.precision`: the program chooses it"),
        (
            config.head.kind != HeadKind::None,
            "`head.kind` other than \"none\": programs do not get its logits",
        ),
        (training.balanced, "`strategy.balanced = true`: programs do not get class shares"),
        (training.private.is_some(), "`strategy.private`: a program's clipping and noise cannot be checked"),
        (training.head_every.is_some(), "`strategy.head_every`: programs do not return their features"),
        (
            asked.frozen != passed_on.frozen,
            "frozen routers or `strategy.freeze_head`: programs train what they choose",
        ),
        (
            asked.proximal != passed_on.proximal,
            "`strategy.proximal` of FedProx: programs have no such setting",
        ),
        (
            asked.routing_form != passed_on.routing_form,
            "`strategy.routing_form`: programs have no such setting",
        ),
        (asked.region_form != passed_on.region_form, "`strategy.region_form`: programs have no such setting"),
        // Last, as a net: a setting that is added to training must not be dropped silently.
        (asked != passed_on, "a setting of this strategy that programs do not have"),
    ];
    match untold.into_iter().find(|(is_asked, _)| *is_asked) {
        Some((_, what)) => {
            Err(LabError::config("the training program", format!("it cannot work with {what}")))
        }
        None => Ok(()),
    }
}
