//! The rules of a plan, one function each.

use std::collections::BTreeMap;

use super::{
    CERTAIN_MICRO, LEAST_NOISE_MULTIPLIER_MILLI, LEAST_ROUTER_CLIP_STEPS, LEAST_SCORE_NOISE, LateSketchMode,
    MAX_BLOCK_LENGTH, MAX_BLOCKS, MOST_LOCAL_EPOCHS, NOISE_STEPS_FOR_WEIGHTS, PlanError, PlannedBlock,
    ROUTING_NOISE_STEPS, RoundPlan, RoundSettings, STEP_LOG2, SketchForm, TrainingPlan,
};
use crate::block::{BlockKind, EVALUATION_LENGTH, region_blocks};
use crate::consortium::{Consortium, MAX_WEIGHT, Role};
use crate::fixed::Scale;
use crate::late;
use crate::rule;

/// The least sampling probability, in millionths. With less, a pass over the records would take more than
/// 10,000 steps.
const LEAST_SAMPLING_MICRO: u32 = 100;

/// `PLAN-02`: block numbers ascend from 0, lengths are in range, and no kind appears twice.
pub(super) fn check_partition(blocks: &[PlannedBlock]) -> Result<(), PlanError> {
    if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
        return broken_table(format!("it has {} blocks; 1 to {MAX_BLOCKS} are possible", blocks.len()));
    }
    for (index, block) in blocks.iter().enumerate() {
        let (id, length) = (block.shape.id, block.shape.length);
        // Every table of a round is indexed by block numbers.
        if id.0 as usize != index {
            return broken_table(format!("{id} is at place {index}; blocks are numbered from 0 in order"));
        }
        if !(1..=MAX_BLOCK_LENGTH).contains(&length) {
            return broken_table(format!(
                "{id} has {length} coordinates; 1 to {MAX_BLOCK_LENGTH} are possible"
            ));
        }
    }
    let mut kinds: Vec<BlockKind> = blocks.iter().map(|block| block.shape.kind).collect();
    kinds.sort_unstable();
    match kinds.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => broken_table(format!("{} appears twice", pair[0])),
        None => Ok(()),
    }
}

fn broken_table(why: String) -> Result<(), PlanError> {
    Err(PlanError::BlockTable(why))
}

/// `PLAN-18`: there is a digest of parameters for each block.
pub(super) fn check_parameters(plan: &RoundPlan) -> Result<(), PlanError> {
    let (got, expected) = (plan.parameters.len(), plan.settings.blocks.len());
    if got == expected { Ok(()) } else { Err(PlanError::Parameters { got, expected }) }
}

/// `PLAN-03`: sizes are in the ranges that decoding cannot check.
pub(super) fn check_sizes(settings: &RoundSettings) -> Result<(), PlanError> {
    if !settings.ring.is_supported() {
        return Err(PlanError::Ring { got: settings.ring.bits() });
    }
    let (form, got) = (settings.scoring.sketches, settings.sketch.coordinates);
    if !form.sizes().contains(&got) {
        return Err(PlanError::Sketch { got, form });
    }
    check_groups(settings)?;
    if !(1..=MAX_WEIGHT).contains(&settings.max_weight) {
        return Err(PlanError::Weight { got: settings.max_weight });
    }
    let got = settings.training.local_epochs;
    if !(1..=MOST_LOCAL_EPOCHS).contains(&got) {
        return Err(PlanError::LocalEpochs { got });
    }
    // Both are divisors: of a private step's sum, and of region sketches.
    for (size, got) in [
        ("batch size of training", u32::from(settings.training.batch_size)),
        ("clip of region sketches, in thousandths,", settings.sketch.region_clip_milli),
    ] {
        if got == 0 {
            return Err(PlanError::SizeOf0 { size });
        }
    }
    Ok(())
}

/// `PLAN-03`: there are groups of experts if sketches are withheld, and otherwise none.
fn check_groups(settings: &RoundSettings) -> Result<(), PlanError> {
    let (form, got, noise) =
        (settings.scoring.sketches, settings.scoring.groups, settings.scoring.score_noise);
    let experts = settings.blocks.iter().filter(|block| block.shape.kind.is_scored()).count();
    let fits = match form {
        SketchForm::Withheld => (1..=experts).contains(&usize::from(got)),
        SketchForm::Pairs | SketchForm::Signs => (got, noise) == (0, 0),
    };
    if fits { Ok(()) } else { Err(PlanError::Groups { form, got, noise, experts }) }
}

