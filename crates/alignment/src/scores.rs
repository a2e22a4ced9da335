//! Withheld sketches: members compare themselves with what the last closing published (`ALIGN-16` to `ALIGN-18`).
//!
//! What members compute at home is in double precision, because nobody computes it again. What follows from announced
//! scores is in integers.

use cloister_params::plan::{LARGEST_SCORE, SketchValues};

use crate::score::{Consensus, ExpertSketch};

/// The cosine of two vectors, given by pairs of coordinates; 0 if one of them is zero, or not finite.
pub fn cosine(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let (mut product, mut one, mut other) = (0.0, 0.0, 0.0);
    for (left, right) in pairs {
        product += left * right;
        one += left * left;
        other += right * right;
    }
    let norms = f64::sqrt(one) * f64::sqrt(other);
    if norms > 0.0 && norms.is_finite() { (product / norms).clamp(-1.0, 1.0) } else { 0.0 }
}

/// An expert's score, from the cosine of the trained with the published update, and that of the regions. With private
/// training, regions do not count, because nothing of them may leave without noise (`PRIV-17`).
pub fn expert_score(updates: f64, regions: Option<f64>) -> f64 {
    updates * regions.map_or(1.0, |regions| (1.0 + regions) / 2.0)
}

/// The score of a group of experts in units of 2⁻¹⁴, before noise: the mean, within −2¹⁴ and 2¹⁴; 0 for no expert.
pub fn group_score(experts: &[f64]) -> i32 {
    let mean = experts.iter().sum::<f64>() / experts.len().max(1) as f64;
    let most = f64::from(LARGEST_SCORE);
    (mean * most).round_ties_even().clamp(-most, most) as i32
}

/// The values of a layer's block of regions: one direction for each expert, of norm 1 or 0, so that the block has a norm
/// of at most 1 (`ALIGN-18`).
pub fn region_values(directions: &[Vec<f64>]) -> Vec<f32> {
    let share = 1.0 / (directions.len().max(1) as f64).sqrt();
    directions.iter().flatten().map(|value| (value * share) as f32).collect()
}

/// The consensus by announced scores (`ALIGN-17`): a score below 0 counts as 0. Whoever announced none has none.
pub fn score_consensus(announced: &[&ExpertSketch]) -> Consensus {
    let mut per_member = Vec::with_capacity(announced.len());
    for sketch in announced {
        per_member.push(match sketch.values {
            SketchValues::Score(Some(score)) => Some(score.max(0).unsigned_abs()),
            _ => None,
        });
    }
    Consensus { per_member, threshold: 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn norm(values: &[f32]) -> f64 {
        values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
    }

    /// ALIGN-16
    #[test]
    fn a_cosine_without_a_direction_is_0() {
        assert_eq!(cosine([(3.0, 6.0), (4.0, 8.0)]), 1.0);
        assert_eq!(cosine([(1.0, -2.0)]), -1.0);
        for undefined in [&[][..], &[(0.0, 1.0)], &[(1.0, 0.0)], &[(f64::NAN, 1.0)], &[(f64::INFINITY, 1.0)]]
        {
            assert_eq!(cosine(undefined.iter().copied()), 0.0, "{undefined:?}");
        }
    }

    /// ALIGN-16
    #[test]
    fn a_score_is_a_mean_of_products_in_units() {
        assert_eq!(expert_score(0.5, Some(0.0)), 0.25);
        assert_eq!(expert_score(-0.5, Some(-1.0)), 0.0);
        assert_eq!(expert_score(0.5, None), 0.5, "private training");
        assert_eq!(group_score(&[]), 0);
        assert_eq!(group_score(&[1.0, 0.5]), 3 << 12);
        assert_eq!(group_score(&[-1.0]), -(1 << 14));
        assert_eq!(group_score(&[2.0]), 1 << 14, "never beyond what is charged");
    }

    /// ALIGN-17
    #[test]
    fn scores_below_0_count_as_0() {
        let score = |score| ExpertSketch { values: SketchValues::Score(score), tokens: 0 };
        let (high, low, none) = (score(Some(700)), score(Some(i32::MIN)), score(None));
        assert_eq!(score_consensus(&[&high, &low, &none]).per_member, [Some(700), Some(0), None]);
        let pairs = ExpertSketch::projections(vec![1; 4], vec![1; 4], 20);
        assert_eq!(score_consensus(&[&pairs]).per_member, [None], "another form");
    }

    proptest! {
        /// ALIGN-18
        #[test]
        fn regions_keep_to_their_bound(
            one in prop::collection::vec(prop::collection::vec(-1.0f64..1.0, 6), 1..5),
        ) {
            let directions: Vec<Vec<f64>> = one
                .iter()
                .map(|region| {
                    let norm = region.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-9);
                    region.iter().map(|value| value / norm).collect()
                })
                .collect();
            prop_assert!(norm(&region_values(&directions)) < 1.0 + 1e-6);
        }
    }
}
