//! Round settings that a consortium starts from.

use cloister_crypto::hash::{Domain, digest, projection_seed};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::fixed::{RingWidth, Scale, power_of_two};
use cloister_params::floors::Floors;
use cloister_params::plan::{
    Deadlines, Fallback, LateSketches, PlannedBlock, RoundSettings, ScoringRule, SharedCohort, SketchPlan,
    Threshold, TrainingPlan,
};

use crate::failure::Failure;

/// What round settings follow from.
#[derive(Debug)]
pub(crate) struct Agreement<'a> {
    /// The task file.
    pub(crate) task: &'a str,
    /// What the roster demands.
    pub(crate) floors: &'a Floors,
    /// The blocks of the model.
    pub(crate) table: &'a [BlockShape],
    /// What hospitals do in a round.
    pub(crate) training: TrainingPlan,
    /// Whether uploads are answered for.
    pub(crate) late_sketches: LateSketches,
}

/// Settings that suit hospitals with some hundred notes on small machines; deadlines are generous for one that is busy.
pub(crate) fn round_settings(agreement: &Agreement<'_>) -> Result<RoundSettings, Failure> {
    let ring = RingWidth::new(32).ok_or_else(|| Failure::error("32 is a supported width"))?;
    let cohort_floor = u16::try_from(agreement.floors.cohort).map_err(Failure::error)?;
    let task = digest(Domain::Task, &[agreement.task.as_bytes()]);
    Ok(RoundSettings {
        task,
        ring,
        max_weight: 1,
        cohort_floor,
        sketch: SketchPlan {
            seed: projection_seed(task),
            coordinates: 64,
            noise_steps: 80,
            region_clip_milli: 10_000,
            count_noise: 4,
        },
        scoring: ScoringRule {
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 128,
            minimum_tokens: 30,
            slack: 1,
            fallback: Fallback::Everyone,
            shared_cohort: SharedCohort::Everyone,
        },
        late_sketches: agreement.late_sketches,
        training: agreement.training,
        deadlines: Deadlines { announce: 600_000, seal: 60_000, upload: 120_000, reveal: 60_000 },
        blocks: agreement.table.iter().copied().map(planned).collect(),
    })
}

/// Clips are a little above what an epoch or two of training moves; steps leave room for 300 members.
fn planned(shape: BlockShape) -> PlannedBlock {
    let (step_log2, clip, noise_steps) = match shape.kind {
        BlockKind::Expert { .. } => (-18, 1.0, 0),
        BlockKind::Router { .. } => (-18, 2.0, 0),
        BlockKind::Shared => (-17, 8.0, 0),
        BlockKind::Routing { .. } => (-16, 1.0, 64),
    };
    let clip_steps = (clip / power_of_two(step_log2)) as u32;
    PlannedBlock { shape, scale: Scale { step_log2, clip_steps }, noise_steps }
}
