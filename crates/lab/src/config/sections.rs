//! The tables of heads, models and scoring.

use std::path::PathBuf;

use cloister_experts::Precision;
use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::families::ExpertTraining;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{SharedCohort, SketchForm, Threshold};
use serde::{Deserialize, Serialize};

use crate::withheld_scores::WithheldScores;

/// Which head is fitted from sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// None: the model's own head starts at zero.
    None,
    /// The nearest class mean.
    ClassMean,
    /// Linear discriminants with a shared covariance.
    Lda,
}

/// The head from sums.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// How it is fitted.
    pub kind: HeadKind,
    /// The layers of MiniLM whose mean states are its features: 0 is the embeddings, 6 the last layer.
    pub layers: Vec<usize>,
    /// Windows of `data.max_tokens` tokens that the means are taken over; of several numbers, all their means are
    /// features, side by side.
    pub windows: Vec<usize>,
    /// Ridge on the covariance's diagonal, as a share of its mean.
    pub shrinkage: f64,
    /// The factor on its logits when the model is trained on top of it.
    pub temper: f64,
    /// Noise on the sums, if any.
    pub noise: Option<HeadNoise>,
}

/// Noise on the sums that a head is fitted from.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadNoise {
    /// Whose data is protected: one text of a member, or all of them.
    pub unit: PrivacyUnit,
    /// Standard deviation of the noise that three honest members add together (`PRIV-02`), over the most by which one unit
    /// changes the sums. All members add as much each.
    pub noise_multiplier: f64,
    /// The δ of the ε that results name.
    pub delta: f64,
}

impl Default for HeadNoise {
    fn default() -> Self {
        Self { unit: PrivacyUnit::Record, noise_multiplier: 1.0, delta: 1e-5 }
    }
}

impl HeadConfig {
    /// Values of a text's features.
    pub(crate) fn width(&self) -> usize {
        self.layers.len() * self.windows.len() * HIDDEN
    }
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            kind: HeadKind::Lda,
            layers: (0..=6).collect(),
            windows: vec![1],
            shrinkage: 0.01,
            temper: 1.0,
            noise: None,
        }
    }
}

/// The Mixture of Experts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseModelConfig {
    /// Upper layers of MiniLM that become MoE layers.
    pub moe_layers: usize,
    /// Experts of a layer.
    pub experts: usize,
    /// Rank of their adapters.
    pub rank: usize,
    /// A Hugging Face folder of a causal model with experts, which answers multiple-choice questions. Without one,
    /// MiniLM's experts classify texts, and `moe_layers` and `experts` say how it is upcycled.
    pub folder: Option<PathBuf>,
    /// Number format in which members compute.
    pub precision: ModelPrecision,
    /// Its modules with adapters besides the experts, such as `q_proj`.
    pub modules: Vec<String>,
    /// How its experts are trained.
    #[serde(skip_serializing_if = "is_low_rank")]
    pub expert_training: ExpertTraining,
}

/// The default is not written, so that the digests of runs from before this setting do not change.
fn is_low_rank(training: &ExpertTraining) -> bool {
    *training == ExpertTraining::LowRank
}

/// What a model computes in. Trained parameters are 32-bit floats in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelPrecision {
    /// 32-bit floats.
    Float32,
    /// bfloat16.
    Bfloat16,
}

impl From<ModelPrecision> for Precision {
    fn from(precision: ModelPrecision) -> Self {
        match precision {
            ModelPrecision::Float32 => Self::Float32,
            ModelPrecision::Bfloat16 => Self::Bfloat16,
        }
    }
}

impl Default for BaseModelConfig {
    fn default() -> Self {
        let (folder, precision, modules) = (None, ModelPrecision::Float32, vec![]);
        let expert_training = ExpertTraining::default();
        Self { moe_layers: 1, experts: 8, rank: 8, folder, precision, modules, expert_training }
    }
}

/// Sketches and scoring, with the values that a round plan would have.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// What members announce of their experts.
    pub sketches: SketchForm,
    /// Groups of experts, each of which has one score if sketches are withheld; 0 for as many as there are experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// Standard deviation of the noise on each of these scores, which are between −1 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_noise: Option<f64>,
    /// Coordinates of a sketch.
    pub coordinates: u16,
    /// Noise on each of them, in steps; the clip is 8192 steps.
    pub noise_steps: u16,
    /// Centre and spread of the threshold.
    pub threshold: Threshold,
    /// `beta`: how many spreads the threshold lies below the centre.
    pub beta: f64,
    /// The least consensus of a cohort member, as a share of the median.
    pub consensus_fraction: f64,
    /// The fewest tokens with which a member counts for an expert.
    pub minimum_tokens: u32,
    /// Who is summed for the head.
    #[serde(skip_serializing_if = "is_everyone")]
    pub shared_cohort: SharedCohort,
}

/// The default is not written, so that the digests of runs from before this setting do not change.
fn is_everyone(cohort: &SharedCohort) -> bool {
    *cohort == SharedCohort::Everyone
}

impl ScoringConfig {
    /// How members score themselves if no sketch leaves them: as new tasks plan it, unless a file says otherwise.
    pub(crate) fn withheld(&self) -> WithheldScores {
        WithheldScores { groups: self.groups.unwrap_or(1), noise: self.score_noise.unwrap_or(0.1) }
    }
}

impl Default for ScoringConfig {
    fn default() -> Self {
        Self {
            sketches: SketchForm::Withheld,
            groups: None,
            score_noise: None,
            coordinates: 64,
            noise_steps: 80,
            threshold: Threshold::MeanDeviation,
            beta: 1.0,
            consensus_fraction: 0.5,
            minimum_tokens: 30,
            shared_cohort: SharedCohort::Everyone,
        }
    }
}
