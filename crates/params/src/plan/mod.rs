//! The round plan: everything that a round fixes before anybody trains, and the checks that every party makes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::consortium::Consortium;
use crate::fixed::RingWidth;
use crate::id::{BlockId, Digest, PartyId, Round};
use crate::rule;
use rules::{
    check_count_noise, check_custodians, check_late_sketches, check_parameters, check_partition,
    check_private_training, check_ring, check_routing_noise, check_sizes, check_weights,
};

mod error;
mod rules;

pub use crate::planned_block::PlannedBlock;
pub use error::PlanError;
pub use rules::ring_reach;

/// The most blocks of a plan: Qwen3-30B has 6,144 experts. With it, announcements fit into a message.
pub const MAX_BLOCKS: usize = 8_192;
/// The most pairs of a block and a member; with it, manifests and lists of reveals fit into a message.
pub const MAX_BLOCKS_TIMES_MEMBERS: usize = 1 << 17;
/// The longest block, in coordinates.
pub const MAX_BLOCK_LENGTH: u64 = 1 << 32;
/// The sketch sizes that a plan may choose.
pub const SKETCH_COORDINATES: [u16; 4] = [16, 32, 64, 128];
/// With weights other than 1, a member's own noise is at least this many quantisation steps (`PLAN-08`).
pub const NOISE_STEPS_FOR_WEIGHTS: u32 = 16;

/// The least noise on routing distributions, which touch data directly, in steps (`PLAN-11`).
pub const ROUTING_NOISE_STEPS: u32 = 16;

/// How sketches are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SketchPlan {
    /// Seeds the Rademacher projections. It follows from the task (`PLAN-15`), so that it is the same in every round.
    pub seed: Digest,
    /// Coordinates of a sketch: 16, 32, 64 or 128.
    pub coordinates: u16,
    /// Standard deviation of the noise on each coordinate, in sketch steps (the clip is [`SKETCH_CLIP_STEPS`]).
    pub noise_steps: u16,
    /// L2 clip of a region sketch, in thousandths of the hidden state's unit.
    pub region_clip_milli: u32,
    /// Standard deviation of the noise on each expert's token count.
    pub count_noise: u16,
}

/// A sketch whose L2 norm is at the clip has this norm in integer steps.
pub const SKETCH_CLIP_STEPS: u16 = 8192;

/// Centre and spread of the region agreements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Threshold {
    /// Mean and standard deviation, as in the paper.
    MeanDeviation,
    /// Median and median absolute deviation, robust against outliers.
    MedianDeviation,
}

/// What happens to a block whose cohort would be below the floor plus slack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fallback {
    /// The cohort is everyone who announced.
    Everyone,
    /// The block is void this round.
    Skip,
}

/// Who is summed for the shared rest, the head among it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SharedCohort {
    /// Everyone who announced.
    Everyone,
    /// Those whom most of the experts that know them align: for members with alike mixes of labels, some of whom may
    /// be wrong.
    Majority,
}

/// The scoring rule with its constants; fractions are in 256ths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScoringRule {
    /// Centre and spread.
    pub threshold: Threshold,
    /// `beta`: how many spreads below the centre the threshold lies, in 256ths.
    pub spread_factor: u16,
    /// The least consensus of a cohort member, as a fraction of the median consensus, in 256ths.
    pub consensus_fraction: u16,
    /// The fewest noised tokens with which a member counts for an expert.
    pub minimum_tokens: u32,
    /// Members above the floor that a scored cohort must have, so that drop-outs leave it valid.
    pub slack: u16,
    /// What happens below floor plus slack.
    pub fallback: Fallback,
    /// The cohort of the shared rest.
    pub shared_cohort: SharedCohort,
}

impl ScoringRule {
    /// The largest token count that a member announces: more say nothing that scoring asks for (`PRIV-04`).
    pub fn largest_count(&self) -> u32 {
        self.minimum_tokens.saturating_mul(2)
    }

    /// The least noise on token counts (`PLAN-17`): an eighth of the count that scoring asks for, and at least 1.
    pub fn least_count_noise(&self) -> u32 {
        self.minimum_tokens.div_ceil(8).max(1)
    }
}

/// Whether members send a late sketch of what they uploaded, and what a sum without all of them is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LateSketchMode {
    /// Nobody sends one; a lying upload is not seen.
    Off,
    /// A sum that not all of its members answered for is applied, and published as unchecked.
    Optional,
    /// A sum that not all of its members answered for is published and not applied.
    Required,
}

/// What local training does; hospitals' trainers take it as given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// Passes over the member's notes.
    pub local_epochs: u16,
    /// Notes in a batch.
    pub batch_size: u16,
    /// Learning rate in millionths.
    pub learning_rate_micro: u32,
    /// `lambda` of the routing regulariser, in thousandths.
    pub routing_penalty_milli: u32,
    /// DP-SGD at every member, if so: then one record changes little of what training yields.
    pub private: Option<PrivateTrainingPlan>,
}

/// DP-SGD (Abadi et al. 2016): each step sums the clipped gradients of a Poisson sample of the records, and adds noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateTrainingPlan {
    /// The L2 norm that a record's gradient, over everything trained, is clipped to, in thousandths.
    pub clipping_norm_milli: u32,
    /// Standard deviation of the noise on each coordinate of a step's sum over the clipping norm, in thousandths.
    pub noise_multiplier_milli: u32,
    /// Probability with which each record is in a step's batch, in millionths.
    pub sampling_probability_micro: u32,
    /// Averages over records (expert regions, routing) divide by no less than this, so that one record moves an average by at
    /// most twice its bound over this.
    pub minimum_records: u32,
}

