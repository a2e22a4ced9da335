//! Scores of one expert: region agreement, adaptive threshold, region-conditioned gate, consensus.
//!
//! Fixed point: unit vectors have coordinates of at most 2¹⁴, and agreements are cosines in units of 2⁻¹⁴.
//! With 128 coordinates, agreements stay below 2¹⁶ in size, and a consortium file has room for fewer than 2¹³
//! members. So the largest sum, of the squares of deviations over all pairs, is below 2⁶⁰ and fits an `i64`.

use cloister_params::plan::{ScoringRule, SketchValues, Threshold};

use crate::statistics::{deviation, mean, median, median_deviation};

/// Cosine 1 in fixed point.
pub const UNIT: i64 = 1 << 14;

/// What one member announced about one expert, or about a group of experts, noise included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpertSketch {
    /// What is compared: of the region `mu` and of the update `d`.
    pub values: SketchValues,
    /// How many tokens the member routed to the expert, cut to the rule's largest count; 0 with a score.
    pub tokens: u32,
}

impl ExpertSketch {
    /// Projections of a region and of an update, in sketch steps: one integer for each sketch coordinate of the plan.
    pub fn projections(region: Vec<i16>, update: Vec<i16>, tokens: u32) -> Self {
        Self { values: SketchValues::Projections { region, update }, tokens }
    }

    /// The projected region; empty in other forms.
    pub fn region(&self) -> &[i16] {
        match &self.values {
            SketchValues::Projections { region, .. } => region,
            SketchValues::Signs(_) | SketchValues::Score(_) => &[],
        }
    }

    /// The projected update; empty in other forms.
    pub fn update(&self) -> &[i16] {
        match &self.values {
            SketchValues::Projections { update, .. } => update,
            SketchValues::Signs(_) | SketchValues::Score(_) => &[],
        }
    }
}

/// The consensus of the members on one expert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consensus {
    /// `c_i = sum_j g[i,j]` for each member, in their order and in units of 2⁻¹⁴; `None` for a member with
    /// too few tokens or an empty sketch.
    pub per_member: Vec<Option<u32>>,
    /// The threshold that region agreement had to reach.
    pub threshold: i64,
}

/// The layer's common direction: the mean region of all members' experts with enough tokens (`ALIGN-03`).
///
/// It is subtracted from each region before regions are compared. Hidden states have a large part in common,
/// so that without this all cosines would be close to 1.
pub fn common_direction<'a>(
    sketches: impl Iterator<Item = &'a ExpertSketch>,
    rule: &ScoringRule,
    coordinates: usize,
) -> Vec<i32> {
    let mut sums = vec![0i64; coordinates];
    let mut count = 0i64;
    for sketch in sketches.filter(|sketch| sketch.tokens >= rule.minimum_tokens) {
        count += 1;
        for (sum, value) in sums.iter_mut().zip(sketch.region()) {
            *sum += i64::from(*value);
        }
    }
    sums.iter().map(|sum| sum.div_euclid(count.max(1)) as i32).collect()
}

/// Scores one expert over the members that announced a sketch of it. `common` is the layer's common
/// direction.
pub fn consensus(sketches: &[&ExpertSketch], common: &[i32], rule: &ScoringRule) -> Consensus {
    let units: Vec<Option<UnitVectors>> =
        sketches.iter().map(|sketch| UnitVectors::new(sketch, common, rule)).collect();
    let threshold = adaptive_threshold(&pair_agreements(&units), rule);
    let per_member = (0..units.len()).map(|member| member_consensus(&units, member, threshold)).collect();
    Consensus { per_member, threshold }
}

/// A member's centred region and its update, each scaled to norm [`UNIT`].
struct UnitVectors {
    region: Vec<i64>,
    update: Vec<i64>,
}

impl UnitVectors {
    /// `None` for a member with too few tokens or an empty direction (`ALIGN-02`).
    fn new(sketch: &ExpertSketch, common: &[i32], rule: &ScoringRule) -> Option<Self> {
        if sketch.tokens < rule.minimum_tokens {
            return None;
        }
        let centred =
            sketch.region().iter().zip(common).map(|(value, shared)| i64::from(*value) - i64::from(*shared));
        let update = sketch.update().iter().map(|value| i64::from(*value));
        Some(Self { region: unit(centred)?, update: unit(update)? })
    }
}

/// Scales a vector to norm [`UNIT`], rounding towards minus infinity; `None` for the zero vector
/// (`ALIGN-02`). The norm is rounded down, so that vectors of one or two steps come out longer, by up to √3.
fn unit(vector: impl Iterator<Item = i64> + Clone) -> Option<Vec<i64>> {
    let norm = vector.clone().map(|value| value * value).sum::<i64>().isqrt();
    (norm > 0).then(|| vector.map(|value| (value * UNIT).div_euclid(norm)).collect())
}

/// The cosine of two unit vectors, in units of 2⁻¹⁴.
fn agreement(one: &[i64], other: &[i64]) -> i64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum::<i64>().div_euclid(UNIT)
}

