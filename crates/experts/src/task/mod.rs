//! What members agree on to train one model together. They read it from a task file (`protocols/task.md`).
//!
//! A task is MiniLM with experts that sorts notes into classes ([`ModelConfig`]), or the adapter of a published model
//! ([`AdapterTask`]). Every plan names the task file's digest, and an adapter's task names the digests of its base
//! model's files, so that a member with another base cannot join unnoticed.

mod base;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloister_params::block::{BlockKind, BlockShape, EVALUATION_LENGTH, region_blocks};
use cloister_params::id::BlockId;
use cloister_params::limits::Date;
use cloister_updates::BlockVectors;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::classifier::blocks::initial_blocks;
use crate::classifier::checkpoint::write_checkpoint;
use crate::classifier::config::{HIDDEN, ModelConfig, check_regions};
use crate::error::ExpertsError;
use crate::families::adapter::write_merged;
use crate::families::{Adapter, AdapterBlocks, AdapterSettings, AnyConfig, Layout};

/// What is trained together.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Task {
    /// MiniLM with experts, and a head over classes of notes.
    Classifier(ModelConfig),
    /// An adapter of a published model.
    Adapter(AdapterTask),
}

/// What an adapter learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// To write what follows a prompt, what the assistant says in a conversation, or a text.
    LanguageModel,
    /// To choose the right answer to a question; it is the one that the model finds likeliest.
    MultipleChoice,
    /// To sort a text into one of the adapter's classes, by a new head on the model.
    Classification,
}

/// The adapter of a published model, and what it learns.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterTask {
    /// What is learnt.
    pub objective: Objective,
    /// A name of the base model for people, such as `allenai/OLMoE-1B-7B-0924`. Only the digests identify it.
    pub base_model: String,
    /// SHA-256 of each file of the base model that is read, in hexadecimal digits, as `sha256sum` prints it.
    pub base_files: BTreeMap<String, String>,
    /// What is trained.
    pub adapter: AdapterSettings,
    /// The experts of each layer that are trained, from 0. An empty list means all.
    pub trained_experts: Vec<usize>,
    /// The most tokens of a text, at least 2: one to read and one to predict.
    pub max_tokens: usize,
    /// The token that ends a completion and a text, if there is one.
    pub end_token: Option<i64>,
    /// Seed of the adapter's first halves. They are not sent, so all members must draw the same ones, or sums
    /// of updates would belong to no adapter.
    pub seed: u64,
    /// The day that the base model's chat template prints where it prints today's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// Whether each round evaluates the model on members' held-out records (`PRIV-15`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation: bool,
    /// Coordinates of a sketch, if each layer has a block of regions for plans with withheld sketches (`ALIGN-18`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<u16>,
}

impl Task {
    /// Reads the text of a task file. A file with an `objective` is an adapter's task.
    ///
    /// # Errors
    /// [`ExpertsError::Config`] for what is missing, unknown or outside its limits.
    pub fn parse(text: &str) -> Result<Self, ExpertsError> {
        let value: Value = serde_json::from_str(text).map_err(broken)?;
        // Not an untagged enum, whose only error is that no variant matches. Each kind is parsed from the
        // text, and not from `value`, so that errors have a line and a column.
        match value.get("objective") {
            Some(_) => {
                let task: AdapterTask = serde_json::from_str(text).map_err(broken)?;
                task.check()?;
                Ok(Self::Adapter(task))
            }
            None => {
                let config: ModelConfig = serde_json::from_str(text).map_err(broken)?;
                config.check()?;
                Ok(Self::Classifier(config))
            }
        }
    }