/// What a [`PrivateTrainingPlan::sampling_probability_micro`] of 1 is.
pub const CERTAIN_MICRO: u32 = 1_000_000;

/// The least noise of private training over the clip, in thousandths (`PLAN-13`). With it, one step that takes every record
/// costs an ε of 97 at a δ of 10⁻⁶: what is quieter hides no record.
pub const LEAST_NOISE_MULTIPLIER_MILLI: u32 = 100;

/// The most passes over a member's records in a round (`PLAN-03`).
pub const MOST_LOCAL_EPOCHS: u16 = 1000;

impl PrivateTrainingPlan {
    /// The noise multiplier as the accountant takes it.
    pub fn noise_multiplier(&self) -> f64 {
        f64::from(self.noise_multiplier_milli) / 1e3
    }

    /// The sampling probability as the accountant takes it.
    pub fn sampling_probability(&self) -> f64 {
        f64::from(self.sampling_probability_micro) / f64::from(CERTAIN_MICRO)
    }

    /// The clipping norm.
    pub fn clipping_norm(&self) -> f64 {
        f64::from(self.clipping_norm_milli) / 1e3
    }

    /// Steps of a round with so many passes: one pass takes each record once in expectation. The number of a member's records
    /// plays no part, so that the steps tell nothing of it.
    pub fn steps(&self, local_epochs: u16) -> u64 {
        u64::from(local_epochs) * u64::from(CERTAIN_MICRO.div_ceil(self.sampling_probability_micro.max(1)))
    }
}

/// How long each step may take, in milliseconds from its start.
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
    /// Its ristretto255 public key for sealed letters.
    pub key: [u8; 32],
}

/// What a round does: the part of a plan that the consortium chooses, as the coordinator's settings file has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSettings {
    /// Digest of what is learned: classes, base model, shape of the experts.
    pub task: Digest,
    /// Width of the ring.
    pub ring: RingWidth,
    /// The largest weight used, 1 to 15.
    pub max_weight: u8,
    /// The fewest organisations of an opened cohort; at least the consortium's floor.
    pub cohort_floor: u16,
    /// Sketches.
    pub sketch: SketchPlan,
    /// Scoring.
    pub scoring: ScoringRule,
    /// Late sketches.
    pub late_sketches: LateSketchMode,
    /// Local training.
    pub training: TrainingPlan,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// The block table, a partition.
    pub blocks: Vec<PlannedBlock>,
}

/// A settings file that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the round settings cannot be read: {0}")]
pub struct SettingsSyntax(String);

impl RoundSettings {
    /// Reads a settings file; unknown settings are errors.
    ///
    /// # Errors
    /// A file that holds no round settings.
    pub fn parse(text: &str) -> Result<Self, SettingsSyntax> {
        toml::from_str(text).map_err(|error| SettingsSyntax(error.to_string()))
    }

    /// Checks the settings against a consortium: everything of a plan that is known before its round.
    ///
    /// # Errors
    /// The first rule that they break (`PLAN-02` to `PLAN-08`).
    pub fn check(&self, consortium: &Consortium) -> Result<(), PlanError> {
        let (got, floor) = (usize::from(self.cohort_floor), consortium.floors().cohort);
        // PLAN-04
        if got < floor && rule::in_force("PLAN-04") {
            return Err(PlanError::BelowFloor { got, floor });
        }
        if rule::in_force("PLAN-02") {
            check_partition(&self.blocks)?;
        }
        check_sizes(self)?;
        check_count_noise(self)?;
        let members = consortium.members().count();
        if self.blocks.len() * members > MAX_BLOCKS_TIMES_MEMBERS {
            let most = MAX_BLOCKS_TIMES_MEMBERS / members;
            let why =
                format!("it has {} blocks; {most} are possible with {members} members", self.blocks.len());
            return Err(PlanError::BlockTable(why));
        }
        for block in &self.blocks {
            check_ring(self, block, members)?;
            check_weights(self, block)?;
            check_routing_noise(block)?;
            check_late_sketches(self, block)?;
        }
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

/// What the coordinator proposes for one round. Unchecked: see [`CheckedPlan`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoundPlan {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round's number.
    pub round: Round,
    /// Digest of the previous round's closing or abort body; for the first round, the epoch.
    pub previous: Digest,
    /// Digest of the model that the round starts from, published routing distribution included.
    pub model: Digest,
    /// Digest of each block's parameters in that model, in the order of the block table (`PLAN-18`).
    pub parameters: Vec<Digest>,
    /// The receiving keys of the custodians that take part, ascending.
    pub custodians: Vec<ReceivingKeyEntry>,
    /// Members that are barred from the round, ascending (`PLAN-14`).
    pub barred: Vec<PartyId>,
    /// What the round does.
    pub settings: RoundSettings,
}

/// A plan that obeys every rule of the specification for this consortium. There is no other way to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedPlan(RoundPlan);

impl CheckedPlan {
    /// Checks a plan against the consortium and the epoch that this party pinned.
    ///
    /// # Errors
    /// The first rule that the plan breaks (`PLAN-01` to `PLAN-09`).
    pub fn check(plan: RoundPlan, consortium: &Consortium, epoch: Digest) -> Result<Self, PlanError> {
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
        self.0.settings.blocks.get(id.0 as usize)
    }

    /// The digest of a block's parameters before the round (`PLAN-18`).
    pub fn parameters_of(&self, id: BlockId) -> Option<Digest> {
        self.0.parameters.get(id.0 as usize).copied()
    }

    /// The size of a masked block in bytes.
    pub fn packed_bytes(&self, block: &PlannedBlock) -> usize {
        block.shape.length as usize * self.0.settings.ring.bytes()
    }

    /// The receiving key of a custodian that takes part.
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
