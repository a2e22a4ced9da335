//! The round plan: everything that a round fixes before anybody trains, and the checks that every party
//! makes.
//!
//! The consortium agrees on [`RoundSettings`], a TOML file. The coordinator adds what each round needs, which
//! makes a [`RoundPlan`], and signs it. A party works with a [`CheckedPlan`] only.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::block::BlockKind;
use crate::consortium::Consortium;
use crate::fixed::RingWidth;
use crate::floors::Floors;
use crate::id::{BlockId, Digest, PartyId, Round};
use crate::per_block::PerBlock;
use crate::rule;
use rules::{
    check_count_noise, check_custodians, check_evaluation, check_late_sketches, check_parameters,
    check_partition, check_private_training, check_regions, check_ring, check_routing_noise, check_scale,
    check_sizes, check_weights,
};

mod error;
mod groups;
mod rules;
mod scoring;
mod sketch;

pub use crate::planned_block::PlannedBlock;
pub use error::PlanError;
pub use rules::{least_region_noise, ring_reach};
pub use scoring::{Fallback, ScoringRule, SharedCohort, Threshold};
pub use sketch::{LARGEST_SCORE, SKETCH_CLIP_STEPS, SketchForm, SketchPlan, SketchValues};

/// The most blocks of a plan. Qwen3-30B, for example, has 6,144 experts; with this limit an announcement fits
/// into one message.
pub const MAX_BLOCKS: usize = 8_192;
/// The most pairs of a block and a member. With this limit manifests and lists of reveals fit into one
/// message.
pub const MAX_BLOCKS_TIMES_MEMBERS: usize = 1 << 17;
/// The longest block, in coordinates.
pub const MAX_BLOCK_LENGTH: u64 = 1 << 32;
/// The least noise of each member, in quantisation steps, if a plan has weights above 1 (`PLAN-08`). At a
/// coarse scale without noise, weights would act as digits that separate the members of one sum.
pub const NOISE_STEPS_FOR_WEIGHTS: u32 = 16;

/// The least noise on routing distributions, in steps (`PLAN-11`). They are computed from data directly, and
/// not only from trained parameters.
pub const ROUTING_NOISE_STEPS: u32 = 16;

/// The least noise on scores without private training, in units of 2⁻¹⁴ (`PLAN-22`): a sixty-fourth of the largest score.
/// They touch data directly.
pub const LEAST_SCORE_NOISE: u16 = LARGEST_SCORE / 64;

/// The least clip of a router, in steps (`PLAN-19`). The least consistency weight, ¼, is then at least 1 step.
pub const LEAST_ROUTER_CLIP_STEPS: u32 = 4;
/// The powers of two that a plan's steps may be (`PLAN-19`). Sums have less than 2³¹ steps, so that the
/// largest step moves a parameter by less than 2⁶³, far from the end of 32-bit floats; with the least one, a
/// whole ring is a change of 2⁻³³.
pub const STEP_LOG2: RangeInclusive<i8> = -64..=32;

/// Whether members send late sketches of their uploads, and what happens to a sum for which some are missing.
///
/// # Leakage
/// A late sketch is 48 sums over one member's upload, noise included, and everybody sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LateSketchMode {
    /// Nobody sends one. A false upload is not detected.
    Off,
    /// A sum for which late sketches of some members are missing is applied, and published as unchecked.
    Optional,
    /// A sum for which late sketches of some members are missing is published, but not applied.
    Required,
}

/// What local training does. The consortium sets it, and every hospital's trainer obeys it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// Passes over the member's notes in a round, from 1 to [`MOST_LOCAL_EPOCHS`].
    pub local_epochs: u16,
    /// Notes in a batch, at least 1 (`PLAN-03`). Private training divides a step's sum by it, however many records were drawn.
    pub batch_size: u16,
    /// Learning rate, in millionths.
    pub learning_rate_micro: u32,
    /// `lambda`, the weight of the routing regulariser in the loss, in thousandths.
    pub routing_penalty_milli: u32,
    /// DP-SGD at every member. Without it, one record may change everything that training yields, within the
    /// clips.
    pub private: Option<PrivateTrainingPlan>,
}

/// DP-SGD (Abadi et al. 2016): each step sums the clipped gradients of a Poisson sample of the records, and
/// adds noise.
///
/// Its range is checked by `PLAN-13`. What it costs, `cloister_privacy` computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateTrainingPlan {
    /// The L2 norm to which a record's gradient, over everything trained, is clipped, in thousandths; at
    /// least 1.
    pub clipping_norm_milli: u32,
    /// The noise multiplier: the standard deviation of the noise on each coordinate of a step's sum, divided
    /// by the clipping norm, in thousandths; at least [`LEAST_NOISE_MULTIPLIER_MILLI`].
    pub noise_multiplier_milli: u32,
    /// Probability with which each record is in a step's batch, in millionths; from 100 to [`CERTAIN_MICRO`].
    pub sampling_probability_micro: u32,
    /// Averages over records (expert regions, routing) divide by at least this number, which is at least 1.
    /// One record then moves an average by at most twice its bound divided by this number (`PRIV-11`).
    pub minimum_records: u32,
}

