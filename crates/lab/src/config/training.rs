//! What is trained, and how.

use std::path::PathBuf;

use cloister_alignment::reference::Gate;
use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::families::ExpertTraining;
use cloister_experts::{Precision, RegionForm, RoutingForm};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{SharedCohort, Threshold};
use serde::{Deserialize, Serialize};

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
    /// Which one.
    pub kind: HeadKind,
    /// The layers of MiniLM whose mean states are its features: 0 is the embeddings, 6 the last layer.
    pub layers: Vec<usize>,
    /// Windows of `data.max_tokens` tokens that the means are taken over; of several numbers, all their means are
    /// features, side by side.
    pub windows: Vec<usize>,
    /// What is added to the covariance's diagonal, as a share of its mean.
    pub shrinkage: f64,
    /// What its logits are multiplied by where the model is trained on top of it.
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
    /// What members compute in.
    pub precision: ModelPrecision,
    /// Its modules with adapters besides the experts, such as `q_proj`.
    pub modules: Vec<String>,
    /// How its experts are trained.
    #[serde(skip_serializing_if = "is_low_rank")]
    pub expert_training: ExpertTraining,
}

/// Not written where it is the default, so that digests of earlier runs stay theirs.
fn is_low_rank(training: &ExpertTraining) -> bool {
    *training == ExpertTraining::LowRank
}

/// What a model computes in; what is trained is kept in 32-bit floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelPrecision {
    /// 32-bit floats.
    Float32,
    /// bfloat16.
    Bfloat16,
}

impl From<ModelPrecision> for Precision {
    fn from(own: ModelPrecision) -> Self {
        match own {
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

/// The strategies, spelled as Flower spells those that it has too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum StrategyName {
    /// The head from sums, and no training: the default, as nothing trained under label skew was above it by more
    /// than the spread (`crates/lab/experiments`).
    #[default]
    Head,
    /// All texts at one place: the upper row.
    Centralised,
    /// Each member alone: the lower row.
    LocalOnly,
    /// The mean of the updates, by texts (McMahan et al. 2017).
    FedAvg,
    /// FedAvg with a proximal term (Li et al. 2020).
    FedProx,
    /// FedAvg with Adam at the server (Reddi et al. 2021).
    FedAdam,
    /// FedAvg whose routers stay at their initial values.
    FrozenRouter,
    /// FedAvg of all but the routers, which stay with their members (as FLEx has it, arXiv 2506.00965).
    LocalRouters,
    /// Experts by the tokens that each member routed to them (as FedMoE has it, arXiv 2408.11304).
    FedMoE,
    /// Members use the mean of their own and the common router (as PFL-MoE has it).
    PflMoE,
    /// FedAlign-MoE.
    FedAlignMoE,
}

/// Who is summed for an expert under FedAlignMoE; all but the first are ablations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CohortRule {
    /// The members that align.
    Aligned,
    /// Everyone, weighted by consensus: the paper's soft form.
    Soft,
    /// As many members as would align, drawn at random.
    Random,
    /// As many members as would align, those that agree least with the others.
    Complementary,
    /// Everyone.
    Everyone,
}

/// Which signals open the gate between two members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Regions and directions.
    Both,
    /// Regions alone.
    Regions,
    /// Directions alone.
    Directions,
}

impl Signal {
    pub(crate) fn gate(self) -> Gate {
        match self {
            Self::Both => Gate::Both,
            Self::Regions => Gate::Regions,
            Self::Directions => Gate::Directions,
        }
    }
}

/// What a router's consistency weight counts; all but the first are ablations.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencyOf {
    /// Overlap times margin.
    #[default]
    Both,
    /// Overlap alone.
    Overlap,
    /// Margin alone.
    Margin,
}

impl ConsistencyOf {
    /// Not written where it is the default, so that digests of earlier runs stay theirs.
    fn is_both(&self) -> bool {
        *self == Self::Both
    }
}

