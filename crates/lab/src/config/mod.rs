//! The configuration of a run, a TOML file.

mod plan;
mod sections;
mod strategy;

use std::path::PathBuf;

use cloister_alignment::score::UNIT;
use cloister_params::plan::{LEAST_SCORE_NOISE, SharedCohort, SketchForm};
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::strategy::RunConditions;
pub use crate::training::{MemberTrainingConfig, PrivateTrainingConfig};
pub use sections::{BaseModelConfig, HeadConfig, HeadKind, HeadNoise, ModelPrecision, ScoringConfig};
pub use strategy::StrategyConfig;

/// A run: every setting has a default but the files of the data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the data in results.
    pub dataset: String,
    /// The texts.
    pub data: DataConfig,
    /// How they are divided among members.
    #[serde(default)]
    pub partition: PartitionConfig,
    /// The head fitted from sums.
    #[serde(default)]
    pub head: HeadConfig,
    /// The model that is trained.
    #[serde(default)]
    pub model: BaseModelConfig,
    /// The strategy, and how members train.
    #[serde(default)]
    pub strategy: StrategyConfig,
    /// Sketches and scoring.
    #[serde(default)]
    pub scoring: ScoringConfig,
    /// Whether sums and rounds go behind masks, through the protocol's own state machines.
    #[serde(default)]
    pub secure: bool,
}

/// The texts of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files (JSON Lines, CSV, TSV or Parquet) with `text` and `label`, relative to the data folder. Several files are domains: their
    /// classes are told apart by the file.
    pub train: Vec<PathBuf>,
    /// A file that is measured on; without one, a share of each label is held out.
    #[serde(default)]
    pub test: Option<PathBuf>,
    /// The share of each label that is held out if there is no test file.
    #[serde(default = "DataConfig::default_held_out")]
    pub held_out: f64,
    /// The most texts that are used of each file, the same for every seed; 0 uses all.
    #[serde(default)]
    pub limit: usize,
    /// The most texts that are used of the test file, in place of `limit`; 0 uses all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Tokens after which a text is cut.
    #[serde(default = "DataConfig::default_max_tokens")]
    pub max_tokens: usize,
}

impl DataConfig {
    /// How many texts of the test file are measured on; 0 for all.
    pub(crate) fn limit_of_test(&self) -> usize {
        self.test_limit.unwrap_or(self.limit)
    }

    fn default_held_out() -> f64 {
        0.2
    }

    fn default_max_tokens() -> usize {
        128
    }
}

/// How texts are divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Division {
    /// Members differ in their mix of labels, by a Dirichlet distribution.
    Dirichlet,
    /// Members get texts at random, equally many.
    Iid,
    /// Each member has texts of one domain (file) alone.
    Domains,
    /// Texts at random, in sizes that fall as 1, ½, ⅓ … do.
    Sizes,
    /// Each member has texts of like length, from the shortest to the longest: they differ in style, and no label says so.
    Lengths,
}

/// The division among members.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionConfig {
    /// How texts are divided.
    pub division: Division,
    /// Concentration of the Dirichlet distribution.
    pub alpha: f64,
    /// How many members there are.
    pub members: usize,
    /// Topics that questions without a subject are divided into, by k-means over MiniLM's embeddings; topics are to
    /// questions what labels are to texts.
    pub clusters: usize,
    /// The fewest texts of a member.
    pub minimum: usize,
    /// Members, the last ones, whose list of classes is off by one: they take each text for one of the next class.
    #[serde(skip_serializing_if = "is_none")]
    pub miscoded: usize,
    /// A run for each seed: it decides what is held out, the division, the initial model and the order of training.
    pub seeds: Vec<u64>,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            division: Division::Dirichlet,
            alpha: 0.1,
            members: 10,
            clusters: 8,
            minimum: 8,
            miscoded: 0,
            seeds: vec![0, 1, 2],
        }
    }
}

/// The limit of a quick run; a limit of 0 means no limit.
fn at_most(limit: usize, most: usize) -> usize {
    if limit == 0 { most } else { limit.min(most) }
}

/// Zero is not written, so that the digests of runs from before this setting do not change.
fn is_none(members: &usize) -> bool {
    *members == 0
}

