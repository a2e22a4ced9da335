//! Round settings for a new consortium.

use cloister_crypto::hash::{Domain, digest, projection_seed};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::fixed::{RingWidth, Scale, power_of_two};
use cloister_params::floors::Floors;
use cloister_params::plan::{
    Deadlines, Fallback, LateSketchMode, PlannedBlock, ROUTING_NOISE_STEPS, RoundSettings, ScoringRule,
    SharedCohort, SketchForm, SketchPlan, Threshold, TrainingPlan, least_region_noise, ring_reach,
};
use cloister_privacy::discrete_gaussian::MAX_SIGMA;

use crate::failure::Failure;

/// What the hospitals agree on, from which the round settings follow.
#[derive(Debug)]
pub(crate) struct Agreement<'a> {
    /// The task file.
    pub(crate) task: &'a str,
    /// The floors that follow from the roster.
    pub(crate) floors: &'a Floors,
    /// The blocks of the model.
    pub(crate) table: &'a [BlockShape],
    /// How hospitals train in a round.
    pub(crate) training: TrainingPlan,
    /// Whether members prove by late sketches what they uploaded.
    pub(crate) late_sketches: LateSketchMode,
    /// What hospitals announce of their experts.
    pub(crate) sketches: SketchForm,
    /// Noise of each member on everything that is summed, in thousandths of its clip, for a budget that protects whole
    /// members. Without such a budget, none.
    pub(crate) noise_of_sums_milli: Option<u32>,
    /// The most held-out records of a hospital, for tasks whose rounds evaluate the model.
    pub(crate) held_out_records: u32,
}

impl Agreement<'_> {
    fn protection(&self) -> Protection {
        match (self.noise_of_sums_milli, self.training.private) {
            (Some(milli), _) => {
                // A roster has at most 300 members.
                Protection::Members { milli, members: u32::try_from(self.floors.members).unwrap_or(u32::MAX) }
            }
            (None, Some(_)) => Protection::Records,
            (None, None) => Protection::SumsOnly,
        }
    }
}

/// Whose data the settings protect by noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protection {
    /// Nobody's: sums over cohorts alone hide members.
    SumsOnly,
    /// Records, by private training.
    Records,
    /// Whole members, by noise of so many thousandths of the clip on each sum over so many members.
    Members { milli: u32, members: u32 },
}

/// Width of the ring in which sums are computed.
const RING_BITS: u8 = 32;
/// Noise on sketches with private training, in sketch steps: twice the clip. A sketch then costs almost
/// nothing of a budget, and shows almost nothing.
const PRIVATE_SKETCH_NOISE: u16 = 16_384;
/// Noise of each member on routing distributions with private training, in steps: a quarter of the largest
/// value.
const PRIVATE_ROUTING_NOISE: u32 = 16_384;

/// Coordinates of an expert's region in tasks for withheld sketches.
pub(crate) const REGION_COORDINATES: u16 = 64;
/// Noise on scores, in units of 2⁻¹⁴: a tenth of the largest score.
const SCORE_NOISE: u16 = 1638;

/// The fewest steps of a clip with noise for whole members. With fewer, rounding loses too much of an update.
const FEWEST_CLIP_STEPS: u32 = 16;