/// The [`PrivateTrainingPlan::sampling_probability_micro`] of a batch that takes every record.
pub const CERTAIN_MICRO: u32 = 1_000_000;

/// The least noise multiplier of private training, in thousandths (`PLAN-13`). With it, one step that takes
/// every record costs an ε of 97 at a δ of 10⁻⁶. Less noise hides no record.
pub const LEAST_NOISE_MULTIPLIER_MILLI: u32 = 100;

/// The most passes over a member's records in a round (`PLAN-03`).
pub const MOST_LOCAL_EPOCHS: u16 = 1000;

impl PrivateTrainingPlan {
    /// The noise multiplier as a number, for the accountant.
    pub fn noise_multiplier(&self) -> f64 {
        f64::from(self.noise_multiplier_milli) / 1e3
    }

    /// The sampling probability as a number, for the accountant.
    pub fn sampling_probability(&self) -> f64 {
        f64::from(self.sampling_probability_micro) / f64::from(CERTAIN_MICRO)
    }

    /// The clipping norm as a number, in the unit of gradients.
    pub fn clipping_norm(&self) -> f64 {
        f64::from(self.clipping_norm_milli) / 1e3
    }

    /// The steps of a round with so many passes. One pass takes each record once in expectation. The number
    /// does not depend on how many records a member has, so that it reveals nothing about them.
    pub fn steps(&self, local_epochs: u16) -> u64 {
        // Settings that nobody checked may have a probability of 0, which must not panic.
        u64::from(local_epochs) * u64::from(CERTAIN_MICRO.div_ceil(self.sampling_probability_micro.max(1)))
    }
}

/// How long each step of a round may take, in milliseconds from its start. Afterwards the round goes on
/// without the parties that are late.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deadlines {
    /// Training and announcing.
    pub announce: u64,
    /// Each collection of custodians' signatures.
    pub seal: u64,
    /// Uploading the masked blocks.
    pub upload: u64,
    /// Revealing seeds and shares.
    pub reveal: u64,
}

/// A custodian's receiving key for this round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceivingKeyEntry {
    /// The custodian.
    pub custodian: PartyId,
    /// Its ristretto255 public key for sealed letters, in canonical encoding.
    pub key: [u8; 32],
}

/// What a round does: the part of a plan that the consortium chooses. The coordinator reads it from its
/// settings file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSettings {
    /// Digest of the task: classes, base model, shape of the experts.
    pub task: Digest,
    /// Width of the ring in which uploads are masked: 16, 24 or 32 bits. It must have room for the sums of
    /// all blocks (`PLAN-06`).
    pub ring: RingWidth,
    /// The largest aggregation weight, 1 to 15. A higher weight in the consortium file is cut to it.
    pub max_weight: u8,
    /// The fewest organisations of a cohort whose sum is opened; at least the consortium's floor (`PLAN-04`).
    pub cohort_floor: u16,
    /// How members make sketches.
    pub sketch: SketchPlan,
    /// How sketches are scored, and cohorts are chosen.
    pub scoring: ScoringRule,
    /// Whether members send late sketches.
    pub late_sketches: LateSketchMode,
    /// Whether the round is a rehearsal: members train and go through all steps, contribute zeros, and no sum is
    /// applied (`ROUND-39`).
    #[serde(default)]
    pub rehearsal: bool,
    /// What local training does.
    pub training: TrainingPlan,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// The block table: a partition of everything that is aggregated (`PLAN-02`).
    pub blocks: Vec<PlannedBlock>,
}

/// A settings file that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the round settings cannot be read: {0}")]
pub struct SettingsSyntax(String);

impl RoundSettings {
    /// A block of the table. Tables are checked to number their blocks by their places (`PLAN-02`).
    pub fn block(&self, id: BlockId) -> Option<&PlannedBlock> {
        self.blocks.get(id.0 as usize)
    }

    /// Whether rounds with these settings evaluate the model (`PRIV-15`).
    pub fn has_evaluation(&self) -> bool {
        self.blocks.iter().any(|block| block.shape.kind == BlockKind::Evaluation)
    }

    /// All that a contribution depends on: a contribution fits every plan whose settings differ in deadlines alone
    /// (`ROUND-03`).
    pub fn without_deadlines(&self) -> Self {
        Self { deadlines: Deadlines { announce: 0, seal: 0, upload: 0, reveal: 0 }, ..self.clone() }
    }

    /// Reads a settings file. An unknown setting is an error.
    ///
    /// # Errors
    /// A file that is not TOML, lacks a setting or has an unknown one.
    pub fn parse(text: &str) -> Result<Self, SettingsSyntax> {
        toml::from_str(text).map_err(|error| SettingsSyntax(error.to_string()))
    }