impl Config {
    /// Reads a configuration, with settings in place of the file's: `strategy.num_rounds=3`. The rows of a ladder and
    /// the table of a sweep are left alone.
    ///
    /// # Errors
    /// [`LabError::Config`], naming what is wrong.
    pub fn parse(text: &str, place: &str, settings: &[String]) -> Result<Self, LabError> {
        let mut table: toml::Table = text.parse().map_err(|error| LabError::config(place, error))?;
        table.remove(ROWS);
        table.remove(SWEEP);
        for setting in settings {
            set(&mut table, setting)
                .map_err(|reason| LabError::config(&format!("--set {setting}"), reason))?;
        }
        let config: Self = table.try_into().map_err(|error| LabError::config(place, error))?;
        config.check().map_err(|reason| LabError::config(place, reason))?;
        Ok(config)
    }

    /// The configuration with everything small, to see in minutes that it runs: its figures mean nothing.
    pub fn quick(mut self) -> Self {
        // A causal model takes seconds for each of its questions.
        let (most, rounds) = if self.model.folder.is_some() { (80, 1) } else { (400, 2) };
        self.data.limit = at_most(self.data.limit, most);
        self.data.test_limit = self.data.test_limit.map(|limit| at_most(limit, most));
        self.data.max_tokens = self.data.max_tokens.min(48);
        self.partition.seeds.truncate(1);
        self.strategy.training.num_rounds = self.strategy.training.num_rounds.min(rounds);
        self
    }

    /// Rejects what each table alone cannot: settings of several tables that do not go together.
    fn check(&self) -> Result<(), String> {
        self.check_data()?;
        self.check_model()?;
        self.check_head()?;
        self.check_private()?;
        self.check_strategy()?;
        plan::check(self)
    }

    fn check_data(&self) -> Result<(), String> {
        if self.data.train.is_empty() || self.partition.seeds.is_empty() {
            return Err("`data.train` and `partition.seeds` must name at least one each".to_owned());
        }
        if self.partition.division == Division::Domains && self.data.train.len() < 2 {
            return Err(
                "`partition.division = \"domains\"` needs two files or more in `data.train`".to_owned()
            );
        }
        if self.partition.miscoded > self.partition.members {
            return Err("`partition.miscoded` is at most `partition.members`".to_owned());
        }
        Ok(())
    }

    /// What a causal model cannot do in the lab.
    fn check_model(&self) -> Result<(), String> {
        if self.model.folder.is_none() {
            return Ok(());
        }
        if self.strategy.training.private.is_some() {
            return Err("a causal model (`model.folder`) is not trained with DP-SGD in the lab; leave \
                        `strategy.private` out"
                .to_owned());
        }
        if self.head.kind != HeadKind::None {
            return Err("a causal model (`model.folder`) has no head from sums; set `head.kind = \"none\"`"
                .to_owned());
        }
        Ok(())
    }

    /// What heads from sums can and cannot be asked for.
    fn check_head(&self) -> Result<(), String> {
        let head = &self.head;
        if head.kind != HeadKind::None && head.layers.iter().any(|layer| *layer > 6) {
            return Err("`head.layers` must be numbers from 0 to 6".to_owned());
        }
        if head.layers.is_empty() || head.windows.is_empty() || head.windows.contains(&0) {
            return Err(
                "`head.layers` and `head.windows` need a number each, and windows more than 0".to_owned()
            );
        }
        if let Some(noise) = &head.noise {
            if !self.secure || head.kind == HeadKind::None {
                return Err(
                    "`head.noise` is for sums behind masks: set `secure = true` and a `head.kind`".to_owned()
                );
            }
            let (multiplier, delta) = (noise.noise_multiplier, noise.delta);
            if !(multiplier > 0.0 && multiplier <= 16.0 && delta > 0.0 && delta < 1.0) {
                return Err(
                    "`head.noise` needs a `noise_multiplier` above 0, at most 16, and a `delta` between 0 \
                            and 1"
                        .to_owned(),
                );
            }
        }
        let Some(every) = self.strategy.training.head_every else {
            return Ok(());
        };
        let is_private = self.strategy.training.private.is_some();
        if every == 0 || is_private || head.kind != HeadKind::None || self.model.folder.is_some() {
            return Err("`strategy.head_every` is a number of rounds, for models that classify texts, with \
                        `head.kind = \"none\"` and without `strategy.private`"
                .to_owned());
        }
        Ok(())
    }

