//! Settings of rounds in which every release has noise, for audits and attacks.

use cloister_crypto::hash::projection_seed;
use cloister_experts::{ModelConfig, block_table};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::fixed::{RingWidth, Scale};
use cloister_params::floors::Floors;
use cloister_params::id::Digest;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{
    Deadlines, Fallback, LateSketchMode, PlannedBlock, ROUTING_NOISE_STEPS, RoundSettings, ScoringRule,
    SharedCohort, SketchForm, SketchPlan, Threshold, TrainingPlan, least_region_noise,
};
use cloister_privacy::release::{HONEST_NOISES, sketch_norm};

use crate::error::LabError;

/// Parts of a round's `rho`, which add up to 1. Sketches get most of it, because their noise has to fit into
/// 16 bits.
const EXPERTS: f64 = 0.15;
const ROUTERS: f64 = 0.05;
const SHARED: f64 = 0.1;
const HISTOGRAMS: f64 = 0.05;
const REGIONS: f64 = 0.3;
const UPDATES: f64 = 0.3;
const COUNTS: f64 = 0.05;
/// The plan's `minimum_tokens`; counts are cut at twice as many.
const MINIMUM_TOKENS: u32 = 30;

/// Noise on sketches and counts where no cost is set, in steps: that of the lab's runs for accuracy.
const LEAST_SKETCH_NOISE: u16 = 80;
const LEAST_COUNT_NOISE: u16 = 4;
/// Stands for a task file's digest, from which sketches' projections follow.
const TASK: Digest = Digest([1; 32]);

/// What a round may cost, and whom it protects.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Target {
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// `rho` of everything that a round releases.
    pub rho: f64,
}

/// Clips of a round. Powers of two make every clip the same number of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clips {
    /// The clip of experts, routers and the shared block, as a power of two.
    pub update_log2: i8,
    /// The clip of regions, in thousandths.
    pub region_milli: u32,
}

/// How many steps a clip has, as a power of two.
const CLIP_STEPS_LOG2: i8 = 16;

/// Settings of a round over everyone; without a target nothing is promised, and only histograms and sketches carry a
/// little noise.
///
/// # Errors
/// [`LabError::Config`] for a target whose noise on sketches does not fit.
pub fn settings(
    model: &ModelConfig,
    members: usize,
    clips: Clips,
    target: Option<Target>,
) -> Result<RoundSettings, LabError> {
    let table = block_table(model);
    let floor = Floors::for_roster(members, members.min(16)).map_or(members, |floors| floors.cohort) as u16;
    Ok(RoundSettings {
        task: TASK,
        ring: RingWidth::new(32).expect("32 is a supported width"),
        max_weight: 1,
        cohort_floor: floor,
        sketch: sketches(&table, clips, target)?,
        scoring: ScoringRule {
            sketches: SketchForm::Pairs,
            groups: 0,
            score_noise: 0,
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 128,
            minimum_tokens: MINIMUM_TOKENS,
            // With more than all members to spare, every cohort falls back to everyone.
            slack: u16::MAX - floor,
            fallback: Fallback::Everyone,
            shared_cohort: SharedCohort::Everyone,
        },
        late_sketches: LateSketchMode::Off,
        rehearsal: false,
        training: TrainingPlan {
            local_epochs: 1,
            batch_size: 8,
            learning_rate_micro: 3000,
            routing_penalty_milli: 100,
            private: None,
        },
        deadlines: Deadlines { announce: 600_000, seal: 60_000, upload: 120_000, reveal: 60_000 },
        blocks: table.iter().map(|shape| block(*shape, &table, clips, target)).collect(),
    })
}

