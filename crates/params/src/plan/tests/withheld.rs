//! The rules of withheld sketches.

use super::*;

/// Two layers with experts, of which each has a block of regions.
fn withhold(plan: &mut RoundPlan) {
    let settings = &mut plan.settings;
    settings.scoring.sketches = SketchForm::Withheld;
    settings.scoring.groups = 2;
    settings.scoring.score_noise = 1638;
    let kinds = [
        (BlockKind::Expert { layer: 0, expert: 0 }, 10),
        (BlockKind::Expert { layer: 0, expert: 1 }, 10),
        (BlockKind::Expert { layer: 1, expert: 0 }, 10),
        (BlockKind::Regions { layer: 0 }, 2 * 64),
        (BlockKind::Regions { layer: 1 }, 64),
    ];
    let planned = settings.blocks[0];
    let numbered = (0..).zip(kinds);
    let shaped = numbered.map(|(id, (kind, length))| BlockShape { id: BlockId(id), kind, length });
    settings.blocks = shaped.map(|shape| PlannedBlock { shape, ..planned }).collect();
    for block in &mut settings.blocks[3..] {
        (block.scale, block.noise_steps) = (Scale { step_log2: -14, clip_steps: 1 << 14 }, 256);
    }
    plan.parameters = PerBlock::from_table(&settings.blocks, |_| Digest::default());
}

/// What comes of a change of a plan with withheld sketches.
fn changed(change: impl FnOnce(&mut RoundPlan)) -> Result<(), PlanError> {
    check(|plan| {
        withhold(plan);
        change(plan);
    })
}

/// PLAN-22
#[test]
fn each_layer_has_its_regions_if_sketches_are_withheld() {
    assert_eq!(changed(|_| ()), Ok(()), "control");
    let shorter = changed(|plan| plan.settings.blocks[3].shape.length -= 1);
    assert!(matches!(shorter, Err(PlanError::Regions { .. })), "{shorter:?}");
    let missing = changed(|plan| {
        plan.settings.blocks.pop();
    });
    let expected = "with sketches of the form Withheld the plan needs these blocks of regions: layer 0 regions of 128, \
                    layer 1 regions of 64; it has: layer 0 regions of 128";
    assert_eq!(missing.expect_err("one is missing").to_string(), expected);
    let other_layer = changed(|plan| plan.settings.blocks[4].shape.kind = BlockKind::Regions { layer: 2 });
    assert!(matches!(other_layer, Err(PlanError::Regions { .. })), "{other_layer:?}");
    let with_pairs = changed(|plan| {
        let scoring = &mut plan.settings.scoring;
        (scoring.sketches, scoring.groups, scoring.score_noise) = (SketchForm::Pairs, 0, 0);
    });
    assert!(matches!(with_pairs, Err(PlanError::Regions { .. })), "{with_pairs:?}");
}

/// PLAN-03
#[test]
fn there_are_groups_if_sketches_are_withheld() {
    for groups in [1, 3] {
        assert_eq!(changed(|plan| plan.settings.scoring.groups = groups), Ok(()), "control");
    }
    for groups in [0, 4] {
        let refused = changed(|plan| plan.settings.scoring.groups = groups);
        assert!(matches!(refused, Err(PlanError::Groups { experts: 3, .. })), "{refused:?}");
    }
    for form in [SketchForm::Pairs, SketchForm::Signs] {
        let grouped =
            check(|plan| (plan.settings.scoring.sketches, plan.settings.scoring.groups) = (form, 1));
        assert!(matches!(grouped, Err(PlanError::Groups { .. })), "{grouped:?}");
        let noised =
            check(|plan| (plan.settings.scoring.sketches, plan.settings.scoring.score_noise) = (form, 1));
        assert!(matches!(noised, Err(PlanError::Groups { .. })), "{noised:?}");
    }
}

/// PLAN-22
#[test]
fn regions_have_a_clip_of_1_and_noise() {
    let clip = changed(|plan| plan.settings.blocks[3].scale.clip_steps -= 1);
    assert!(matches!(clip, Err(PlanError::RegionClip { block: BlockId(3), .. })), "{clip:?}");
    let noise = |steps| changed(|plan| plan.settings.blocks[4].noise_steps = steps);
    assert_eq!(noise(256), Ok(()), "control");
    assert_eq!(noise(255), Err(PlanError::RegionsWithoutNoise { block: BlockId(4), got: 255, least: 256 }));
}

/// What comes of private training without noise on scores, with or without blocks of regions.
fn privately_trained(with_regions: bool) -> Result<(), PlanError> {
    changed(|plan| {
        plan.settings.scoring.score_noise = 0;
        plan.settings.training.private = Some(PrivateTrainingPlan {
            clipping_norm_milli: 1000,
            noise_multiplier_milli: 1000,
            sampling_probability_micro: 500_000,
            minimum_records: 4,
        });
        if !with_regions {
            plan.settings.blocks.truncate(3);
            plan.parameters = PerBlock::from_table(&plan.settings.blocks, |_| Digest::default());
        }
    })
}

/// PLAN-22
#[test]
fn scores_have_noise_unless_training_is_private() {
    let noise = |noise| changed(|plan| plan.settings.scoring.score_noise = noise);
    assert_eq!(noise(256), Ok(()), "control");
    assert_eq!(noise(255), Err(PlanError::ScoresWithoutNoise { got: 255, least: 256 }));
    assert_eq!(privately_trained(false), Ok(()), "scores follow from trained parameters");
    assert!(
        matches!(privately_trained(true), Err(PlanError::Regions { .. })),
        "regions would leave for nothing"
    );
}

/// The numbers of the blocks that share what is announced.
fn groups(form: SketchForm, groups: u16) -> Vec<Vec<u32>> {
    let mut plan = plan();
    withhold(&mut plan);
    (plan.settings.scoring.sketches, plan.settings.scoring.groups) = (form, groups);
    let blocks = plan.settings.announced_groups().into_iter();
    blocks.map(|group| group.into_iter().map(|block| block.0).collect()).collect()
}

/// ALIGN-16
#[test]
fn groups_are_neighbours_in_the_table() {
    assert_eq!(groups(SketchForm::Withheld, 1), [vec![0, 1, 2]]);
    assert_eq!(groups(SketchForm::Withheld, 2), [vec![0, 1], vec![2]]);
    assert_eq!(groups(SketchForm::Withheld, 3), [[0], [1], [2]]);
    assert_eq!(groups(SketchForm::Pairs, 0), [[0], [1], [2]]);
    let mut empty = plan();
    empty.settings.blocks.clear();
    empty.settings.scoring.sketches = SketchForm::Withheld;
    assert_eq!(empty.settings.announced_blocks(), [], "settings that nobody checked");
}

/// PRIV-08, ALIGN-16
#[test]
fn scores_are_few_numbers_with_noise() {
    let mut plan = plan();
    withhold(&mut plan);
    assert_eq!((plan.settings.announced_numbers(), plan.settings.announced_noise()), (2, 819));
    plan.settings.scoring.sketches = SketchForm::Signs;
    assert_eq!((plan.settings.announced_numbers(), plan.settings.announced_noise()), (3 * 65, 80));
}