/// Region agreements `A[i,j]` of all pairs `i < j` of scored members.
fn pair_agreements(units: &[Option<UnitVectors>]) -> Vec<i64> {
    let scored: Vec<&UnitVectors> = units.iter().flatten().collect();
    let mut agreements = Vec::new();
    for (index, one) in scored.iter().enumerate() {
        agreements.extend(scored[index + 1..].iter().map(|other| agreement(&one.region, &other.region)));
    }
    agreements
}

/// `tau = centre(A) - beta·spread(A)` (`ALIGN-04`).
fn adaptive_threshold(agreements: &[i64], rule: &ScoringRule) -> i64 {
    let (centre, spread) = match rule.threshold {
        Threshold::MeanDeviation => {
            let centre = mean(agreements);
            (centre, deviation(agreements, centre))
        }
        Threshold::MedianDeviation => {
            let centre = median(agreements);
            (centre, median_deviation(agreements, centre))
        }
    };
    centre - (i64::from(rule.spread_factor) * spread).div_euclid(256)
}

/// `c_i`, the sum of `g[i,j] = [A[i,j] >= tau]·max(0, D[i,j])` over the other members (`ALIGN-05`,
/// `ALIGN-06`).
fn member_consensus(units: &[Option<UnitVectors>], member: usize, threshold: i64) -> Option<u32> {
    let scored = units[member].as_ref()?;
    let mut sum = 0;
    for (index, other) in units.iter().enumerate() {
        // A member agrees with itself fully, which says nothing.
        let Some(other) = other.as_ref().filter(|_| index != member) else { continue };
        if agreement(&scored.region, &other.region) >= threshold {
            sum += agreement(&scored.update, &other.update).max(0);
        }
    }
    Some(sum as u32)
}

#[cfg(test)]
mod tests {
    use cloister_params::plan::{Fallback, SharedCohort, SketchForm};
    use proptest::prelude::*;

    use super::*;

    pub(crate) const RULE: ScoringRule = ScoringRule {
        sketches: SketchForm::Pairs,
        groups: 0,
        score_noise: 0,
        threshold: Threshold::MeanDeviation,
        spread_factor: 256,
        consensus_fraction: 128,
        minimum_tokens: 5,
        slack: 1,
        fallback: Fallback::Everyone,
        shared_cohort: SharedCohort::Everyone,
    };

    fn expert(region: [i16; 4], update: [i16; 4]) -> ExpertSketch {
        ExpertSketch::projections(region.to_vec(), update.to_vec(), 10)
    }

    /// ALIGN-04, ALIGN-05, ALIGN-06
    #[test]
    fn an_expert_with_another_role_has_no_consensus() {
        let same = expert([1000, 0, 20, 0], [0, 500, 0, 3]);
        let other = expert([-1000, 30, 0, 0], [0, -500, 0, 0]);
        let all = [&same, &same, &same, &other];
        let scored = consensus(&all, &[0; 4], &RULE);
        assert_eq!(scored.per_member[3], Some(0));
        assert!(scored.per_member[0].expect("scored") > UNIT as u32);
    }

    #[test]
    fn few_tokens_and_empty_sketches_are_not_scored() {
        let full = expert([1000, 0, 0, 0], [0, 500, 0, 0]);
        let rare = ExpertSketch { tokens: 4, ..full.clone() };
        let still = expert([1000, 0, 0, 0], [0; 4]);
        let scored = consensus(&[&full, &rare, &still, &full], &[0; 4], &RULE);
        assert_eq!(scored.per_member[1], None);
        assert_eq!(scored.per_member[2], None);
        assert!(scored.per_member[0].is_some());
    }

    /// ALIGN-03
    #[test]
    fn the_common_direction_is_the_mean_of_those_with_tokens() {
        let a = expert([10, -3, 0, 0], [1; 4]);
        let b = expert([20, -4, 0, 0], [1; 4]);
        let rare = ExpertSketch { tokens: 0, ..expert([999; 4], [1; 4]) };
        assert_eq!(common_direction([&a, &b, &rare].into_iter(), &RULE, 4), [15, -4, 0, 0]);
    }

    proptest! {
        /// ALIGN-02
        #[test]
        fn agreements_are_cosines(one in prop::collection::vec(-8192i16..8192, 16), two in prop::collection::vec(-8192i16..8192, 16)) {
            let float = |v: &[i16]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let (a, b) = (float(&one), float(&two));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let exact = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            let unit_of = |v: &[i16]| unit(v.iter().map(|x| i64::from(*x)).collect::<Vec<_>>().into_iter());
            if let (Some(a), Some(b)) = (unit_of(&one), unit_of(&two)) {
                let got = agreement(&a, &b) as f64 / UNIT as f64;
                prop_assert!((got - exact).abs() < 0.01, "{} against {}", got, exact);
            }
        }

        #[test]
        fn extremes_do_not_overflow(value in prop::sample::select(vec![i16::MIN, i16::MAX, 1, -1])) {
            let extreme = ExpertSketch::projections(vec![value; 128], vec![value; 128], u32::MAX);
            let all: Vec<&ExpertSketch> = std::iter::repeat_n(&extreme, 300).collect();
            let scored = consensus(&all, &vec![0; 128], &RULE);
            prop_assert!(scored.per_member.iter().all(Option::is_some));
        }
    }
}