    /// Rejects settings that would release about the texts what DP-SGD keeps training from releasing.
    fn check_private(&self) -> Result<(), String> {
        let Some(private) = &self.strategy.training.private else {
            return Ok(());
        };
        if self.strategy.training.balanced || self.head.kind != HeadKind::None {
            return Err(
                "`strategy.private` needs `strategy.balanced = false` and `head.kind = \"none\"`: class \
                        shares and heads from sums carry no noise"
                    .to_owned(),
            );
        }
        if !(private.delta > 0.0 && private.delta < 1.0) {
            return Err(format!("`strategy.private.delta` must lie between 0 and 1, not {}", private.delta));
        }
        Ok(())
    }

    /// What the strategy, and the scoring that it may use, need of the rest.
    fn check_strategy(&self) -> Result<(), String> {
        let strategy = self.strategy.kind.settings();
        if self.head.kind == HeadKind::None && !strategy.trains() {
            return Err(
                "`strategy.name = \"Head\"`, the default, trains nothing and needs a `head.kind` other than \
                        \"none\"; to train, name another strategy, such as \"FedAvg\""
                    .to_owned(),
            );
        }
        let clip = self.strategy.training.expert_clip;
        if !(clip > 0.0 && clip <= 64.0) {
            return Err(format!("`strategy.expert_clip` is above 0 and at most 64, not {clip}"));
        }
        self.check_scoring()?;
        strategy.check(self.conditions())?;
        let follows_majority = self.scoring.shared_cohort == SharedCohort::Majority;
        if follows_majority && !strategy.has_cohorts_for_the_head(self.conditions()) {
            return Err(
                "`scoring.shared_cohort = \"Majority\"` needs `strategy.name = \"FedAlignMoE\"`, and behind \
                        masks `strategy.cohorts = \"aligned\"`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Sizes, groups and noise fit the form of what is announced.
    fn check_scoring(&self) -> Result<(), String> {
        let scoring = &self.scoring;
        let sizes = scoring.sketches.sizes();
        if !sizes.contains(&scoring.coordinates) {
            return Err(format!("`scoring.coordinates` must be one of {sizes:?}"));
        }
        let is_withheld = scoring.sketches == SketchForm::Withheld;
        if !is_withheld && (scoring.groups.is_some() || scoring.score_noise.is_some()) {
            return Err(
                "`scoring.groups` and `scoring.score_noise` are for `scoring.sketches = \"Withheld\"`"
                    .to_owned(),
            );
        }
        // PLAN-22
        let least = if is_withheld && self.secure { f64::from(LEAST_SCORE_NOISE) / UNIT as f64 } else { 0.0 };
        let noise = scoring.withheld().noise;
        match (least..4.0).contains(&noise) {
            true => Ok(()),
            false => Err(format!("`scoring.score_noise` must be at least {least} and below 4, not {noise}")),
        }
    }

    /// The conditions that a strategy has to be compatible with.
    fn conditions(&self) -> RunConditions {
        RunConditions {
            secure: self.secure,
            is_causal: self.model.folder.is_some(),
            is_private: self.strategy.training.private.is_some(),
            compares_pairs: self.scoring.sketches == SketchForm::Pairs,
        }
    }
}

/// The key of the rows of a ladder or a sweep.
pub(crate) const ROWS: &str = "rows";

/// The key of what a sweep varies.
pub(crate) const SWEEP: &str = "sweep";

/// Sets one value of a table. A value that is not valid TOML is taken as a string, so that a shell needs no
/// quotes.
fn set(table: &mut toml::Table, setting: &str) -> Result<(), String> {
    let (key, value) = setting.split_once('=').ok_or("expected KEY=VALUE, like strategy.num_rounds=3")?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().unwrap_or(key);
    let mut inner = table;
    for part in path {
        let entry = inner.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        inner = entry.as_table_mut().ok_or_else(|| format!("{part} is no table"))?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests;
