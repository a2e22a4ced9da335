//! The rules of a plan, one function each.

use super::{
    CERTAIN_MICRO, LEAST_NOISE_MULTIPLIER_MILLI, LateSketchMode, MAX_BLOCK_LENGTH, MAX_BLOCKS,
    MOST_LOCAL_EPOCHS, NOISE_STEPS_FOR_WEIGHTS, PlanError, PlannedBlock, ROUTING_NOISE_STEPS, RoundPlan,
    RoundSettings, SKETCH_COORDINATES, TrainingPlan,
};
use crate::block::BlockKind;
use crate::consortium::{Consortium, MAX_WEIGHT, Role};
use crate::late;
use crate::rule;

/// Below it, a pass over the records would take more than 10,000 steps.
const LEAST_SAMPLING_MICRO: u32 = 100;

/// `PLAN-02`: numbers ascend from 0, no kind stands twice, layers are whole.
pub(super) fn check_partition(blocks: &[PlannedBlock]) -> Result<(), PlanError> {
    let broken = |why: String| Err(PlanError::BlockTable(why));
    if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
        return broken(format!("it has {} blocks; 1 to {MAX_BLOCKS} are possible", blocks.len()));
    }
    for (index, block) in blocks.iter().enumerate() {
        if block.shape.id.0 as usize != index {
            return broken(format!("{} stands at place {index}", block.shape.id));
        }
        if !(1..=MAX_BLOCK_LENGTH).contains(&block.shape.length) {
            return broken(format!("{} has {} coordinates", block.shape.id, block.shape.length));
        }
    }
    let mut kinds: Vec<BlockKind> = blocks.iter().map(|block| block.shape.kind).collect();
    kinds.sort_unstable();
    match kinds.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => broken(format!("{} stands in it twice", pair[0])),
        None => Ok(()),
    }
}

/// `PLAN-18`: a digest of parameters for each block.
pub(super) fn check_parameters(plan: &RoundPlan) -> Result<(), PlanError> {
    let (got, expected) = (plan.parameters.len(), plan.settings.blocks.len());
    if got == expected { Ok(()) } else { Err(PlanError::Parameters { got, expected }) }
}

/// `PLAN-03`: sizes that decoding cannot check.
pub(super) fn check_sizes(settings: &RoundSettings) -> Result<(), PlanError> {
    if !settings.ring.is_supported() {
        return Err(PlanError::Ring { got: settings.ring.bits() });
    }
    if !SKETCH_COORDINATES.contains(&settings.sketch.coordinates) {
        return Err(PlanError::Sketch { got: settings.sketch.coordinates });
    }
    if !(1..=MAX_WEIGHT).contains(&settings.max_weight) {
        return Err(PlanError::Weight { got: settings.max_weight });
    }
    let got = settings.training.local_epochs;
    if !(1..=MOST_LOCAL_EPOCHS).contains(&got) {
        return Err(PlanError::LocalEpochs { got });
    }
    Ok(())
}

/// The largest size of a sum with six standard deviations of its noise, in steps.
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

/// `PLAN-08`: at a coarse scale, weights act as digits that separate members of one sum.
pub(super) fn check_weights(settings: &RoundSettings, block: &PlannedBlock) -> Result<(), PlanError> {
    if settings.max_weight > 1 && block.noise_steps < NOISE_STEPS_FOR_WEIGHTS && rule::in_force("PLAN-08") {
        return Err(PlanError::WeightsWithoutNoise { block: block.shape.id, got: block.noise_steps });
    }
    Ok(())
}

/// `PLAN-11`: routing distributions are always noised.
pub(super) fn check_routing_noise(block: &PlannedBlock) -> Result<(), PlanError> {
    let routing = matches!(block.shape.kind, BlockKind::Routing { .. });
    if routing && block.noise_steps < ROUTING_NOISE_STEPS {
        return Err(PlanError::RoutingWithoutNoise { block: block.shape.id, got: block.noise_steps });
    }
    Ok(())
}

/// `PLAN-17`: token counts, which touch data directly, are always noised.
pub(super) fn check_count_noise(settings: &RoundSettings) -> Result<(), PlanError> {
    let (got, least) = (u32::from(settings.sketch.count_noise), settings.scoring.least_count_noise());
    if got < least && rule::in_force("PLAN-17") {
        let minimum = settings.scoring.minimum_tokens;
        return Err(PlanError::CountsWithoutNoise { got, least, minimum });
    }
    Ok(())
}

/// `PLAN-09`: distinct custodians of the roster, enough of them to seal.
pub(super) fn check_custodians(plan: &RoundPlan, consortium: &Consortium) -> Result<(), PlanError> {
    let ascending = plan.custodians.windows(2).all(|pair| pair[0].custodian < pair[1].custodian);
    let listed = plan.custodians.iter().all(|entry| consortium.has_role(entry.custodian, Role::Custodian));
    if !ascending || !listed {
        return Err(PlanError::Custodians);
    }
    let (got, quorum) = (plan.custodians.len(), consortium.floors().seal_quorum);
    if got < quorum { Err(PlanError::TooFewCustodians { got, quorum }) } else { Ok(()) }
}

/// `PLAN-12`: a late sketch of an honest upload can be told from one of an upload that is off by half the ring.
pub(super) fn check_late_sketches(settings: &RoundSettings, block: &PlannedBlock) -> Result<(), PlanError> {
    if settings.late_sketches == LateSketchMode::Off || !late::is_sketched(block) {
        return Ok(());
    }
    let bound = late::norm_bound(block, settings.max_weight);
    let half = 1u128 << (settings.ring.bits() - 1);
    if bound < half * half {
        return Ok(());
    }
    Err(PlanError::LateSketchWrap { block: block.shape.id, bits: settings.ring.bits() })
}

/// `PLAN-13`: private training clips, adds noise and samples.
pub(super) fn check_private_training(training: &TrainingPlan) -> Result<(), PlanError> {
    let Some(private) = training.private else { return Ok(()) };
    let refuse = |what, got, limit| Err(PlanError::PrivateTraining { what, got, limit });
    if private.clipping_norm_milli == 0 {
        return refuse("clipping norm in thousandths", 0, "at least 1");
    }
    let got = private.noise_multiplier_milli;
    if got < LEAST_NOISE_MULTIPLIER_MILLI {
        return refuse("noise multiplier in thousandths", got, "at least 100");
    }
    if private.minimum_records == 0 {
        return refuse("minimum of records", 0, "at least 1");
    }
    if !(LEAST_SAMPLING_MICRO..=CERTAIN_MICRO).contains(&private.sampling_probability_micro) {
        let got = private.sampling_probability_micro;
        return refuse("sampling probability in millionths", got, "between 100 and 1000000");
    }
    Ok(())
}
