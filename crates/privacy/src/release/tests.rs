use cloister_params::block::BlockShape;
use cloister_params::fixed::{RingWidth, Scale};
use cloister_params::id::{BlockId, Digest};
use cloister_params::plan::{
    Deadlines, Fallback, PrivateTrainingPlan, ScoringRule, SharedCohort, SketchForm, SketchPlan, Threshold,
    TrainingPlan,
};

use super::*;

fn settings(noise_steps: u32, max_weight: u8) -> RoundSettings {
    let kinds = [
        BlockKind::Expert { layer: 0, expert: 0 },
        BlockKind::Expert { layer: 0, expert: 1 },
        BlockKind::Router { layer: 0 },
        BlockKind::Shared,
        BlockKind::Routing { layer: 0 },
    ];
    let block = |(id, kind)| PlannedBlock {
        shape: BlockShape { id: BlockId(id), kind, length: 101 },
        scale: Scale { step_log2: -10, clip_steps: 1000 },
        noise_steps,
    };
    RoundSettings {
        task: Digest::default(),
        ring: RingWidth::new(32).expect("supported"),
        max_weight,
        cohort_floor: 5,
        sketch: SketchPlan {
            seed: Digest::default(),
            coordinates: 64,
            noise_steps: 4096,
            region_clip_milli: 1000,
            count_noise: 30,
        },
        scoring: ScoringRule {
            sketches: SketchForm::Pairs,
            groups: 0,
            score_noise: 0,
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 128,
            minimum_tokens: 30,
            slack: 1,
            fallback: Fallback::Everyone,
            shared_cohort: SharedCohort::Everyone,
        },
        late_sketches: LateSketchMode::Off,
        rehearsal: false,
        training: TrainingPlan {
            local_epochs: 1,
            batch_size: 8,
            learning_rate_micro: 1000,
            routing_penalty_milli: 100,
            private: None,
        },
        deadlines: Deadlines { announce: 1, seal: 1, upload: 1, reveal: 1 },
        blocks: (0..).zip(kinds).map(block).collect(),
    }
}

fn one(all: &[Release], released: Released) -> Release {
    *all.iter().find(|release| release.released == released).expect("released")
}

fn rho(release: Release) -> f64 {
    let Release { coordinates, sensitivity, noise_per_member: sigma, honest_noises: parties, .. } = release;
    assert_eq!(release.mechanism, Mechanism::DiscreteGaussian { sigma, parties, coordinates, sensitivity });
    release.mechanism.divergence(2.0) / 2.0
}

/// PRIV-03
#[test]
fn everything_that_leaves_is_charged() {
    let all = releases(&settings(1000, 1), PrivacyUnit::Member).expect("charged");
    let counts: Vec<(Released, u64)> = all.iter().map(|release| (release.released, release.count)).collect();
    let expected = [
        (Released::ExpertSum, 2),
        (Released::RegionSketch, 2),
        (Released::UpdateSketch, 2),
        (Released::TokenCount, 2),
        (Released::RouterSum, 1),
        (Released::SharedSum, 1),
        (Released::RoutingHistogram, 1),
    ];
    assert_eq!(counts, expected);
}

/// PRIV-01, PRIV-02, PRIV-04
#[test]
fn sensitivities_are_clips_whatever_is_rounded_and_noise_is_that_of_honest_members() {
    let all = releases(&settings(1000, 1), PrivacyUnit::Member).expect("charged");
    let norm = 1000.0;
    let expert = one(&all, Released::ExpertSum);
    assert_eq!((expert.sensitivity, expert.honest_noises), (norm, 3));
    let exact = norm * norm / (2.0 * 3.0 * 1000.0 * 1000.0);
    assert!((rho(expert) / exact - 1.0).abs() < 1e-12);
    let router = one(&all, Released::RouterSum);
    assert_eq!(router.sensitivity, 1000f64.hypot(1000.0), "the consistency weight counts too");
    let sketch = one(&all, Released::RegionSketch);
    assert_eq!((sketch.sensitivity, sketch.honest_noises), (8196.0, 1));
    assert_eq!(one(&all, Released::TokenCount).sensitivity, 60.0);
    let record = releases(&settings(1000, 1), PrivacyUnit::Record).expect("charged");
    assert!((rho(one(&record, Released::ExpertSum)) / rho(expert) - 4.0).abs() < 1e-9);
    let record_sensitivity = |released| one(&record, released).sensitivity;
    assert_eq!(
        record_sensitivity(Released::RouterSum),
        2000f64.hypot(750.0),
        "a weight is between a quarter and 1"
    );
    assert_eq!(
        record_sensitivity(Released::RoutingHistogram),
        2f64.sqrt() * 1000.0,
        "distributions are not negative"
    );
    assert_eq!(record_sensitivity(Released::TokenCount), 60.0, "counts are between 0 and 60");
    assert_eq!(record_sensitivity(Released::RegionSketch), 2.0 * 8196.0);
}

