//! Small plans and random contributions.

use std::collections::BTreeMap;

use cloister_alignment::score::ExpertSketch;
use cloister_alignment::signs::signs;
use cloister_alignment::sketch::widened;
use cloister_crypto::hash::projection_seed;
use cloister_params::block::{BlockKind, BlockShape, EVALUATION_LENGTH};
use cloister_params::fixed::{RingWidth, Scale};
use cloister_params::id::{BlockId, Digest};
use cloister_params::late::is_sketched;
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{
    Deadlines, Fallback, LEAST_SCORE_NOISE, LateSketchMode, PlannedBlock, RoundSettings, ScoringRule,
    SharedCohort, SketchForm, SketchPlan, SketchValues, Threshold, TrainingPlan, least_region_noise,
};
use cloister_params::router::RouterUpdate;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::member::MemberTask;
use cloister_protocol::model::Model;
use rand_core::Rng;

/// Round settings for one layer with this many experts, a router, shared parameters and a routing block.
/// Blocks of different lengths cannot be confused without an error.
pub fn template(experts: u16, floor: usize, max_weight: u8) -> RoundSettings {
    let mut kinds: Vec<(BlockKind, u64)> =
        (0..experts).map(|expert| (BlockKind::Expert { layer: 0, expert }, 40 + u64::from(expert))).collect();
    kinds.push((BlockKind::Router { layer: 0 }, 9));
    kinds.push((BlockKind::Shared, 17));
    kinds.push((BlockKind::Routing { layer: 0 }, u64::from(experts)));
    let scale = Scale { step_log2: -12, clip_steps: 1 << 14 };
    let mut blocks = Vec::new();
    for (id, (kind, length)) in (0..).zip(kinds) {
        let shape = BlockShape { id: BlockId(id), kind, length };
        blocks.push(PlannedBlock { shape, scale, noise_steps: 16 });
    }
    let task = Digest::default();
    RoundSettings {
        task,
        ring: RingWidth::new(32).expect("supported"),
        blocks,
        sketch: SketchPlan {
            seed: projection_seed(task),
            coordinates: 16,
            noise_steps: 0,
            region_clip_milli: 1000,
            count_noise: 1,
        },
        scoring: ScoringRule {
            sketches: SketchForm::Pairs,
            groups: 0,
            score_noise: 0,
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 200,
            minimum_tokens: 5,
            slack: 0,
            fallback: Fallback::Everyone,
            shared_cohort: SharedCohort::Everyone,
        },
        late_sketches: LateSketchMode::Off,
        rehearsal: false,
        max_weight,
        cohort_floor: u16::try_from(floor).expect("small"),
        training: TrainingPlan {
            local_epochs: 1,
            batch_size: 8,
            learning_rate_micro: 1000,
            routing_penalty_milli: 100,
            private: None,
        },
        deadlines: Deadlines { announce: 10_000, seal: 5_000, upload: 10_000, reveal: 5_000 },
    }
}

/// The settings with an evaluation as the last block.
pub fn with_evaluation(mut settings: RoundSettings) -> RoundSettings {
    let id = BlockId(settings.blocks.len() as u32);
    let shape = BlockShape { id, kind: BlockKind::Evaluation, length: EVALUATION_LENGTH };
    let scale = Scale { step_log2: -4, clip_steps: 1 << 14 };
    settings.blocks.push(PlannedBlock { shape, scale, noise_steps: scale.least_evaluation_noise() });
    settings
}

/// The settings with withheld sketches, in two groups at most, and a block of regions for the experts' layer.
pub fn with_withheld_sketches(mut settings: RoundSettings) -> RoundSettings {
    let experts = settings.blocks.iter().filter(|block| block.shape.kind.is_scored()).count() as u64;
    let scoring = &mut settings.scoring;
    let groups = experts.min(2) as u16;
    (scoring.sketches, scoring.groups, scoring.score_noise) =
        (SketchForm::Withheld, groups, LEAST_SCORE_NOISE);
    let (id, kind) = (BlockId(settings.blocks.len() as u32), BlockKind::Regions { layer: 0 });
    let shape = BlockShape { id, kind, length: experts * u64::from(settings.sketch.coordinates) };
    let scale = Scale { step_log2: -14, clip_steps: 1 << 14 };
    settings.blocks.push(PlannedBlock { shape, scale, noise_steps: least_region_noise(scale) });
    settings
}

/// The task of members whose model has the template's blocks.
pub fn task(template: &RoundSettings) -> MemberTask {
    MemberTask { digest: template.task, blocks: template.blocks.iter().map(|block| block.shape).collect() }
}

/// A model of zeros with the template's blocks.
pub fn model(template: &RoundSettings) -> Model {
    Model::new(template.blocks.iter().map(|block| vec![0.0; block.shape.length as usize]).collect())
}

/// A random contribution that a member could have made: integers within the clip, consistency weights within their range, and
/// sketches that agree more or less with a common direction, so that cohorts form.
pub fn contribution(template: &RoundSettings, random: &mut impl Rng) -> Contribution {
    Contribution {
        integers: PerBlock::from_table(&template.blocks, |block| integers(block, random)),
        sketches: sketches(template, random),
    }
}

fn between(low: i32, high: i32, random: &mut impl Rng) -> i32 {
    let width = u64::from(high.abs_diff(low)) + 1;
    low + i32::try_from(random.next_u64() % width).expect("the width fits")
}

/// The integers of one block.
pub fn integers(block: &PlannedBlock, random: &mut impl Rng) -> Vec<i32> {
    let clip = i32::try_from(block.scale.clip_steps).expect("test clips are small");
    // The norm of a sketched block, too, must be within its clip: integers of `clip / 80` allow 6,400
    // coordinates.
    let clip = if is_sketched(block) { clip / 80 } else { clip };
    let mut integers: Vec<i32> = (0..block.shape.length).map(|_| between(-clip, clip, random)).collect();
    match block.shape.kind {
        BlockKind::Router { .. } => {
            integers.pop();
            integers = RouterUpdate::join(integers, between(clip / 4 + 1, clip, random));
        }
        BlockKind::Routing { .. } | BlockKind::Evaluation => {
            integers.iter_mut().for_each(|integer| *integer = integer.abs())
        }
        BlockKind::Expert { .. } | BlockKind::Shared | BlockKind::Regions { .. } => {}
    }
    integers
}

fn sketches(template: &RoundSettings, random: &mut impl Rng) -> BTreeMap<BlockId, ExpertSketch> {
    let coordinates = usize::from(template.sketch.coordinates);
    let mut vector = |common: i32| -> Vec<i16> {
        (0..coordinates)
            .map(|at| {
                let shared = if at % 2 == 0 { common } else { -common };
                i16::try_from(shared + between(-800, 800, random)).expect("within i16")
            })
            .collect()
    };
    let mut sketches = BTreeMap::new();
    for block in template.announced_blocks() {
        let (region, update) = (vector(300), vector(600));
        let values = match template.scoring.sketches {
            SketchForm::Pairs => SketchValues::Projections { region, update },
            // Of the region as many coordinates as signs are made of.
            SketchForm::Signs => {
                SketchValues::Signs(signs(&widened(&update), &widened(&region[..coordinates / 2]), || true))
            }
            // Mostly above 0, and some far above others.
            SketchForm::Withheld => SketchValues::Score(Some(i32::from(update[0]) + i32::from(region[0]))),
        };
        let tokens = if template.scoring.sketches == SketchForm::Withheld { 0 } else { 50 };
        sketches.insert(block, ExpertSketch { values, tokens });
    }
    sketches
}
