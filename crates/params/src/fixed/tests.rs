use proptest::prelude::*;

use super::*;

const SCALE: Scale = Scale { step_log2: -10, clip_steps: 1024 };

/// ROUND-21: against products of 2 and of ½, which are exact.
#[test]
fn powers_of_two_are_exact_for_every_exponent() {
    for exponent in i8::MIN..=i8::MAX {
        let factor = if exponent < 0 { 0.5 } else { 2.0 };
        let exact: f64 = (0..exponent.unsigned_abs()).map(|_| factor).product();
        assert_eq!(power_of_two(exponent).to_bits(), exact.to_bits(), "2 to the power of {exponent}");
    }
    assert_eq!([power_of_two(-1), power_of_two(0), power_of_two(10)], [0.5, 1.0, 1024.0]);
}

/// A cohort without noise.
fn quiet(weight: u64) -> CohortTotal {
    CohortTotal { weight, max_weight: 1, noise_steps: 0 }
}

proptest! {
    /// MASK-06
    #[test]
    fn packing_keeps_what_the_ring_keeps(words in prop::collection::vec(any::<u32>(), 0..50), bits in prop::sample::select(vec![16u8, 24, 32])) {
        let ring = RingWidth::new(bits).expect("supported");
        let packed = ring.pack(&words);
        prop_assert_eq!(packed.len(), words.len() * ring.bytes());
        let back = ring.unpack(&packed);
        for (word, read) in words.iter().zip(&back) {
            prop_assert_eq!(ring.lift(*word), ring.lift(*read));
        }
        let mut sums = vec![7u32; words.len()];
        ring.add_packed(&mut sums, &packed);
        prop_assert!(sums.iter().zip(&back).all(|(sum, read)| *sum == read.wrapping_add(7)));
    }

    #[test]
    fn lifting_undoes_the_ring(value in -32768i64..32768) {
        for bits in [16, 24, 32] {
            prop_assert_eq!(RingWidth::new(bits).expect("supported").lift(value as u32), value);
        }
    }

    /// MASK-07
    #[test]
    fn integers_stay_within_the_clip(update in prop::collection::vec(-10f32..10.0, 1..40)) {
        let quantised = SCALE.quantise(BlockKind::Shared, &update).expect("finite");
        prop_assert!(quantised.integers.iter().all(|integer| integer.unsigned_abs() <= SCALE.clip_steps));
        prop_assert!(squares(&quantised.integers) <= u64::from(SCALE.clip_steps).pow(2));
        let nearest = update.iter().map(|value| f64::from(*value) / SCALE.step());
        if !quantised.clipped {
            prop_assert!(quantised.integers.iter().zip(nearest).all(|(made, exact)| (f64::from(*made) - exact).abs() < 1.0));
        }
    }
}

fn squares(integers: &[i32]) -> u64 {
    integers.iter().map(|integer| u64::from(integer.unsigned_abs()).pow(2)).sum()
}

/// MASK-07, PRIV-04
#[test]
fn rounding_keeps_to_the_clip_and_changes_no_more_than_it_must() {
    let scale = Scale { step_log2: 0, clip_steps: 51 };
    // Each of 10,000 coordinates would be rounded up, and the norm from 51 to 100.
    let quantised = scale.quantise(BlockKind::Shared, &vec![0.51; 10_000]).expect("finite");
    assert_eq!(squares(&quantised.integers), 51 * 51, "as many ones as the clip has room for");
    assert!(quantised.integers[10_000 - 51 * 51..].iter().all(|integer| *integer == 1));
    // Control: within the clip nothing but the nearest integer is taken.
    let roomy = Scale { clip_steps: 100, ..scale };
    let quantised = roomy.quantise(BlockKind::Shared, &vec![0.51; 10_000]).expect("finite");
    assert!(quantised.integers.iter().all(|integer| *integer == 1) && !quantised.clipped);
    // A router's weight is outside the norm, and stays.
    let router = BlockKind::Router { layer: 0 };
    let small = Scale { step_log2: 0, clip_steps: 1 };
    let quantised = small.quantise(router, &[0.6, 0.6, 1.0]).expect("finite");
    assert_eq!(quantised.integers, [0, 1, 1]);
    assert_eq!(small.largest_norm(router), 2f64.sqrt());
}

/// Every integer vector of a length that a block's contribution may be.
fn contributions(kind: BlockKind, clip: i32, length: usize) -> Vec<Vec<i32>> {
    let mut all: Vec<Vec<i32>> = vec![vec![]];
    for at in 0..length {
        let weight = matches!(kind, BlockKind::Router { .. }) && at + 1 == length;
        let least = match kind {
            BlockKind::Routing { .. } | BlockKind::Evaluation => 0,
            _ if weight => Scale { step_log2: 0, clip_steps: clip as u32 }.weight_steps(0.0),
            _ => -clip,
        };
        let most = u64::from(clip.unsigned_abs()).pow(2);
        let mut longer = Vec::new();
        for shorter in all {
            let extended = (least..=clip).map(|value| [&shorter[..], &[value]].concat());
            longer.extend(extended.filter(|vector| weight || squares(vector) <= most));
        }
        all = longer;
    }
    all
}

fn distance(one: &[i32], other: &[i32]) -> f64 {
    one.iter().zip(other).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>().sqrt()
}