fn block(shape: BlockShape, table: &[BlockShape], clips: Clips, target: Option<Target>) -> PlannedBlock {
    let histogram = matches!(shape.kind, BlockKind::Routing { .. } | BlockKind::Regions { .. });
    // Routing distributions and regions have a norm of at most 1.
    let clip_log2 = if histogram { 0 } else { clips.update_log2 };
    let scale = Scale { step_log2: clip_log2 - CLIP_STEPS_LOG2, clip_steps: 1 << CLIP_STEPS_LOG2 };
    let part = match shape.kind {
        BlockKind::Expert { .. } => EXPERTS,
        BlockKind::Router { .. } => ROUTERS,
        BlockKind::Shared => SHARED,
        // The lab evaluates by itself, so its tasks have no evaluation.
        BlockKind::Routing { .. } | BlockKind::Regions { .. } | BlockKind::Evaluation => HISTOGRAMS,
    };
    let alike = table.iter().filter(|other| same_kind(other.kind, shape.kind)).count() as f64;
    let least = match shape.kind {
        BlockKind::Routing { .. } => ROUTING_NOISE_STEPS,
        BlockKind::Regions { .. } => least_region_noise(scale),
        _ => 0,
    };
    let noise_steps = match target {
        None => least,
        Some(Target { unit, rho }) => {
            let sensitivity = match unit {
                PrivacyUnit::Member => scale.largest_norm(shape.kind),
                PrivacyUnit::Record => scale.largest_change(shape.kind),
            };
            // Blocks of one kind share the kind's part evenly.
            sigma(rho, part / alike, sensitivity, HONEST_NOISES) as u32
        }
    };
    PlannedBlock { shape, scale, noise_steps }
}

fn same_kind(one: BlockKind, other: BlockKind) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

fn sketches(table: &[BlockShape], clips: Clips, target: Option<Target>) -> Result<SketchPlan, LabError> {
    const COORDINATES: u16 = 64;
    let experts = table.iter().filter(|shape| shape.kind.is_scored()).count() as f64;
    let norm = sketch_norm(u64::from(COORDINATES));
    let sketch = match target.map(|target| target.unit) {
        Some(PrivacyUnit::Record) => 2.0 * norm,
        Some(PrivacyUnit::Member) | None => norm,
    };
    // A count lies between 0 and its largest value, so both units have the same sensitivity.
    let count = f64::from(2 * MINIMUM_TOKENS);
    let rho = target.map(|target| target.rho);
    Ok(SketchPlan {
        seed: projection_seed(TASK),
        coordinates: COORDINATES,
        // Regions and updates share one noise, so the stricter of both parts decides.
        noise_steps: fitting(rho, REGIONS.min(UPDATES) / experts, sketch)?.unwrap_or(LEAST_SKETCH_NOISE),
        region_clip_milli: clips.region_milli,
        count_noise: fitting(rho, COUNTS / experts, count)?.unwrap_or(0).max(LEAST_COUNT_NOISE),
    })
}

/// The noise on an announced value with which it costs this part of `rho`; `None` without a `rho`. An
/// announcement shows one member, so nobody else's noise counts.
fn fitting(rho: Option<f64>, part: f64, sensitivity: f64) -> Result<Option<u16>, LabError> {
    let Some(rho) = rho else { return Ok(None) };
    let noise = u16::try_from(sigma(rho, part, sensitivity, 1) as u64);
    let too_large = |_| LabError::config("rho", format!("{rho} needs more noise than sketches hold"));
    noise.map(Some).map_err(too_large)
}

/// The noise of each of `parties` members with which a release of this sensitivity costs this part of `rho`:
/// `σ = Δ/√(2·ρ·m)`, rounded up.
fn sigma(rho: f64, part: f64, sensitivity: f64, parties: u32) -> f64 {
    (sensitivity / (2.0 * rho * part * f64::from(parties)).sqrt()).ceil()
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::large_consortium;
    use cloister_privacy::accountant::Mechanism;
    use cloister_privacy::release::{account, releases};

    use super::*;

    const CLIPS: Clips = Clips { update_log2: 0, region_milli: 1000 };

    fn model() -> ModelConfig {
        ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(vec!["a".into(), "b".into()]) }
    }

    #[test]
    fn a_round_costs_its_target_and_its_plan_is_valid() {
        for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
            let target = Target { unit, rho: 1.0 };
            let settings = settings(&model(), 4, CLIPS, Some(target)).expect("it fits");
            settings.check(large_consortium(&[1; 4]).epoch.consortium()).expect("a valid plan");
            let all = releases(&settings, unit).expect("charged");
            let divergence = account(&all).divergence(2.0) / 2.0;
            assert!(divergence <= 1.0 && divergence > 0.99, "{divergence}");
        }
    }

    #[test]
    fn without_a_target_nothing_is_promised_and_too_strict_a_one_is_refused() {
        let settings = |target| settings(&model(), 4, CLIPS, target);
        let all = releases(&settings(None).expect("it fits"), PrivacyUnit::Member).expect("charged");
        assert!(all.iter().any(|release| release.mechanism == Mechanism::Unbounded));
        let strict = Target { unit: PrivacyUnit::Member, rho: 1e-3 };
        assert!(matches!(settings(Some(strict)), Err(LabError::Config { .. })));
    }
}