/// PRIV-16: signs follow from noised projections, of which the region's has half as many coordinates.
#[test]
fn signs_are_charged_as_the_noised_projections_that_they_follow_from() {
    let mut settings = settings(1000, 1);
    settings.scoring.sketches = SketchForm::Signs;
    for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
        let all = releases(&settings, unit).expect("charged");
        let factor = if unit == PrivacyUnit::Record { 2.0 } else { 1.0 };
        let (region, update) = (one(&all, Released::RegionSigns), one(&all, Released::UpdateSigns));
        assert_eq!((region.count, region.coordinates, update.count, update.coordinates), (2, 32, 2, 64));
        assert_eq!(update.sensitivity, factor * 8196.0);
        assert_eq!(region.sensitivity, factor * (8192.0 + 32f64.sqrt() / 2.0));
        assert!(
            !all.iter().any(|release| {
                matches!(release.released, Released::RegionSketch | Released::UpdateSketch)
            })
        );
    }
    settings.sketch.noise_steps = 0;
    let bare = releases(&settings, PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&bare, Released::UpdateSigns).mechanism, Mechanism::Unbounded, "signs alone hide nothing");
}

/// The settings with withheld sketches in so many groups, without the routing distribution.
fn withheld(groups: u16) -> RoundSettings {
    let mut settings = settings(1000, 1);
    let scoring = &mut settings.scoring;
    (scoring.sketches, scoring.groups, scoring.score_noise) = (SketchForm::Withheld, groups, 1638);
    let scale = Scale { step_log2: -14, clip_steps: 1 << 14 };
    let shape = BlockShape { id: BlockId(4), kind: BlockKind::Regions { layer: 0 }, length: 2 * 64 };
    settings.blocks[4] = PlannedBlock { shape, scale, noise_steps: 256 };
    settings
}

/// PRIV-17
#[test]
fn withheld_sketches_are_charged_as_scores_and_sums_of_regions() {
    for (groups, unit, factor) in [(1, PrivacyUnit::Member, 1.0), (2, PrivacyUnit::Record, 2.0)] {
        let all = releases(&withheld(groups), unit).expect("charged");
        let counts: Vec<(Released, u64)> =
            all.iter().map(|release| (release.released, release.count)).collect();
        let sums = [Released::RouterSum, Released::SharedSum, Released::RegionSum].map(|sum| (sum, 1));
        assert_eq!(
            counts,
            [&[(Released::ExpertSum, 2), (Released::Score, groups.into())][..], &sums].concat()
        );
        let score = one(&all, Released::Score);
        assert_eq!((score.sensitivity, score.coordinates, score.honest_noises), (factor * 16_384.0, 1, 1));
        let regions = one(&all, Released::RegionSum);
        assert_eq!((regions.sensitivity, regions.honest_noises), (factor * 16_384.0, 3));
    }
    let mut bare = withheld(1);
    bare.scoring.score_noise = 0;
    let all = releases(&bare, PrivacyUnit::Record).expect("charged");
    assert_eq!(one(&all, Released::Score).mechanism, Mechanism::Unbounded);
}

/// PRIV-17: with private training scores follow from trained parameters, and there are no regions.
#[test]
fn private_training_covers_scores() {
    let mut settings = withheld(1);
    settings.blocks.pop();
    settings.scoring.score_noise = 0;
    settings.training.private = Some(PrivateTrainingPlan {
        clipping_norm_milli: 1000,
        noise_multiplier_milli: 1000,
        sampling_probability_micro: 500_000,
        minimum_records: 64,
    });
    let record = releases(&settings, PrivacyUnit::Record).expect("charged");
    assert!(!record.iter().any(|release| release.released == Released::Score));
    let member = releases(&settings, PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&member, Released::Score).mechanism, Mechanism::Unbounded, "control: for whole members");
}

