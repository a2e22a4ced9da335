//! The task: which model is trained, and its classes.

use std::path::Path;
use std::time::SystemTime;

use cloister_experts::families::finetune::prints_date;
use cloister_experts::files::notes::{NotesFile, read_classes};
use cloister_experts::task::{AdapterTask, Task};
use cloister_experts::{ExpertsError, ModelConfig};
use cloister_params::limits::Date;

use super::flags::Architecture;
use super::{ObjectiveFlag, TrainedFlags, usage};
use crate::classes::warn_of_twins;
use crate::failure::Failure;

/// Which model is trained.
pub(super) struct ModelRequest<'a> {
    pub(super) architecture: Architecture<'a>,
    pub(super) trained: &'a TrainedFlags,
}

/// What has noise for a privacy budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoiseOn {
    /// Nothing: there is no budget.
    Nothing,
    /// Each sum, for whole members.
    Sums,
    /// Private training, for records.
    Training,
}

impl ModelRequest<'_> {
    /// The folder of the base model from which initial parameters are read. A classifier's follow from its task alone.
    pub(super) fn base(&self) -> &Path {
        match self.architecture {
            Architecture::Classifier { .. } => Path::new(""),
            Architecture::Published { base, .. } => base,
        }
    }

    pub(super) fn is_classifier(&self) -> bool {
        matches!(self.architecture, Architecture::Classifier { .. })
    }

    /// The task. With noise a small model is trained unless the flags say another: the fewer numbers are trained, the less
    /// noise there is.
    pub(super) fn task(&self, noise: NoiseOn) -> Result<Task, Failure> {
        let has_noise = noise != NoiseOn::Nothing;
        let regions = self.trained.sketches.regions(noise == NoiseOn::Training);
        let classes = self.classes()?;
        warn_of_twins(&classes);
        match self.architecture {
            Architecture::Classifier { moe_layers, experts } => {
                if classes.is_empty() {
                    return Err(usage(
                        "a classifier needs classes: give --classes-of FILE, or --classes NAME,NAME,…",
                    ));
                }
                let usual = ModelConfig::new(classes);
                let adapter = &self.trained.adapter;
                let config = ModelConfig {
                    moe_layers: moe_layers.unwrap_or(if has_noise { 1 } else { usual.moe_layers }),
                    experts: experts.unwrap_or(if has_noise { 4 } else { usual.experts }),
                    rank: adapter.rank.unwrap_or(if has_noise { 1 } else { usual.rank }),
                    alpha: adapter.alpha,
                    max_tokens: self.trained.max_tokens.unwrap_or(if has_noise { 128 } else { 256 }),
                    seed: self.trained.seed,
                    evaluation: self.trained.held_out_records.is_some(),
                    regions,
                    ..usual
                };
                config.check().map_err(Failure::experts)?;
                Ok(Task::Classifier(config))
            }
            Architecture::Published { base, objective } => {
                let task = self.published(base, objective, classes, has_noise)?;
                Ok(Task::Adapter(AdapterTask { regions, ..task }))
            }
        }
    }

    fn published(
        &self,
        base: &Path,
        objective: ObjectiveFlag,
        classes: Vec<String>,
        has_noise: bool,
    ) -> Result<AdapterTask, Failure> {
        let TrainedFlags { trained_experts, seed, date, max_tokens, held_out_records, .. } = self.trained;
        let folder_name = || {
            base.file_name()
                .map_or_else(|| "the base model".to_owned(), |name| name.to_string_lossy().into_owned())
        };
        let name = self.trained.name.clone().unwrap_or_else(folder_name);
        let mut adapter = self.trained.adapter.settings();
        adapter.classes = classes;
        if has_noise && self.trained.adapter.rank.is_none() {
            adapter.rank = 1;
        }
        let max_tokens = max_tokens.unwrap_or(512);
        let task = AdapterTask::from_base(base, name, objective.into(), adapter, max_tokens)
            .map_err(Failure::experts)?;
        let date = match prints_date(base).map_err(Failure::experts)? {
            // Fixed in the task: with its own clock each member would train on another prompt.
            true => Some(date.unwrap_or_else(|| Date::from_time(SystemTime::now()))),
            false => None,
        };
        let (trained_experts, evaluation) = (trained_experts.clone(), held_out_records.is_some());
        Ok(AdapterTask { trained_experts, seed: *seed, date, evaluation, ..task })
    }

    /// The classes of the flags, or of the file that they name.
    fn classes(&self) -> Result<Vec<String>, Failure> {
        let Some(path) = &self.trained.classes_of else { return Ok(self.trained.adapter.classes.clone()) };
        let file = NotesFile { encoding: self.trained.encoding, ..path.clone().into() };
        read_classes(file).map_err(|error| Failure::experts(ExpertsError::Notes(error)))
    }
}