/// DP-SGD at every member.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivateTrainingConfig {
    /// Standard deviation of a step's noise over the clipping norm.
    pub noise_multiplier: f64,
    /// The L2 norm that each text's gradient is clipped to.
    pub clipping_norm: f64,
    /// The δ of the ε that results name.
    pub delta: f64,
}

impl Default for PrivateTrainingConfig {
    fn default() -> Self {
        Self { noise_multiplier: 1.0, clipping_norm: 1.0, delta: 1e-5 }
    }
}

/// How the model is trained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrategyConfig {
    /// Which strategy.
    pub name: StrategyName,
    /// Rounds; 0 trains nothing.
    pub num_rounds: usize,
    /// Passes over a member's texts in a round.
    pub local_epochs: usize,
    /// Texts of a batch.
    pub batch_size: usize,
    /// Learning rate of experts and routers.
    pub learning_rate: f64,
    /// DP-SGD, if so.
    pub private: Option<PrivateTrainingConfig>,
    /// The L2 norm that a member's update of an expert is clipped to behind masks, and that sketches of it are scaled by.
    #[serde(skip_serializing_if = "is_usual_clip")]
    pub expert_clip: f64,
    /// FedProx's `mu`.
    pub proximal: f64,
    /// FedAdam's learning rate at the server.
    pub server_learning_rate: f64,
    /// Adds the log of the member's own class shares to the logits while it trains (balanced softmax), so that
    /// its label mix does not teach the head.
    pub balanced: bool,
    /// Whether the model's own head stays as it started.
    pub freeze_head: bool,
    /// Puts linear discriminants from sums over the members, of what the model's own head sees then, in its place: before
    /// training and after every so many rounds; never without.
    pub head_every: Option<usize>,
    /// `lambda` of the routing regulariser of FedAlignMoE.
    pub routing_penalty: f64,
    /// What the regulariser compares.
    pub routing_form: RoutingForm,
    /// Whether routers are weighted by their consistency.
    pub consistency: bool,
    /// Whether each member of FedAlignMoE keeps a router of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub local_gate: bool,
    /// What their consistency counts.
    #[serde(skip_serializing_if = "ConsistencyOf::is_both")]
    pub consistency_of: ConsistencyOf,
    /// Who is summed for an expert.
    pub cohorts: CohortRule,
    /// Which signals count.
    pub signal: Signal,
    /// What members tell of their experts' regions.
    #[serde(skip_serializing_if = "RegionForm::is_mean")]
    pub region_form: RegionForm,
}

/// Not written where it is the default, so that digests of earlier runs stay theirs.
fn is_false(switch: &bool) -> bool {
    !switch
}

const USUAL_CLIP: f64 = 2.0;

/// Not written where it is the default, so that digests of earlier runs stay theirs.
fn is_usual_clip(clip: &f64) -> bool {
    *clip == USUAL_CLIP
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self {
            name: StrategyName::default(),
            num_rounds: 10,
            local_epochs: 1,
            batch_size: 16,
            learning_rate: 1e-3,
            private: None,
            expert_clip: USUAL_CLIP,
            proximal: 0.1,
            server_learning_rate: 1e-3,
            balanced: true,
            freeze_head: false,
            head_every: None,
            routing_penalty: 0.1,
            routing_form: RoutingForm::Adaptive,
            consistency: true,
            local_gate: false,
            consistency_of: ConsistencyOf::Both,
            cohorts: CohortRule::Aligned,
            signal: Signal::Both,
            region_form: RegionForm::Mean,
        }
    }
}

/// Sketches and scoring, as a round plan has them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
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

/// Not written where it is the default, so that digests of earlier runs stay theirs.
fn is_everyone(cohort: &SharedCohort) -> bool {
    *cohort == SharedCohort::Everyone
}

impl Default for ScoringConfig {
    fn default() -> Self {
        Self {
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

impl StrategyName {
    /// Whether it needs nothing but sums, so that it runs behind masks. Not FedMoE, whose weights are counts that
    /// nobody else may see, nor what sums nothing.
    pub fn goes_behind_masks(self) -> bool {
        !matches!(self, Self::Centralised | Self::LocalOnly | Self::FedMoE)
    }
}
