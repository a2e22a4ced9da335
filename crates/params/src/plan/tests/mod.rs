//! Every rule of a plan, broken once.

mod evaluation;
mod policy;
mod withheld;

use proptest::prelude::*;

use super::*;
use crate::block::{BlockKind, BlockShape};
use crate::consortium::{ConsortiumFile, CoordinatorEntry, Party, PublicBytes, Role};
use crate::fixed::Scale;
use crate::policy::{Policy, PolicyRefusal};

const EPOCH: Digest = Digest([9; 32]);

fn consortium() -> Consortium {
    let party = |number: u8| Party {
        id: PartyId(u32::from(number)),
        name: format!("hospital {number}"),
        organisation: format!("organisation {number}"),
        roles: vec![Role::Member, Role::Custodian],
        signing_key: PublicBytes([number; 32]),
        certificate: PublicBytes([100 + number; 32]),
        weight: 1,
    };
    let coordinator = CoordinatorEntry {
        name: "coordinator".into(),
        signing_key: PublicBytes([0; 32]),
        certificate: PublicBytes([100; 32]),
    };
    let file = ConsortiumFile {
        name: "test".into(),
        epoch: 1,
        start: None,
        until: None,
        retired: Vec::new(),
        coordinator,
        parties: (1..=8).map(party).collect(),
    };
    Consortium::parse(&file.to_toml().expect("TOML")).expect("valid")
}

