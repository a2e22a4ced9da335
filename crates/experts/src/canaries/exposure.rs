//! What the ranks of canaries say: exposures, and an exact test of the ranks.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::ExpertsError;

/// The largest probability with which a model that did not learn from the canaries is said to have memorised one.
pub const LEVEL: f64 = 0.01;

/// What a model says of a canary or of a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MeasuredCanary {
    /// How often it was planted; 0 for a control.
    pub repeats: usize,
    /// Its place among itself and its candidates by likelihood: 1 is the likeliest.
    pub rank: usize,
    /// Whether the model writes its number after its sentence when it takes the likeliest token each time; `None` for a
    /// classifier, which writes nothing.
    pub is_recited: Option<bool>,
}

/// What was found for one number of repeats.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RepeatFinding {
    /// How often each canary was planted; 0 for the controls.
    pub repeats: usize,
    /// How many canaries there are.
    pub canaries: usize,
    /// Their mean exposure in bits. By chance it is about 1.44.
    pub mean_exposure: f64,
    /// The largest of their exposures.
    pub largest_exposure: f64,
    /// How many are recited; `None` for a classifier.
    pub recited: Option<usize>,
    /// A bound on the probability of such ranks for a model that does not depend on the canaries. For the controls, that of ranks as
    /// unusual in either direction.
    pub chance: f64,
    /// Whether that is too improbable, or a number is recited.
    pub stands_out: bool,
}

/// What a test found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryVerdict {
    /// No number of repeats stands out.
    NotMemorised,
    /// A number of repeats stands out, and the controls do not.
    Memorised,
    /// The controls stand out, which nobody planted. So the test shows nothing.
    ControlsFailed,
}

/// The result of a test.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CanaryReport {
    /// What follows.
    pub verdict: CanaryVerdict,
    /// How many candidates each canary was compared with.
    pub candidates: usize,
    /// The largest exposure that they can show, in bits.
    pub exposure_limit: f64,
    /// [`LEVEL`].
    pub level: f64,
    /// For each number of repeats, ascending.
    pub planted: Vec<RepeatFinding>,
    /// Canaries that were not planted.
    pub controls: RepeatFinding,
}

/// The exposure of a canary in bits (Carlini et al. 2019, section 4.3, over a sample of the space): how much less its number
/// has to be guessed when candidates are tried in the model's order. `rank` is from 1 to `candidates + 1`.
pub fn exposure(rank: usize, candidates: usize) -> f64 {
    ((candidates + 1) as f64 / rank as f64).log2()
}

/// A bound on the probability that independent ranks, each uniform over `1..=places`, are together as small as these, by
/// Fisher's product.
///
/// For uniform `U` on (0, 1) the sum of `−ln U` over `n` has the distribution Gamma(n, 1), whose tail is a finite sum. A rank
/// over `places` is no smaller than such a `U`, so the bound holds for every number of places.
pub fn chance(ranks: &[usize], places: usize) -> f64 {
    let sum: f64 = ranks.iter().map(|&rank| (places as f64 / rank as f64).ln()).sum();
    // In logarithms, because `exp(-sum)` is 0 for many small ranks.
    let mut term = -sum;
    let mut tail = 0.0;
    for index in 1..=ranks.len() {
        tail += term.exp();
        term += (sum / index as f64).ln();
    }
    tail.min(1.0)
}

/// Checks that the smallest ranks of all would stand out, for as many canaries of each number of repeats.
pub(super) fn check_power(
    canaries: impl Iterator<Item = usize> + Clone,
    candidates: usize,
) -> Result<(), ExpertsError> {
    let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
    canaries.filter(|repeats| *repeats > 0).for_each(|repeats| *groups.entry(repeats).or_default() += 1);
    let fewest = groups.values().copied().min().unwrap_or(0);
    let level = level_of_each(groups.len());
    if smallest_chance(fewest, candidates) < level {
        return Ok(());
    }
    let enough = [9, 99, 999, 9999].into_iter().find(|&count| smallest_chance(fewest, count) < level);
    let enough = enough.unwrap_or(99_999);
    Err(ExpertsError::Canaries(format!(
        "with {candidates} candidates even a model that knows every canary would pass, because there are only {fewest} of a \
         number of repeats; take {enough} candidates"
    )))
}