/// Settings for hospitals with some hundred notes on small machines. Deadlines leave time for a busy machine.
///
/// With a privacy budget the cohort of each expert is everyone, unless sketches are withheld and the budget is for records.
/// Sketches and token counts depend on records directly, and useful ones would cost more than a budget of a few ε has. So
/// they carry enough noise to cost almost nothing, and no cohort is chosen by them.
pub(crate) fn round_settings(agreement: &Agreement<'_>) -> Result<RoundSettings, Failure> {
    let protection = agreement.protection();
    let is_private = protection != Protection::SumsOnly;
    let has_experts = agreement.table.iter().any(|shape| shape.kind.is_scored());
    // Where no expert is trained nothing is announced of any, in whatever form, and there is nothing to group.
    let sketches = if has_experts { agreement.sketches } else { SketchForm::Pairs };
    let withheld = sketches == SketchForm::Withheld;
    // With private training scores cost nothing, and sketches that choose cohorts cost too much.
    let chooses = !is_private || (withheld && protection == Protection::Records);
    let ring = RingWidth::new(RING_BITS).ok_or_else(|| Failure::error("32 is a supported width"))?;
    let cohort_floor = u16::try_from(agreement.floors.cohort).map_err(Failure::error)?;
    let task = digest(Domain::Task, &[agreement.task.as_bytes()]);
    let blocks: Option<Vec<PlannedBlock>> =
        agreement.table.iter().map(|shape| planned(*shape, protection, agreement.held_out_records)).collect();
    Ok(RoundSettings {
        task,
        ring,
        max_weight: 1,
        cohort_floor,
        sketch: SketchPlan {
            seed: projection_seed(task),
            // A sketch of 256 signs has 32 bytes.
            coordinates: match sketches {
                SketchForm::Pairs => 64,
                SketchForm::Signs => 256,
                SketchForm::Withheld => REGION_COORDINATES,
            },
            noise_steps: match protection {
                Protection::SumsOnly => 80,
                Protection::Records => PRIVATE_SKETCH_NOISE,
                // A sketch shows a whole member, and this is the most noise that it can have.
                Protection::Members { .. } => u16::MAX,
            },
            region_clip_milli: 10_000,
            count_noise: 4,
        },
        scoring: ScoringRule {
            sketches,
            groups: u16::from(withheld),
            score_noise: match protection {
                _ if !withheld => 0,
                Protection::SumsOnly => SCORE_NOISE,
                // Scores follow from trained parameters, which have noise.
                Protection::Records => 0,
                Protection::Members { .. } => u16::MAX,
            },
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 128,
            // Counts are cut at twice this minimum, so at 0 they say nothing.
            minimum_tokens: if is_private { 0 } else { 30 },
            // No scored cohort is larger than its floor by this much, so the fallback, which is everyone, always applies.
            slack: if chooses { 1 } else { u16::MAX },
            fallback: Fallback::Everyone,
            shared_cohort: SharedCohort::Everyone,
        },
        late_sketches: agreement.late_sketches,
        rehearsal: false,
        training: agreement.training,
        deadlines: Deadlines { announce: 600_000, seal: 60_000, upload: 120_000, reveal: 60_000 },
        blocks: blocks.ok_or_else(|| {
            Failure::config("the ring has no room for so much noise; plan fewer rounds or a larger ε")
        })?,
    })
}

/// The factor on clips with private training. Its learning rates are larger and its noise moves parameters,
/// too. A clip of the whole update would protect no single record any further.
const PRIVATE_CLIPS: f64 = 4.0;

/// Clips are a little above what one or two epochs of training move. Steps leave room in the ring for the sum of 300
/// members. `None` if the ring has no room for the noise.
fn planned(shape: BlockShape, protection: Protection, held_out_records: u32) -> Option<PlannedBlock> {
    let is_private = protection == Protection::Records;
    let (step_log2, clip, noise_steps) = match shape.kind {
        BlockKind::Expert { .. } => (-18, 1.0, 0),
        BlockKind::Router { .. } => (-18, 2.0, 0),
        BlockKind::Shared => (-17, 8.0, 0),
        BlockKind::Routing { .. } => (-16, 1.0, if is_private { PRIVATE_ROUTING_NOISE } else { 64 }),
        BlockKind::Regions { .. } => (-16, 1.0, 0),
        // Both counts may be as large as the number of records.
        BlockKind::Evaluation => (-4, std::f64::consts::SQRT_2 * f64::from(held_out_records), 0),
    };
    // What is measured has the same norm whatever the training.
    let clip = if is_private && shape.kind.is_trained() { PRIVATE_CLIPS * clip } else { clip };
    let clip_steps = (clip / power_of_two(step_log2)).ceil() as u32;
    let scale = Scale { step_log2, clip_steps };
    let noise_steps = match shape.kind {
        BlockKind::Evaluation => scale.least_evaluation_noise(),
        BlockKind::Regions { .. } => noise_steps.max(least_region_noise(scale)),
        _ => noise_steps,
    };
    let block = PlannedBlock { shape, scale, noise_steps };
    match protection {
        Protection::Members { milli, members } => with_noise(block, milli, members),
        _ => Some(block),
    }
}

