//! The rules of an evaluation.

use super::*;

/// PLAN-21
#[test]
fn an_evaluation_has_two_numbers_and_noise() {
    let check = |length: u64, noise_steps: u32| {
        check(|plan| {
            plan.settings.max_weight = 1;
            let block = &mut plan.settings.blocks[2];
            (block.shape.kind, block.shape.length) = (BlockKind::Evaluation, length);
            (block.scale.clip_steps, block.noise_steps) = (6401, noise_steps);
        })
    };
    assert_eq!(check(2, 101), Ok(()), "control: 6401/64 rounded up");
    assert!(matches!(check(3, 101), Err(PlanError::BlockTable(_))));
    let id = BlockId(2);
    assert_eq!(check(2, 100), Err(PlanError::EvaluationWithoutNoise { block: id, got: 100, least: 101 }));
}