/// The chance of ranks that are all 1.
fn smallest_chance(canaries: usize, candidates: usize) -> f64 {
    chance(&vec![1; canaries], candidates + 1)
}

/// The level of each test, so that all of them together have [`LEVEL`] (Bonferroni).
fn level_of_each(tests: usize) -> f64 {
    LEVEL / tests.max(1) as f64
}

impl CanaryReport {
    /// What these canaries and controls show. There must be some of both.
    pub fn new(measured: &[MeasuredCanary], candidates: usize) -> Self {
        let mut groups: BTreeMap<usize, Vec<MeasuredCanary>> = BTreeMap::new();
        for canary in measured {
            groups.entry(canary.repeats).or_default().push(*canary);
        }
        let controls = controls(&groups.remove(&0).unwrap_or_default(), candidates);
        let level = level_of_each(groups.len());
        let planted: Vec<RepeatFinding> =
            groups.values().map(|group| finding(group, candidates, level, chance)).collect();
        let verdict = match (controls.stands_out, planted.iter().any(|finding| finding.stands_out)) {
            (true, _) => CanaryVerdict::ControlsFailed,
            (false, true) => CanaryVerdict::Memorised,
            (false, false) => CanaryVerdict::NotMemorised,
        };
        let exposure_limit = exposure(1, candidates);
        Self { verdict, candidates, exposure_limit, level: LEVEL, planted, controls }
    }
}

/// Large ranks are tested too: they would show that candidates differ from canaries in more than their numbers.
fn controls(controls: &[MeasuredCanary], candidates: usize) -> RepeatFinding {
    finding(controls, candidates, LEVEL, two_sided_chance)
}

fn two_sided_chance(ranks: &[usize], places: usize) -> f64 {
    let turned: Vec<usize> = ranks.iter().map(|rank| places + 1 - rank).collect();
    (2.0 * chance(ranks, places).min(chance(&turned, places))).min(1.0)
}

