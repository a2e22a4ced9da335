//! What a run does, as a TOML file says.

mod training;

use std::path::PathBuf;

use cloister_params::plan::{SKETCH_COORDINATES, SharedCohort};
use serde::{Deserialize, Serialize};

use crate::error::LabError;
pub use training::{
    BaseModelConfig, CohortRule, ConsistencyOf, HeadConfig, HeadKind, HeadNoise, ModelPrecision,
    PrivateTrainingConfig, ScoringConfig, Signal, StrategyConfig, StrategyName,
};

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
    /// How it is trained.
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
    /// The share that is held out where there is no test file.
    #[serde(default = "DataConfig::default_held_out")]
    pub held_out: f64,
    /// At most so many texts of each file, the same for every seed; 0 for all.
    #[serde(default)]
    pub limit: usize,
    /// At most so many texts of the test file, in place of `limit`; 0 for all.
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

/// The limit of a quick run, for what has one already; 0 is none.
fn at_most(limit: usize, most: usize) -> usize {
    if limit == 0 { most } else { limit.min(most) }
}

/// Not written where there are none, so that digests of earlier runs stay theirs.
fn is_none(members: &usize) -> bool {
    *members == 0
}

impl Config {
    /// Reads a configuration, with settings in place of the file's: `strategy.num_rounds=3`. A ladder's rows are left alone.
    ///
    /// # Errors
    /// [`LabError::Config`], naming what is wrong.
    pub fn parse(text: &str, place: &str, settings: &[String]) -> Result<Self, LabError> {
        let mut table: toml::Table = text.parse().map_err(|error| LabError::config(place, error))?;
        table.remove(ROWS);
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
        self.strategy.num_rounds = self.strategy.num_rounds.min(rounds);
        self
    }

    fn check(&self) -> Result<(), String> {
        let fail = |reason: String| Err(reason);
        if self.data.train.is_empty() || self.partition.seeds.is_empty() {
            return fail("`data.train` and `partition.seeds` must name at least one each".to_owned());
        }
        if self.partition.division == Division::Domains && self.data.train.len() < 2 {
            return fail(
                "`partition.division = \"domains\"` needs two files or more in `data.train`".to_owned(),
            );
        }
        if self.partition.miscoded > self.partition.members {
            return fail("`partition.miscoded` is at most `partition.members`".to_owned());
        }
        if !SKETCH_COORDINATES.contains(&self.scoring.coordinates) {
            return fail(format!("`scoring.coordinates` must be one of {SKETCH_COORDINATES:?}"));
        }
        if self.head.kind != HeadKind::None && self.head.layers.iter().any(|layer| *layer > 6) {
            return fail("`head.layers` must be numbers from 0 to 6".to_owned());
        }
        if self.head.layers.is_empty() || self.head.windows.is_empty() || self.head.windows.contains(&0) {
            return fail(
                "`head.layers` and `head.windows` need a number each, and windows more than 0".to_owned(),
            );
        }
        if self.model.folder.is_some() && self.strategy.private.is_some() {
            return fail("a causal model (`model.folder`) is not trained with DP-SGD in the lab; leave `strategy.private` out".to_owned());
        }
        if self.model.folder.is_some() && self.head.kind != HeadKind::None {
            return fail(
                "a causal model (`model.folder`) has no head from sums; set `head.kind = \"none\"`"
                    .to_owned(),
            );
        }
        if self.head.kind == HeadKind::None && self.strategy.name == StrategyName::Head {
            return fail(
                "`strategy.name = \"Head\"`, the default, trains nothing and needs a `head.kind` other than \"none\"; to \
                 train, name another strategy, such as \"FedAvg\""
                    .to_owned(),
            );
        }
        if self.secure && !self.strategy.name.goes_behind_masks() {
            let name = self.strategy.name;
            return fail(format!("{name:?} sums nothing, or needs what masks hide; set `secure = false`"));
        }
        if !(self.strategy.expert_clip > 0.0 && self.strategy.expert_clip <= 64.0) {
            return fail("`strategy.expert_clip` is above 0 and at most 64".to_owned());
        }
        let bare = self.model.folder.is_none() && self.strategy.private.is_none();
        if !self.strategy.region_form.is_mean() && !bare {
            return fail(
                "`strategy.region_form` other than \"mean\" is for models that classify texts, without `strategy.private`"
                    .to_owned(),
            );
        }
        self.check_head()?;
        if let Some(private) = &self.strategy.private {
            self.check_private(private)?;
        }
        let plain_rule = !matches!(self.strategy.cohorts, CohortRule::Aligned | CohortRule::Everyone);
        let plain_form = self.strategy.consistency_of != ConsistencyOf::Both;
        if self.secure && (plain_rule || plain_form || self.strategy.signal != Signal::Both) {
            return fail(
                "`cohorts`, `signal` and `consistency_of` other than the defaults exist in the clear alone"
                    .to_owned(),
            );
        }
        self.check_majority()
    }

    /// A majority of experts needs experts that choose.
    fn check_majority(&self) -> Result<(), String> {
        let StrategyConfig { name, cohorts, .. } = &self.strategy;
        let chosen = *name == StrategyName::FedAlignMoE && !(self.secure && *cohorts == CohortRule::Everyone);
        match self.scoring.shared_cohort {
            SharedCohort::Majority if !chosen => Err(
                "`scoring.shared_cohort = \"Majority\"` needs `strategy.name = \"FedAlignMoE\"`, and behind masks `strategy.cohorts = \"aligned\"`"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// What heads from sums can and cannot be asked for.
    fn check_head(&self) -> Result<(), String> {
        if let Some(noise) = &self.head.noise {
            if !self.secure || self.head.kind == HeadKind::None {
                return Err(
                    "`head.noise` is for sums behind masks: set `secure = true` and a `head.kind`".to_owned()
                );
            }
            let (multiplier, delta) = (noise.noise_multiplier, noise.delta);
            if !(multiplier > 0.0 && multiplier <= 16.0 && delta > 0.0 && delta < 1.0) {
                return Err("`head.noise` needs a `noise_multiplier` above 0, at most 16, and a `delta` between 0 and 1".to_owned());
            }
        }
        let Some(every) = self.strategy.head_every else {
            return Ok(());
        };
        let private = self.strategy.private.is_some();
        if every == 0 || private || self.head.kind != HeadKind::None || self.model.folder.is_some() {
            return Err("`strategy.head_every` is a number of rounds, for models that classify texts, with \
                        `head.kind = \"none\"` and without `strategy.private`"
                .to_owned());
        }
        Ok(())
    }

    /// What else would say of the texts what DP-SGD does not let training say.
    fn check_private(&self, private: &PrivateTrainingConfig) -> Result<(), String> {
        if self.strategy.balanced || self.head.kind != HeadKind::None {
            return Err("`strategy.private` needs `strategy.balanced = false` and `head.kind = \"none\"`: class shares and \
                        heads from sums carry no noise"
                .to_owned());
        }
        if !(private.delta > 0.0 && private.delta < 1.0) {
            return Err(format!("`strategy.private.delta` must lie between 0 and 1, not {}", private.delta));
        }
        Ok(())
    }
}

/// Where a ladder has its rows.
pub(crate) const ROWS: &str = "rows";

/// Sets one value of a table; what is no TOML value is a string.
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