/// `PLAN-22`: if sketches are withheld and training is not private, each layer with experts has a block of regions. There is
/// no other.
pub(super) fn check_regions(settings: &RoundSettings) -> Result<(), PlanError> {
    let kinds = settings.blocks.iter().map(|block| block.shape.kind);
    let expected = match settings.publishes_regions() {
        true => region_blocks(kinds, settings.sketch.coordinates),
        false => BTreeMap::new(),
    };
    let got: BTreeMap<BlockKind, u64> =
        regions(settings).map(|block| (block.shape.kind, block.shape.length)).collect();
    if got != expected {
        let form = settings.scoring.sketches;
        return Err(PlanError::Regions { form, got: lengths(&got), expected: lengths(&expected) });
    }
    regions(settings).try_for_each(check_region_scale)?;
    let (got, least) = (settings.scoring.score_noise, LEAST_SCORE_NOISE);
    let is_private = settings.training.private.is_some();
    match settings.scoring.sketches {
        SketchForm::Withheld if got < least && !is_private => {
            Err(PlanError::ScoresWithoutNoise { got, least })
        }
        _ => Ok(()),
    }
}

fn regions(settings: &RoundSettings) -> impl Iterator<Item = &PlannedBlock> {
    settings.blocks.iter().filter(|block| matches!(block.shape.kind, BlockKind::Regions { .. }))
}

/// The least noise of each member on regions of this scale, in steps (`PLAN-22`).
pub fn least_region_noise(scale: Scale) -> u32 {
    scale.clip_steps.div_ceil(64).max(ROUTING_NOISE_STEPS)
}

/// A block of regions has a clip of 1, so that one member's share of the sum is no larger than others', and noise.
fn check_region_scale(block: &PlannedBlock) -> Result<(), PlanError> {
    let (id, scale) = (block.shape.id, block.scale);
    if scale.clip() != 1.0 {
        let Scale { step_log2, clip_steps } = scale;
        return Err(PlanError::RegionClip { block: id, got: clip_steps, step_log2 });
    }
    let (got, least) = (block.noise_steps, least_region_noise(scale));
    if got < least { Err(PlanError::RegionsWithoutNoise { block: id, got, least }) } else { Ok(()) }
}