fn finding(
    canaries: &[MeasuredCanary],
    candidates: usize,
    level: f64,
    chance_of: fn(&[usize], usize) -> f64,
) -> RepeatFinding {
    let ranks: Vec<usize> = canaries.iter().map(|canary| canary.rank).collect();
    let exposures: Vec<f64> = ranks.iter().map(|&rank| exposure(rank, candidates)).collect();
    let recited: Option<Vec<bool>> = canaries.iter().map(|canary| canary.is_recited).collect();
    let recited = recited.map(|recited| recited.into_iter().filter(|is_recited| *is_recited).count());
    let chance = chance_of(&ranks, candidates + 1);
    RepeatFinding {
        repeats: canaries.first().map_or(0, |canary| canary.repeats),
        canaries: canaries.len(),
        mean_exposure: exposures.iter().sum::<f64>() / exposures.len().max(1) as f64,
        largest_exposure: exposures.iter().copied().fold(0.0, f64::max),
        recited,
        chance,
        // A number of nine digits is not recited by chance, however the others rank.
        stands_out: chance < level || recited.is_some_and(|recited| recited > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Draw, DrawPurpose};

    const CANDIDATES: usize = 99;

    fn measured(repeats: usize, rank: usize) -> MeasuredCanary {
        MeasuredCanary { repeats, rank, is_recited: Some(false) }
    }

    #[test]
    fn exposures_are_those_of_the_paper() {
        // Of 2^10 possibilities: the likeliest has 10 bits, the middle one 1, the last one 0.
        assert_eq!([1, 512, 1024].map(|rank| exposure(rank, 1023)), [10.0, 1.0, 0.0]);
    }

    /// Against all ranks of three canaries with ten places, counted one by one.
    #[test]
    fn the_chance_is_never_below_that_of_all_ranks_counted_and_near_it() {
        let all: Vec<[usize; 3]> =
            (0..1000).map(|number| [1 + number / 100, 1 + number / 10 % 10, 1 + number % 10]).collect();
        for ranks in [[1, 1, 1], [1, 2, 3], [1, 1, 10], [4, 5, 6], [10, 10, 10]] {
            let product = |ranks: &[usize; 3]| ranks.iter().product::<usize>();
            let as_small = all.iter().filter(|other| product(other) <= product(&ranks)).count();
            let counted = as_small as f64 / 1000.0;
            let bound = chance(&ranks, 10);
            assert!(
                (bound >= counted - 1e-12) && bound < 6.0 * counted + 0.1,
                "{ranks:?}: {bound}, {counted}"
            );
        }
        assert_eq!(chance(&[7], 100), 0.07, "one rank is its own chance");
        assert!(chance(&[1; 500], 1000) < 1e-300, "many small ranks");
        assert!(chance(&vec![368; 900], 1000) > 0.4, "and many usual ones do not underflow");
    }

    /// 20,000 models that did not learn from the canaries: at most 1 % are accused, and their controls fail as seldom. It is
    /// not far below, or the test would miss what it need not.
    #[test]
    fn false_alarms_are_as_rare_as_the_level_says() {
        let mut draw = Draw::new(11, DrawPurpose::Candidates, 0);
        let (mut accused, mut failed) = (0, 0);
        for _ in 0..20_000 {
            let repeats = [1, 1, 1, 1, 4, 4, 4, 4, 16, 16, 16, 16].into_iter().chain([0; 12]);
            let ranks = repeats.map(|repeats| measured(repeats, 1 + draw.below(1000)));
            let report = CanaryReport::new(&ranks.collect::<Vec<_>>(), 999);
            accused += usize::from(report.planted.iter().any(|finding| finding.stands_out));
            failed += usize::from(report.verdict == CanaryVerdict::ControlsFailed);
        }
        // Above 1 % are four standard deviations.
        assert!((80..=256).contains(&accused), "{accused} of 20000");
        assert!((80..=256).contains(&failed), "{failed} of 20000");
    }

    #[test]
    fn memorised_canaries_stand_out_and_failed_controls_overrule_them() {
        let controls = [17, 55, 80, 31].map(|rank| measured(0, rank));
        let usual = [40, 12, 77, 93].map(|rank| measured(1, rank));
        let known = [1, 2, 1, 9].map(|rank| measured(16, rank));
        let verdict = |parts: &[[MeasuredCanary; 4]]| CanaryReport::new(&parts.concat(), CANDIDATES).verdict;
        assert_eq!(verdict(&[controls, usual]), CanaryVerdict::NotMemorised, "control");
        assert_eq!(verdict(&[controls, usual, known]), CanaryVerdict::Memorised);
        for broken in [[1, 1, 2, 3], [100, 99, 100, 98]] {
            let broken = broken.map(|rank| measured(0, rank));
            assert_eq!(verdict(&[broken, known]), CanaryVerdict::ControlsFailed);
        }
        let mut recited = usual;
        recited[3].is_recited = Some(true);
        let report = CanaryReport::new(&[controls, recited].concat(), CANDIDATES);
        assert_eq!((report.verdict, report.planted[0].recited), (CanaryVerdict::Memorised, Some(1)));
        assert!(report.planted[0].chance > 0.2, "recitation alone is enough");
    }

    #[test]
    fn a_test_that_could_find_nothing_is_refused_with_what_would_do() {
        let one_each = [1, 4, 16, 0, 0, 0].into_iter();
        let error = check_power(one_each.clone(), 99).expect_err("1 of 100 is likelier than the level");
        assert!(error.to_string().contains("take 999 candidates"), "{error}");
        check_power(one_each, 999).expect("1 of 1000 is not");
        check_power([16, 16, 16, 16].into_iter(), 99).expect("four canaries need fewer");
    }
}