/// The block with noise of so many thousandths of its clip, with the finest steps for which the noise and the sum of all
/// members fit.
fn with_noise(block: PlannedBlock, milli: u32, members: u32) -> Option<PlannedBlock> {
    let Scale { step_log2, clip_steps } = block.scale;
    for coarser in 0..32 {
        let clip_steps = clip_steps >> coarser;
        if clip_steps < FEWEST_CLIP_STEPS {
            break;
        }
        let noise = (u64::from(clip_steps) * u64::from(milli)).div_ceil(1000);
        let least = Scale { step_log2, clip_steps }.least_evaluation_noise().max(ROUTING_NOISE_STEPS);
        let noise = noise.max(u64::from(least));
        let Ok(noise_steps) = u32::try_from(noise) else { continue };
        let has_room = ring_reach(clip_steps, noise_steps, 1, members) < 1 << (RING_BITS - 1);
        if noise_steps <= MAX_SIGMA && has_room {
            let scale = Scale { step_log2: step_log2 + coarser, clip_steps };
            return Some(PlannedBlock { scale, noise_steps, ..block });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use cloister_experts::task::Task;
    use cloister_params::id::BlockId;
    use cloister_params::plan::PrivateTrainingPlan;

    use super::*;

    const TASK: &str = include_str!("../../../deploy/config/private/task.json");
    const SETTINGS: &str = include_str!("../../../deploy/config/private/settings.toml");

    /// What five hospitals with about 220 notes each would agree on.
    fn shipped() -> RoundSettings {
        let Ok(Task::Classifier(model)) = Task::parse(TASK) else { panic!("a task with classes") };
        let private = PrivateTrainingPlan {
            clipping_norm_milli: 1000,
            noise_multiplier_milli: 1400,
            sampling_probability_micro: 290_910,
            minimum_records: 200,
        };
        let training = TrainingPlan {
            local_epochs: 2,
            batch_size: 64,
            learning_rate_micro: 20_000,
            routing_penalty_milli: 0,
            private: Some(private),
        };
        let floors = Floors::for_roster(5, 5).expect("five members");
        let table = cloister_experts::block_table(&model);
        let late_sketches = LateSketchMode::Off;
        let agreement = Agreement {
            task: TASK,
            floors: &floors,
            table: &table,
            training,
            late_sketches,
            sketches: SketchForm::Pairs,
            noise_of_sums_milli: None,
            held_out_records: 0,
        };
        round_settings(&agreement).expect("sound settings")
    }

    /// An adapter with frozen experts announces nothing of them, whatever form is asked for.
    #[test]
    fn without_experts_there_is_nothing_to_announce() {
        let Ok(Task::Classifier(model)) = Task::parse(TASK) else { panic!("a task with classes") };
        let mut table = cloister_experts::block_table(&model);
        table.retain(|shape| !shape.kind.is_scored());
        (0..).zip(&mut table).for_each(|(id, shape)| shape.id = BlockId(id));
        let floors = Floors::for_roster(5, 5).expect("five members");
        let agreement = Agreement {
            task: TASK,
            floors: &floors,
            table: &table,
            training: TrainingPlan { private: None, ..shipped().training },
            late_sketches: LateSketchMode::Off,
            sketches: SketchForm::Withheld,
            noise_of_sums_milli: None,
            held_out_records: 0,
        };
        let settings = round_settings(&agreement).expect("sound settings");
        assert_eq!(settings.check_for(&floors, 5), Ok(()));
        assert_eq!(settings.announced_numbers(), 0);
    }

    #[test]
    fn the_shipped_private_settings_are_those_of_their_task() {
        assert_eq!(RoundSettings::parse(SETTINGS).expect("sound settings"), shipped());
    }
}