/// Lengths of blocks in words.
fn lengths(blocks: &BTreeMap<BlockKind, u64>) -> String {
    let all: Vec<String> = blocks.iter().map(|(kind, length)| format!("{kind} of {length}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// `PLAN-19`: every update has room in its scale, and no divisor or parameter leaves the finite numbers.
pub(super) fn check_scale(block: &PlannedBlock) -> Result<(), PlanError> {
    let Scale { step_log2, clip_steps } = block.scale;
    let least = match block.shape.kind {
        // With less, a consistency weight of ¼ is less than one step, and the divisor of the router's sum may be 0.
        BlockKind::Router { .. } => LEAST_ROUTER_CLIP_STEPS,
        _ => 1,
    };
    if clip_steps < least {
        return Err(PlanError::Clip { block: block.shape.id, got: clip_steps, least });
    }
    if !STEP_LOG2.contains(&step_log2) {
        return Err(PlanError::Step { block: block.shape.id, got: step_log2 });
    }
    Ok(())
}

/// The largest size of a sum with six standard deviations of its noise, in steps. Beyond six, noise has a
/// probability of about 2·10⁻⁹ for each coordinate.
pub fn ring_reach(clip_steps: u32, noise_steps: u32, max_weight: u8, members: u32) -> u128 {
    let (weight, n) = (u128::from(max_weight), u128::from(members));
    let root = n.isqrt() + u128::from(n.isqrt().pow(2) < n);
    weight * n * u128::from(clip_steps) + 6 * u128::from(noise_steps) * weight * root
}

/// `PLAN-06`: `w_max·n·q_max + 6·sigma·w_max·sqrt(n) < 2^(w−1)`, with the square root rounded up.
pub(super) fn check_ring(
    settings: &RoundSettings,
    block: &PlannedBlock,
    members: usize,
) -> Result<(), PlanError> {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    let reach = ring_reach(block.scale.clip_steps, block.noise_steps, settings.max_weight, members);
    let limit = 1u128 << (settings.ring.bits() - 1);
    if !rule::in_force("PLAN-06") {
        return Ok(());
    }
    if reach < limit && i32::try_from(block.scale.clip_steps).is_ok() {
        return Ok(());
    }
    Err(PlanError::RingWrap { block: block.shape.id, reach, bits: settings.ring.bits(), limit })
}

/// `PLAN-08`: weights above 1 need noise. Without it, at a coarse scale, weights act as digits that separate
/// the members of one sum.
pub(super) fn check_weights(settings: &RoundSettings, block: &PlannedBlock) -> Result<(), PlanError> {
    if settings.max_weight > 1 && block.noise_steps < NOISE_STEPS_FOR_WEIGHTS && rule::in_force("PLAN-08") {
        return Err(PlanError::WeightsWithoutNoise { block: block.shape.id, got: block.noise_steps });
    }
    Ok(())
}

/// `PLAN-11`: routing distributions always have noise.
pub(super) fn check_routing_noise(block: &PlannedBlock) -> Result<(), PlanError> {
    let routing = matches!(block.shape.kind, BlockKind::Routing { .. });
    if routing && block.noise_steps < ROUTING_NOISE_STEPS {
        return Err(PlanError::RoutingWithoutNoise { block: block.shape.id, got: block.noise_steps });
    }
    Ok(())
}

/// `PLAN-21`: an evaluation is two numbers, and always has noise, because counts are computed from data directly.
pub(super) fn check_evaluation(block: &PlannedBlock) -> Result<(), PlanError> {
    if block.shape.kind != BlockKind::Evaluation || !rule::in_force("PLAN-21") {
        return Ok(());
    }
    let (id, length) = (block.shape.id, block.shape.length);
    if length != EVALUATION_LENGTH {
        return broken_table(format!(
            "{id} is an evaluation of {length} numbers; it has {EVALUATION_LENGTH}"
        ));
    }
    let (got, least) = (block.noise_steps, block.scale.least_evaluation_noise());
    if got < least { Err(PlanError::EvaluationWithoutNoise { block: id, got, least }) } else { Ok(()) }
}

/// `PLAN-17`: token counts, which are computed from data directly, always have noise. A count is cut at twice
/// the minimum, so that noise of an eighth of the minimum bounds its cost in a round: a rho of 128 for unit
/// `member`.
pub(super) fn check_count_noise(settings: &RoundSettings) -> Result<(), PlanError> {
    let (got, least) = (u32::from(settings.sketch.count_noise), settings.scoring.least_count_noise());
    if got < least && rule::in_force("PLAN-17") {
        let minimum = settings.scoring.minimum_tokens;
        return Err(PlanError::CountsWithoutNoise { got, least, minimum });
    }
    Ok(())
}

/// `PLAN-09`: receiving keys are those of distinct custodians of the roster, and of enough custodians to
/// seal.
pub(super) fn check_custodians(plan: &RoundPlan, consortium: &Consortium) -> Result<(), PlanError> {
    // In ascending order no custodian can be there twice and count twice for the quorum.
    let ascending = plan.custodians.windows(2).all(|pair| pair[0].custodian < pair[1].custodian);
    let listed = plan.custodians.iter().all(|entry| consortium.has_role(entry.custodian, Role::Custodian));
    if !ascending || !listed {
        return Err(PlanError::Custodians);
    }
    let (got, quorum) = (plan.custodians.len(), consortium.floors().seal_quorum);
    if got < quorum { Err(PlanError::TooFewCustodians { got, quorum }) } else { Ok(()) }
}

/// `PLAN-12`: late sketches of honest uploads are smaller than those of an upload that is off by half the
/// ring.
pub(super) fn check_late_sketches(settings: &RoundSettings, block: &PlannedBlock) -> Result<(), PlanError> {
    if settings.late_sketches == LateSketchMode::Off || !late::is_sketched(block) {
        return Ok(());
    }
    let bound = late::norm_bound(block, settings.max_weight);
    let half = 1u128 << (settings.ring.bits() - 1);
    // The bound is on a sum of squares. A lie of half the ring shows in some row as half the ring.
    if bound < half * half {
        return Ok(());
    }
    Err(PlanError::LateSketchWrap { block: block.shape.id, bits: settings.ring.bits() })
}

/// `PLAN-13`: private training clips, adds noise and samples.
pub(super) fn check_private_training(training: &TrainingPlan) -> Result<(), PlanError> {
    let Some(private) = training.private else { return Ok(()) };
    let (noise, sampling) = (private.noise_multiplier_milli, private.sampling_probability_micro);
    let (what, got, limit) = if private.clipping_norm_milli == 0 {
        ("clipping norm in thousandths", 0, "at least 1")
    } else if noise < LEAST_NOISE_MULTIPLIER_MILLI {
        ("noise multiplier in thousandths", noise, "at least 100")
    } else if private.minimum_records == 0 {
        ("minimum of records", 0, "at least 1")
    } else if !(LEAST_SAMPLING_MICRO..=CERTAIN_MICRO).contains(&sampling) {
        ("sampling probability in millionths", sampling, "between 100 and 1000000")
    } else {
        return Ok(());
    };
    Err(PlanError::PrivateTraining { what, got, limit })
}