/// PRIV-04, by brute force: no two contributions are further apart than is charged for, and the furthest are
/// hardly nearer.
#[test]
fn contributions_are_no_further_apart_than_is_charged_for() {
    let kinds = [
        BlockKind::Shared,
        BlockKind::Expert { layer: 0, expert: 0 },
        BlockKind::Router { layer: 0 },
        BlockKind::Routing { layer: 0 },
        BlockKind::Evaluation,
    ];
    for (kind, clip) in kinds.into_iter().flat_map(|kind| [1, 2, 5].map(|clip| (kind, clip))) {
        let scale = Scale { step_log2: 0, clip_steps: clip };
        let all = contributions(kind, clip as i32, 3);
        let furthest = all.iter().flat_map(|one| all.iter().map(|other| distance(one, other)));
        let (furthest, charged) = (furthest.fold(0.0, f64::max), scale.largest_change(kind));
        assert!((furthest - charged).abs() < 1e-12, "{kind:?} {clip}: {furthest} {charged}");
        let longest = all.iter().map(|vector| (squares(vector) as f64).sqrt()).fold(0.0, f64::max);
        assert!((longest - scale.largest_norm(kind)).abs() < 1e-12, "{kind:?} {clip}: {longest}");
    }
}

proptest! {
    /// MASK-07, PRIV-04: what the brute force goes through is all that there is.
    #[test]
    fn integers_are_such_contributions(
        update in prop::collection::vec(-3f32..3.0, 2..20), other in prop::collection::vec(-3f32..3.0, 20)
    ) {
        let router = BlockKind::Router { layer: 0 };
        for kind in [BlockKind::Shared, router, BlockKind::Routing { layer: 0 }, BlockKind::Evaluation] {
            let made = [&update[..], &other[..update.len()]]
                .map(|update| SCALE.quantise(kind, update).expect("finite").integers);
            let apart = made[0].iter().zip(&made[1]).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>();
            prop_assert!(apart.sqrt() <= SCALE.largest_change(kind) * (1.0 + 1e-12));
            prop_assert!(kind.is_trained() || made[0].iter().all(|integer| *integer >= 0));
        }
    }
}

#[test]
fn an_update_that_diverged_is_refused() {
    let result = SCALE.quantise(BlockKind::Shared, &[0.0, f32::NAN]);
    assert_eq!(result, Err(FixedPointError::NotFinite { index: 1 }));
}

/// ROUND-21
#[test]
fn an_evaluation_is_the_sum_of_counts_whatever_was_there_and_no_count_is_negative() {
    let scale = Scale { step_log2: -4, clip_steps: 1 << 14 };
    let counts = scale.quantise(BlockKind::Evaluation, &[81.5, 96.0]).expect("finite");
    assert_eq!(counts.integers, [1304, 1536]);
    let mut published = vec![7.0, 9.0];
    scale
        .apply(BlockKind::Evaluation, &mut published, &[2 * 1304, -3], quiet(2))
        .expect("no weight to refuse");
    assert_eq!(published, [163.0, 0.0]);
    // The clip shortens both counts alike, so that their ratio stays.
    let many = scale.quantise(BlockKind::Evaluation, &[6000.0, 8000.0]).expect("finite");
    assert!(many.clipped);
    assert_eq!(many.integers, [9830, 13107]);
}

/// ROUND-21
#[test]
fn a_mean_is_recovered() {
    let mut parameters = vec![1.0, 2.0];
    SCALE.apply(BlockKind::Shared, &mut parameters, &[1024, -512], quiet(2)).expect("no weight to refuse");
    assert_eq!(parameters, vec![1.5, 1.75]);
}

/// ALIGN-12
#[test]
fn a_router_is_divided_by_the_sum_of_consistency_weights() {
    let kind = BlockKind::Router { layer: 0 };
    let one = SCALE.quantise(kind, &[0.25, 0.5]).expect("finite").integers;
    let sum: Vec<i64> = one.iter().map(|integer| 2 * i64::from(*integer)).collect();
    let mut parameters = vec![0.0, 0.0];
    SCALE.apply(kind, &mut parameters, &sum, quiet(2)).expect("in range");
    assert_eq!(parameters, vec![0.5, 0.0]);
    let tiny = [1024, 100];
    assert!(matches!(
        SCALE.apply(kind, &mut parameters, &tiny, quiet(2)),
        Err(FixedPointError::ConsistencyWeight { got: 100, .. })
    ));
}

/// ALIGN-12
#[test]
fn noise_on_consistency_weights_refuses_no_honest_sum_and_makes_no_larger_step() {
    let kind = BlockKind::Router { layer: 0 };
    let total = CohortTotal { weight: 4, max_weight: 1, noise_steps: 16 };
    let applied = |consistency: i64, total| {
        let mut parameters = vec![0.0, 0.0];
        SCALE.apply(kind, &mut parameters, &[4096, consistency], total).map(|()| parameters[0])
    };
    assert_eq!(applied(4096 + 6 * 16 * 2, total), Ok(1.0), "above every weight at 1 by noise");
    assert_eq!(applied(1024 - 6 * 16 * 2, total), Ok(4.0), "below every weight at a quarter by noise");
    assert!(applied(4096 + 6 * 16 * 2 + 1, total).is_err() && applied(1024 - 6 * 16 * 2 - 1, total).is_err());
    assert!(applied(4097, quiet(4)).is_err(), "control: without noise nothing is above");
}