    /// The names of its classes; none for a language model.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Classifier(config) => &config.classes,
            Self::Adapter(task) => &task.adapter.classes,
        }
    }

    /// Whether each round evaluates the model on members' held-out records.
    pub fn has_evaluation(&self) -> bool {
        match self {
            Self::Classifier(config) => config.evaluation,
            Self::Adapter(task) => task.evaluation,
        }
    }

    /// Coordinates of a sketch, if each layer has a block of regions for plans with withheld sketches.
    pub fn regions(&self) -> Option<u16> {
        match self {
            Self::Classifier(config) => config.regions,
            Self::Adapter(task) => task.regions,
        }
    }

    /// The blocks of a round before any training, equal at every member. Of an adapter's base, `config.json` and what is
    /// trained whole are read. The last blocks are those of regions and the evaluation, if the task has them.
    ///
    /// # Errors
    /// As [`AdapterTask::blocks`] and [`Adapter::from_folder`].
    pub fn initial(&self, base: &Path) -> Result<BlockVectors, ExpertsError> {
        let model = match self {
            Self::Classifier(config) => initial_blocks(config),
            Self::Adapter(task) => {
                let adapter = Adapter::from_folder(base, &task.adapter, task.seed)?;
                let blocks = task.blocks(base)?;
                BlockVectors::new(blocks.table(), blocks.vectors(&adapter)?)?
            }
        };
        let mut table = model.table().to_vec();
        let mut values = model.into_values();
        for (kind, length) in self.measured_blocks(&table) {
            table.push(BlockShape { id: BlockId(table.len() as u32), kind, length });
            values.push(vec![0.0; length as usize]);
        }
        Ok(BlockVectors::new(table, values)?)
    }

    /// The blocks that no trainer knows, after those that one does: regions of each layer with experts, then the evaluation
    /// (`TASK-02`).
    fn measured_blocks(&self, trainers: &[BlockShape]) -> Vec<(BlockKind, u64)> {
        let mut measured = Vec::new();
        if let Some(coordinates) = self.regions() {
            measured.extend(region_blocks(trainers.iter().map(|shape| shape.kind), coordinates));
        }
        if self.has_evaluation() {
            measured.push((BlockKind::Evaluation, EVALUATION_LENGTH));
        }
        measured
    }

    /// Width of the hidden states that routers read.
    ///
    /// # Errors
    /// [`ExpertsError::File`] or [`ExpertsError::Content`] for the base's `config.json`.
    pub fn hidden_width(&self, base: &Path) -> Result<usize, ExpertsError> {
        match self {
            Self::Classifier(_) => Ok(HIDDEN),
            Self::Adapter(_) => Ok(AnyConfig::read(base)?.widths().0),
        }
    }

    /// Writes a trained model into a folder for programs of its kind: `model.safetensors` of a classifier, of an
    /// adapter the folder `adapter`, as PEFT reads it, or where experts are trained whole the folder `merged`, the
    /// base model with them in their places. Returns where.
    ///
    /// # Errors
    /// [`ExpertsError::File`], or the errors of [`BlockVectors::new`] when the blocks are another model's.
    pub fn write(&self, base: &Path, model: &BlockVectors, folder: &Path) -> Result<PathBuf, ExpertsError> {
        let model = model.for_trainers();
        match self {
            Self::Classifier(config) => {
                let path = folder.join("model.safetensors");
                write_checkpoint(&path, config, &model)?;
                Ok(path)
            }
            Self::Adapter(task) => {
                let adapter = Adapter::from_folder(base, &task.adapter, task.seed)?;
                task.blocks(base)?.load(model.values(), &adapter)?;
                let path = folder.join(if adapter.has_whole_experts() { "merged" } else { "adapter" });
                match adapter.has_whole_experts() {
                    true => write_merged(base, &adapter, &path)?,
                    false => adapter.write(&path, AnyConfig::read(base)?.family(), Layout::PeftFused)?,
                }
                Ok(path)
            }
        }
    }
}

/// The error of a file that is no task.
fn broken(error: serde_json::Error) -> ExpertsError {
    ExpertsError::Config(error.to_string())
}

impl AdapterTask {
    /// A task on the base model of a folder: every file there that is read is digested, and texts end with the token
    /// that its `config.json` names. All experts are trained.
    ///
    /// # Errors
    /// [`ExpertsError::File`], [`ExpertsError::Content`], [`ExpertsError::Config`], or [`ExpertsError::Settings`]
    /// when the adapter's settings do not fit the model.
    pub fn from_base(
        folder: &Path,
        base_model: String,
        objective: Objective,
        adapter: AdapterSettings,
        max_tokens: usize,
    ) -> Result<Self, ExpertsError> {
        let task = Self {
            objective,
            base_model,
            base_files: base::digests(folder)?,
            adapter,
            trained_experts: vec![],
            max_tokens,
            end_token: base::end_token(folder)?,
            seed: 0,
            date: None,
            evaluation: false,
            regions: None,
        };
        task.check()?;
        task.check_limits(&AnyConfig::read(folder)?)?;
        // Only for its errors: the adapter's settings must fit the model.
        task.blocks(folder)?;
        Ok(task)
    }

    /// Which tensors each block is made of; the table of every round follows from it (`TASK-02`).
    ///
    /// # Errors
    /// [`ExpertsError::File`] or [`ExpertsError::Content`] for the folder's `config.json`, [`ExpertsError::Settings`]
    /// when the adapter's settings do not fit the model.
    pub fn blocks(&self, base: &Path) -> Result<AdapterBlocks, ExpertsError> {
        let config = AnyConfig::read(base)?;
        let experts = config.moe().map_or(0, |moe| moe.experts);
        if let Some(expert) = self.trained_experts.iter().find(|&&expert| expert >= experts) {
            let reason = format!("there is no expert {expert} to train; the model has {experts} a layer");
            return Err(ExpertsError::Settings(reason));
        }
        AdapterBlocks::new(&config.sites(), &self.adapter)
    }

    /// Checks that texts are not longer than the model reads.
    ///
    /// # Errors
    /// [`ExpertsError::Config`].
    pub fn check_limits(&self, config: &AnyConfig) -> Result<(), ExpertsError> {
        match config.positions().filter(|&most| most < self.max_tokens) {
            Some(most) => Err(ExpertsError::Config(format!(
                "max_tokens is {}, and {} reads {most}",
                self.max_tokens, self.base_model
            ))),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), ExpertsError> {
        match (self.objective == Objective::Classification, self.adapter.classes.is_empty()) {
            (true, true) => {
                return Err(ExpertsError::Config(
                    "the objective classification needs classes: list them in adapter.classes".to_owned(),
                ));
            }
            (false, false) => {
                return Err(ExpertsError::Config(
                    "adapter.classes is for the objective classification only; remove it".to_owned(),
                ));
            }
            _ => {}
        }
        check_regions(self.regions)?;
        if self.max_tokens < 2 {
            return Err(ExpertsError::Config(format!(
                "max_tokens must be at least 2, not {}",
                self.max_tokens
            )));
        }
        match self.base_files.is_empty() {
            true => Err(ExpertsError::Config("base_files must name the base model's files".to_owned())),
            false => Ok(()),
        }
    }
}