/// PRIV-15
#[test]
fn one_record_moves_an_evaluation_by_one_in_each_count() {
    let mut settings = settings(256, 1);
    let scale = Scale { step_log2: -4, clip_steps: 16_384 };
    let shape = BlockShape { id: BlockId(4), kind: BlockKind::Evaluation, length: 2 };
    settings.blocks[4] = PlannedBlock { shape, scale, noise_steps: 256 };
    let all = |unit| releases(&settings, unit).expect("charged");
    let record = one(&all(PrivacyUnit::Record), Released::EvaluationSum);
    assert_eq!(record.sensitivity, 16.0 * 2f64.sqrt() + 16_384.0 / 8_388_608.0 + 2.0 * 2f64.sqrt());
    assert_eq!(record.honest_noises, 3);
    assert!(rho(record) < 0.002, "{}", rho(record));
    assert_eq!(one(&all(PrivacyUnit::Member), Released::EvaluationSum).sensitivity, 16_384.0);
    // A coarse step: no more than any two contributions are apart.
    settings.blocks[4].scale = Scale { step_log2: 9, clip_steps: 1 };
    let coarse = releases(&settings, PrivacyUnit::Record).expect("charged");
    assert_eq!(one(&coarse, Released::EvaluationSum).sensitivity, 2f64.sqrt());
}

/// ROUND-39
#[test]
fn a_rehearsal_releases_nothing() {
    for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
        let mut settings = settings(0, 1);
        settings.rehearsal = true;
        assert_eq!(releases(&settings, unit).expect("charged"), []);
        settings.rehearsal = false;
        assert_ne!(releases(&settings, unit).expect("charged"), [], "control");
    }
}

/// PRIV-04
#[test]
fn weights_leave_only_the_own_noise_and_no_noise_is_unbounded() {
    let weighted = releases(&settings(1000, 3), PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&weighted, Released::SharedSum).honest_noises, 1);
    let mut late = settings(1000, 1);
    late.late_sketches = LateSketchMode::Optional;
    late.blocks[3].shape.length = 4800;
    let late = releases(&late, PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&late, Released::SharedSum).honest_noises, 1, "a late sketch shows one member's upload");
    assert_eq!(one(&late, Released::RouterSum).honest_noises, 3, "a short block has none");
    let quiet = releases(&settings(0, 1), PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&quiet, Released::SharedSum).mechanism, Mechanism::Unbounded);
    assert_eq!(account(&quiet).epsilon(1e-6).epsilon, f64::INFINITY);
}

/// PRIV-10, PRIV-11
#[test]
fn private_training_is_charged_by_its_steps_and_what_follows_from_it_is_not() {
    let mut settings = settings(0, 1);
    settings.training.local_epochs = 2;
    settings.training.private = Some(PrivateTrainingPlan {
        clipping_norm_milli: 500,
        noise_multiplier_milli: 1250,
        sampling_probability_micro: 30_000,
        minimum_records: 100,
    });
    let record = releases(&settings, PrivacyUnit::Record).expect("charged");
    let kinds: Vec<Released> = record.iter().map(|release| release.released).collect();
    let data = [Released::RegionSketch, Released::TokenCount, Released::RoutingHistogram];
    assert_eq!(kinds, [&[Released::PrivateStep][..], &data].concat());
    let steps = one(&record, Released::PrivateStep);
    assert_eq!((steps.count, steps.coordinates), (68, 404));
    assert_eq!(steps.mechanism, Mechanism::Gaussian { noise_multiplier: 1.25, sampling_probability: 0.03 });
    assert_eq!(f64::from(steps.noise_per_member) / steps.sensitivity, 1.25, "both in the same steps");
    // PRIV-11: a record moves a region by 2/100 of the clip, and a distribution by sqrt(2)/100, with
    // rounding.
    assert_eq!(one(&record, Released::RegionSketch).sensitivity, 2.0 * 8192.0 / 100.0 + 8.0);
    assert_eq!(
        one(&record, Released::RoutingHistogram).sensitivity,
        1024.0 * 2f64.sqrt() / 100.0 + 2.0 * 101f64.sqrt()
    );
    assert_eq!(one(&record, Released::TokenCount).sensitivity, 60.0);
    let training = account([&steps]).epsilon(1e-6);
    assert!((0.5..2.5).contains(&training.epsilon) && training.method == "pld", "{training:?}");
    // Control: for the whole member nothing is gained, and without private training sums without noise have
    // no bound.
    let member = releases(&settings, PrivacyUnit::Member).expect("charged");
    assert_eq!(one(&member, Released::ExpertSum).mechanism, Mechanism::Unbounded);
    settings.training.private = None;
    let plain = releases(&settings, PrivacyUnit::Record).expect("charged");
    assert_eq!(one(&plain, Released::ExpertSum).mechanism, Mechanism::Unbounded);
}