    /// Checks the settings against a consortium: everything in a plan that is known before its round.
    ///
    /// # Errors
    /// The first rule that they break (`PLAN-02` to `PLAN-08`, `PLAN-11` to `PLAN-13`, `PLAN-17`, `PLAN-19`,
    /// `PLAN-21`, `PLAN-22`).
    pub fn check(&self, consortium: &Consortium) -> Result<(), PlanError> {
        self.check_for(&consortium.floors(), consortium.members().count())
    }

    /// As [`check`](Self::check), of a consortium whose roster leads to these floors and has so many members.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    pub fn check_for(&self, floors: &Floors, members: usize) -> Result<(), PlanError> {
        let (got, floor) = (usize::from(self.cohort_floor), floors.cohort);
        // PLAN-04
        if got < floor && rule::in_force("PLAN-04") {
            return Err(PlanError::BelowFloor { got, floor });
        }
        if rule::in_force("PLAN-02") {
            check_partition(&self.blocks)?;
        }
        // Before `check_ring`, which shifts by the ring's bits: decoding takes any number of them.
        check_sizes(self)?;
        check_count_noise(self)?;
        if self.blocks.len() * members > MAX_BLOCKS_TIMES_MEMBERS {
            let most = MAX_BLOCKS_TIMES_MEMBERS / members;
            let why =
                format!("it has {} blocks; {most} are possible with {members} members", self.blocks.len());
            return Err(PlanError::BlockTable(why));
        }
        for block in &self.blocks {
            check_scale(block)?;
            check_ring(self, block, members)?;
            check_weights(self, block)?;
            check_routing_noise(block)?;
            check_evaluation(block)?;
            check_late_sketches(self, block)?;
        }
        check_regions(self)?;
        check_private_training(&self.training)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for this type; the TOML library's error is passed on.
    pub fn to_toml(&self) -> Result<String, SettingsSyntax> {
        toml::to_string(self).map_err(|error| SettingsSyntax(error.to_string()))
    }
}

/// What the coordinator proposes for one round. It is unchecked: see [`CheckedPlan`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoundPlan {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round's number in the epoch, from 1 (`PLAN-05`).
    pub round: Round,
    /// Digest of the previous round's closing or abort body; for the first round, the epoch.
    pub previous: Digest,
    /// Digest of the model from which the round starts, published routing distribution included.
    pub model: Digest,
    /// Digest of each block's parameters in that model (`PLAN-18`).
    pub parameters: PerBlock<Digest>,
    /// The receiving keys of the custodians that take part, in ascending order; at least a seal quorum.
    pub custodians: Vec<ReceivingKeyEntry>,
    /// Members that are barred from the round, in ascending order (`PLAN-14`).
    pub barred: Vec<PartyId>,
    /// What the round does.
    pub settings: RoundSettings,
}

/// A plan that obeys every rule for this consortium. Only [`CheckedPlan::check`] makes one, and nothing
/// changes it afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedPlan(RoundPlan);

impl CheckedPlan {
    /// Checks a plan against the consortium and the epoch that this party pinned.
    ///
    /// # Errors
    /// The first rule that the plan breaks (`PLAN-01` to `PLAN-09`, `PLAN-18`, and those of
    /// [`RoundSettings::check`]).
    pub fn check(plan: RoundPlan, consortium: &Consortium, epoch: Digest) -> Result<Self, PlanError> {
        // CONS-02
        if plan.epoch != epoch && rule::in_force("PLAN-01") {
            return Err(PlanError::Epoch { got: plan.epoch, expected: epoch });
        }
        plan.settings.check(consortium)?;
        check_parameters(&plan)?;
        check_custodians(&plan, consortium)?;
        Ok(Self(plan))
    }

    /// A block of the table.
    pub fn block(&self, id: BlockId) -> Option<&PlannedBlock> {
        self.0.settings.block(id)
    }

    /// The digest of a block's parameters before the round (`PLAN-18`).
    pub fn parameters_of(&self, id: BlockId) -> Option<Digest> {
        self.0.parameters.get(id).copied()
    }

    /// The size of a masked block, in bytes.
    pub fn packed_bytes(&self, block: &PlannedBlock) -> usize {
        block.shape.length as usize * self.0.settings.ring.bytes()
    }

    /// The receiving key of a custodian; `None` if it does not take part.
    pub fn receiving_key(&self, custodian: PartyId) -> Option<[u8; 32]> {
        self.0.custodians.iter().find(|entry| entry.custodian == custodian).map(|entry| entry.key)
    }
}

impl std::ops::Deref for CheckedPlan {
    type Target = RoundPlan;

    fn deref(&self) -> &RoundPlan {
        &self.0
    }
}

#[cfg(test)]
mod tests;