fn plan() -> RoundPlan {
    let block = |(id, kind): (u32, BlockKind)| PlannedBlock {
        shape: BlockShape { id: BlockId(id), kind, length: 10 },
        scale: Scale { step_log2: -10, clip_steps: 1 << 20 },
        noise_steps: 16,
    };
    let kinds =
        [BlockKind::Expert { layer: 0, expert: 0 }, BlockKind::Router { layer: 0 }, BlockKind::Shared];
    let settings = RoundSettings {
        task: Digest::default(),
        ring: RingWidth::new(32).expect("supported"),
        max_weight: 15,
        cohort_floor: 5,
        sketch: SketchPlan {
            seed: Digest::default(),
            coordinates: 64,
            noise_steps: 80,
            region_clip_milli: 1000,
            count_noise: 1,
        },
        scoring: ScoringRule {
            sketches: SketchForm::Pairs,
            groups: 0,
            score_noise: 0,
            threshold: Threshold::MeanDeviation,
            spread_factor: 256,
            consensus_fraction: 128,
            minimum_tokens: 1,
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
    };
    let key = |number: u32| ReceivingKeyEntry { custodian: PartyId(number), key: [7; 32] };
    RoundPlan {
        epoch: EPOCH,
        round: Round::FIRST,
        previous: EPOCH,
        model: Digest::default(),
        parameters: PerBlock::from_table(&settings.blocks, |_| Digest::default()),
        custodians: (1..=8).map(key).collect(),
        barred: Vec::new(),
        settings,
    }
}

fn check(change: impl FnOnce(&mut RoundPlan)) -> Result<(), PlanError> {
    let mut plan = plan();
    change(&mut plan);
    CheckedPlan::check(plan, &consortium(), EPOCH).map(|_| ())
}

#[test]
fn the_plan_that_the_other_tests_break_is_valid() {
    assert_eq!(check(|_| {}), Ok(()));
}

/// PLAN-01, CONS-02
#[test]
fn a_plan_for_another_epoch_is_refused() {
    assert!(matches!(check(|plan| plan.epoch = Digest([1; 32])), Err(PlanError::Epoch { .. })));
}

/// PLAN-02
#[test]
fn overlapping_misnumbered_and_empty_blocks_are_refused() {
    let refused = |result| assert!(matches!(result, Err(PlanError::BlockTable(_))), "{result:?}");
    refused(check(|plan| plan.settings.blocks[1].shape.kind = plan.settings.blocks[0].shape.kind));
    refused(check(|plan| plan.settings.blocks[1].shape.id = BlockId(0)));
    refused(check(|plan| plan.settings.blocks[2].shape.length = 0));
    refused(check(|plan| plan.settings.blocks[2].shape.length = MAX_BLOCK_LENGTH + 1));
    refused(check(|plan| plan.settings.blocks.clear()));
}

/// PLAN-17
#[test]
fn token_counts_without_noise_are_refused_whatever_their_threshold() {
    let with = |count_noise, minimum_tokens| {
        check(|plan| {
            plan.settings.sketch.count_noise = count_noise;
            plan.settings.scoring.minimum_tokens = minimum_tokens;
        })
    };
    let refused = |least, minimum| Err(PlanError::CountsWithoutNoise { got: least - 1, least, minimum });
    assert_eq!(with(0, 0), refused(1, 0));
    assert_eq!(
        with(0, u32::MAX),
        Err(PlanError::CountsWithoutNoise { got: 0, least: 1 << 29, minimum: u32::MAX })
    );
    assert_eq!(with(3, 30), refused(4, 30));
    assert_eq!(with(4, 30), Ok(()), "control: what the demo has");
    assert_eq!(with(1, 8), Ok(()), "control: the least noise for the largest threshold that it suffices for");
}

proptest! {
    /// PLAN-17: whatever a coordinator plans, a member's count costs at most a rho of 128 in a round.
    #[test]
    fn a_planned_count_has_noise_of_at_least_a_sixteenth_of_where_it_is_cut(noise: u16, minimum in 0..1_000_000u32) {
        let mut settings = plan().settings;
        settings.sketch.count_noise = noise;
        settings.scoring.minimum_tokens = minimum;
        let cut = u64::from(settings.scoring.largest_count());
        let enough = noise > 0 && 16 * u64::from(noise) >= cut;
        prop_assert_eq!(settings.check(&consortium()).is_ok(), enough);
        if enough {
            let rho = (cut as f64 / f64::from(noise)).powi(2) / 2.0;
            prop_assert!(rho <= 128.0);
        }
    }
}

fn sized(form: SketchForm, size: u16) -> Result<(), PlanError> {
    check(|plan| (plan.settings.scoring.sketches, plan.settings.sketch.coordinates) = (form, size))
}

/// PLAN-03
#[test]
fn sketches_of_another_size_are_refused() {
    let (pairs, signs) = (SketchForm::Pairs, SketchForm::Signs);
    assert_eq!(sized(pairs, 65), Err(PlanError::Sketch { got: 65, form: pairs }));
    assert_eq!(sized(pairs, 256), Err(PlanError::Sketch { got: 256, form: pairs }));
    assert_eq!(sized(signs, 512), Err(PlanError::Sketch { got: 512, form: signs }));
    assert_eq!((sized(pairs, 128), sized(signs, 256)), (Ok(()), Ok(())), "control");
}

/// PLAN-04
#[test]
fn a_floor_below_the_consortiums_is_refused() {
    let result = check(|plan| plan.settings.cohort_floor = 4);
    assert_eq!(result, Err(PlanError::BelowFloor { got: 4, floor: 5 }));
    assert_eq!(check(|plan| plan.settings.cohort_floor = 8), Ok(()), "tightening is allowed");
}

/// PLAN-06: 15·8·q + 6·sigma·15·3 must stay below 2³¹.
#[test]
fn a_ring_that_could_wrap_is_refused() {
    let widest = ((1u64 << 31) - 1 - 6 * 16 * 15 * 3) / (15 * 8);
    let clip = u32::try_from(widest).expect("fits");
    assert_eq!(check(|plan| plan.settings.blocks[0].scale.clip_steps = clip), Ok(()));
    let result = check(|plan| plan.settings.blocks[0].scale.clip_steps = clip + 1);
    assert!(matches!(result, Err(PlanError::RingWrap { .. })), "{result:?}");
    let result = check(|plan| plan.settings.blocks[0].noise_steps = 1 << 30);
    assert!(matches!(result, Err(PlanError::RingWrap { .. })), "{result:?}");
}

/// PLAN-19
#[test]
fn scales_that_leave_no_room_or_leave_the_finite_numbers_are_refused() {
    let with =
        |place: usize, change: fn(&mut Scale)| check(|plan| change(&mut plan.settings.blocks[place].scale));
    let refused = |place, got, least| Err(PlanError::Clip { block: BlockId(place), got, least });
    assert_eq!(with(0, |scale| scale.clip_steps = 0), refused(0, 0, 1));
    assert_eq!(with(0, |scale| scale.clip_steps = 1), Ok(()));
    assert_eq!(with(1, |scale| scale.clip_steps = 0), refused(1, 0, 4));
    assert_eq!(with(1, |scale| scale.clip_steps = 3), refused(1, 3, 4));
    assert_eq!(with(1, |scale| scale.clip_steps = 4), Ok(()));
    let refused = |got| Err(PlanError::Step { block: BlockId(2), got });
    assert_eq!(with(2, |scale| scale.step_log2 = -65), refused(-65));
    assert_eq!(with(2, |scale| scale.step_log2 = 33), refused(33));
    assert_eq!(with(2, |scale| scale.step_log2 = i8::MIN), refused(i8::MIN));
    assert_eq!(with(2, |scale| scale.step_log2 = -64), Ok(()));
    assert_eq!(with(2, |scale| scale.step_log2 = 32), Ok(()));
}

/// PLAN-03
#[test]
fn sizes_that_something_is_divided_by_are_not_0() {
    let refused = |result| assert!(matches!(result, Err(PlanError::SizeOf0 { .. })), "{result:?}");
    refused(check(|plan| plan.settings.training.batch_size = 0));
    refused(check(|plan| plan.settings.sketch.region_clip_milli = 0));
    let least = |plan: &mut RoundPlan| {
        plan.settings.training.batch_size = 1;
        plan.settings.sketch.region_clip_milli = 1;
    };
    assert_eq!(check(least), Ok(()));
}

/// PLAN-07, PLAN-08
#[test]
fn weights_need_noise_and_have_a_limit() {
    assert_eq!(check(|plan| plan.settings.max_weight = 16), Err(PlanError::Weight { got: 16 }));
    assert_eq!(check(|plan| plan.settings.max_weight = 0), Err(PlanError::Weight { got: 0 }));
    let quiet = |plan: &mut RoundPlan| plan.settings.blocks[2].noise_steps = 15;
    let result = check(quiet);
    assert_eq!(result, Err(PlanError::WeightsWithoutNoise { block: BlockId(2), got: 15 }));
    let unweighted = |plan: &mut RoundPlan| {
        quiet(plan);
        plan.settings.max_weight = 1;
    };
    assert_eq!(check(unweighted), Ok(()));
}

/// PLAN-11
#[test]
fn a_routing_distribution_without_noise_is_refused() {
    let routing = |noise_steps| {
        move |plan: &mut RoundPlan| {
            plan.settings.max_weight = 1;
            plan.settings.blocks[2].shape.kind = BlockKind::Routing { layer: 0 };
            plan.settings.blocks[2].noise_steps = noise_steps;
        }
    };
    assert_eq!(check(routing(16)), Ok(()));
    assert_eq!(check(routing(15)), Err(PlanError::RoutingWithoutNoise { block: BlockId(2), got: 15 }));
}

/// PLAN-12: 96·(15·(2^16 + 33·70))² stays below 2^62; with half of the ring as its clip it does not.
#[test]
fn late_sketches_need_room_in_the_ring() {
    let with = |late_sketches, clip_steps: u32, length| {
        check(move |plan| {
            plan.settings.max_weight = 1;
            plan.settings.late_sketches = late_sketches;
            plan.settings.blocks[2].shape.length = length;
            plan.settings.blocks[2].scale.clip_steps = clip_steps;
        })
    };
    assert_eq!(with(LateSketchMode::Required, 1 << 16, 4800), Ok(()));
    let refused = PlanError::LateSketchWrap { block: BlockId(2), bits: 32 };
    assert_eq!(with(LateSketchMode::Optional, 230_000_000, 4800), Err(refused));
    assert_eq!(with(LateSketchMode::Off, 230_000_000, 4800), Ok(()));
    assert_eq!(with(LateSketchMode::Optional, 230_000_000, 4799), Ok(()), "a short block has none");
}

/// PLAN-09
#[test]
fn custodians_are_distinct_listed_and_a_quorum() {
    assert_eq!(check(|plan| plan.custodians[1] = plan.custodians[0]), Err(PlanError::Custodians));
    assert_eq!(check(|plan| plan.custodians[7].custodian = PartyId(9)), Err(PlanError::Custodians));
    let result = check(|plan| plan.custodians.truncate(5));
    assert_eq!(result, Err(PlanError::TooFewCustodians { got: 5, quorum: 6 }));
}

#[test]
fn settings_survive_their_file() {
    let settings = plan().settings;
    assert_eq!(RoundSettings::parse(&settings.to_toml().expect("TOML")), Ok(settings.clone()));
    let typo = settings.to_toml().expect("TOML").replace("cohort_floor", "cohrt_floor");
    assert!(RoundSettings::parse(&typo).is_err());
}

/// PLAN-03
#[test]
fn training_makes_one_pass_at_least_and_a_thousand_at_most() {
    let with = |epochs| check(|plan| plan.settings.training.local_epochs = epochs);
    assert_eq!([with(1), with(1000)], [Ok(()), Ok(())]);
    for got in [0, 1001, u16::MAX] {
        assert_eq!(with(got), Err(PlanError::LocalEpochs { got }));
    }
}

/// PLAN-13
#[test]
fn private_training_without_clip_noise_or_sampling_is_refused() {
    let sound = PrivateTrainingPlan {
        clipping_norm_milli: 500,
        noise_multiplier_milli: 1100,
        sampling_probability_micro: 30_000,
        minimum_records: 50,
    };
    let with = |private| check(|plan| plan.settings.training.private = Some(private));
    assert_eq!(with(sound), Ok(()));
    assert_eq!(with(PrivateTrainingPlan { noise_multiplier_milli: 100, ..sound }), Ok(()));
    for wrong in [
        PrivateTrainingPlan { clipping_norm_milli: 0, ..sound },
        PrivateTrainingPlan { noise_multiplier_milli: 99, ..sound },
        PrivateTrainingPlan { minimum_records: 0, ..sound },
        PrivateTrainingPlan { sampling_probability_micro: 99, ..sound },
        PrivateTrainingPlan { sampling_probability_micro: 1_000_001, ..sound },
    ] {
        assert!(matches!(with(wrong), Err(PlanError::PrivateTraining { .. })), "{wrong:?}");
    }
    assert_eq!(sound.steps(2), 2 * 34, "a pass is 1/q steps, rounded up");
    let most = PrivateTrainingPlan { sampling_probability_micro: 1, ..sound };
    assert_eq!(most.steps(u16::MAX), 65_535_000_000, "more than 32 bits hold");
    assert_eq!(
        (sound.clipping_norm(), sound.noise_multiplier(), sound.sampling_probability()),
        (0.5, 1.1, 0.03)
    );
}

/// PLAN-10
#[test]
fn a_policy_can_demand_private_training() {
    let policy = |text: &str| {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        Policy::parse(&format!("governance_key = \"{key}\"\n{text}")).expect("a policy")
    };
    let demands = policy("require_private_training = true");
    let mut settings = plan().settings;
    assert_eq!(policy("").admit_settings(&settings), Ok(()));
    assert_eq!(demands.admit_settings(&settings), Err(PolicyRefusal::NoPrivateTraining));
    settings.training.private = Some(PrivateTrainingPlan {
        clipping_norm_milli: 500,
        noise_multiplier_milli: 1100,
        sampling_probability_micro: 30_000,
        minimum_records: 50,
    });
    assert_eq!(demands.admit_settings(&settings), Ok(()));
    let refusal = Err(PolicyRefusal::NoiseMultiplier { got: 1100, limit: 1101 });
    assert_eq!(policy("minimum_noise_multiplier_milli = 1101").admit_settings(&settings), refusal);
    let quiet = |settings: &mut RoundSettings| {
        settings.training.private.as_mut().expect("private").noise_multiplier_milli = 299;
    };
    let mut weak = settings.clone();
    quiet(&mut weak);
    let refusal = Err(PolicyRefusal::NoiseMultiplier { got: 299, limit: 300 });
    assert_eq!([policy(""), demands].map(|policy| policy.admit_settings(&weak)), [refusal.clone(), refusal]);
    assert_eq!(policy("minimum_noise_multiplier_milli = 0").admit_settings(&weak), Ok(()));
    let text = settings.to_toml().expect("TOML");
    assert!(text.contains("[training.private]"), "{text}");
    assert_eq!(RoundSettings::parse(&text).expect("the same"), settings);
}
