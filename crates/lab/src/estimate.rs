//! Intervals of accuracies: over seeds, over measured texts, and of paired differences.

use std::f64::consts::PI;
use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// The normal distribution's quantile of 97.5 %.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// Resamples of a bootstrap interval.
pub const RESAMPLES: usize = 10_000;

/// The seed of every bootstrap, so that the same results give the same intervals.
const BOOTSTRAP_SEED: u64 = 1;

/// A 95 % interval of a share, or of a difference of shares.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ShareInterval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl ShareInterval {
    /// How wide it is.
    pub fn width(self) -> f64 {
        self.high - self.low
    }
}

/// An accuracy over seeds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct AccuracyEstimate {
    /// How many seeds there are.
    pub seeds: usize,
    /// The mean over seeds, from 0 to 1.
    pub mean: f64,
    /// The standard deviation over seeds, with n − 1; 0 for one seed.
    pub std: f64,
    /// Student's interval of the mean over seeds. None for one seed.
    pub over_seeds: Option<ShareInterval>,
    /// The least number of texts that a seed was measured on; none in results from before it was recorded.
    pub measured_on: Option<usize>,
    /// Wilson's interval of the mean for so many texts: what the test set alone leaves open. Seeds that are measured
    /// on one test file share it, so that more seeds do not make it narrower.
    pub over_texts: Option<ShareInterval>,
}

impl AccuracyEstimate {
    /// The estimate of one accuracy a seed, each measured on at least `measured_on` texts.
    pub fn new(accuracies: &[f64], measured_on: Option<usize>) -> Self {
        let mean = mean(accuracies);
        let std = deviation(accuracies);
        let over_texts = measured_on.filter(|texts| *texts > 0).map(|texts| wilson(mean, texts));
        let over_seeds = student(accuracies);
        Self { seeds: accuracies.len(), mean, std, over_seeds, measured_on, over_texts }
    }

    /// The wider of both intervals, for plots; none where there is neither.
    pub fn widest(&self) -> Option<ShareInterval> {
        match (self.over_seeds, self.over_texts) {
            (Some(seeds), Some(texts)) => Some(if seeds.width() >= texts.width() { seeds } else { texts }),
            (seeds, texts) => seeds.or(texts),
        }
    }
}

impl fmt::Display for AccuracyEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} %", 100.0 * self.mean)?;
        match self.seeds {
            1 => write!(f, ", one seed")?,
            // One seed has no deviation, and seeds may agree on a fixed test file: the interval over texts is shown as well.
            seeds => write!(f, " ± {:.2} over {seeds} seeds", 100.0 * self.std)?,
        }
        if let (Some(ShareInterval { low, high }), Some(texts)) = (self.over_texts, self.measured_on) {
            write!(
                f,
                "; 95 % interval of the {texts} measured texts: {:.2} to {:.2} %",
                100.0 * low,
                100.0 * high
            )?;
        }
        Ok(())
    }
}

/// The mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation, with n − 1; 0 of fewer than two values.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

/// Student's 95 % interval of the mean; `None` of fewer than two values.
pub fn student(values: &[f64]) -> Option<ShareInterval> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let reach = student_quantile(freedom) * deviation(values) / (values.len() as f64).sqrt();
    let mean = mean(values);
    Some(ShareInterval { low: mean - reach, high: mean + reach })
}

/// The quantile of 97.5 % of Student's distribution with so many degrees of freedom, at least 1.
fn student_quantile(freedom: usize) -> f64 {
    // With one degree of freedom it is 12.7, and with more it is less.
    let (mut low, mut high) = (0.0, 16.0);
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if student_within(middle, freedom) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability that Student's variable lies between −`reach` and `reach`: the finite series for a whole number of
/// degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
fn student_within(reach: f64, freedom: usize) -> f64 {
    let angle = (reach / (freedom as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = !freedom.is_multiple_of(2);
    // The series' factors are 2/3, 4/5, … of odd degrees, and 1/2, 3/4, … of even ones.
    let (mut term, mut factor) = if is_odd { (cosine, 2.0) } else { (1.0, 1.0) };
    let mut sum = 0.0;
    for _ in 0..freedom / 2 {
        sum += term;
        term *= cosine * cosine * factor / (factor + 1.0);
        factor += 2.0;
    }
    if is_odd { 2.0 / PI * (angle + sine * sum) } else { sine * sum }
}

/// Wilson's 95 % interval of a share that was measured on so many texts, at least 1.
pub fn wilson(share: f64, texts: usize) -> ShareInterval {
    let (texts, squared) = (texts as f64, NORMAL_QUANTILE * NORMAL_QUANTILE);
    let scale = 1.0 + squared / texts;
    let centre = (share + squared / (2.0 * texts)) / scale;
    let spread = share * (1.0 - share) / texts + squared / (4.0 * texts * texts);
    let reach = NORMAL_QUANTILE * spread.max(0.0).sqrt() / scale;
    ShareInterval { low: (centre - reach).max(0.0), high: (centre + reach).min(1.0) }
}

/// The 95 % percentile bootstrap interval of the mean over [`RESAMPLES`] resamples; `None` of fewer than two values.
pub fn bootstrap(values: &[f64]) -> Option<ShareInterval> {
    if values.len() < 2 {
        return None;
    }
    let mut random = ChaCha20Rng::seed_from_u64(BOOTSTRAP_SEED);
    let mut means = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let mut sum = 0.0;
        for _ in 0..values.len() {
            // The upper half of a product of 64-bit numbers: its bias is far below what resamples can show.
            let at = (u128::from(random.next_u64()) * values.len() as u128) >> 64;
            sum += values[at as usize];
        }
        means.push(sum / values.len() as f64);
    }
    means.sort_by(f64::total_cmp);
    Some(ShareInterval { low: percentile(&means, 0.025), high: percentile(&means, 0.975) })
}

/// A percentile of ascending values, between two of them by a straight line.
fn percentile(ascending: &[f64], share: f64) -> f64 {
    let place = share * (ascending.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(ascending.len() - 1);
    ascending[below] + part * (ascending[above] - ascending[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(found: ShareInterval, low: f64, high: f64, tolerance: f64) -> bool {
        (found.low - low).abs() < tolerance && (found.high - high).abs() < tolerance
    }

    /// statsmodels 0.15.0: `proportion_confint(count, nobs, 0.05, "wilson")`.
    #[test]
    fn wilson_is_that_of_statsmodels() {
        for (right, texts, low, high) in [
            (0.0, 10, 0.0, 0.277_532_799_862_889),
            (10.0, 10, 0.722_467_200_137_111, 1.0),
            (7.0, 10, 0.396_778_147_461_145, 0.892_208_732_593_699),
            (1.0, 3, 0.061_491_944_720_396, 0.792_340_399_197_952),
            (415.0, 600, 0.653_593_469_009_430, 0.727_301_212_268_652),
            (6931.0, 7600, 0.905_393_774_961_480, 0.918_137_335_453_228),
            // A mean over seeds or members need not be a whole number of texts.
            (0.8123 * 400.0, 400, 0.771_130_459_154_807, 0.847_528_161_803_992),
        ] {
            let found = wilson(right / f64::from(texts), texts as usize);
            assert!(is_near(found, low, high, 1e-12), "{right} {texts} {found:?}");
        }
    }

    /// SciPy 1.17.1: `stats.t.ppf(0.975, freedom)`, and `stats.t.interval(0.95, 4, mean, stats.sem(values))`.
    #[test]
    fn student_is_that_of_scipy() {
        for (freedom, expected) in [
            (1, 12.706_204_736_174_69),
            (2, 4.302_652_729_749_46),
            (3, 3.182_446_305_283_71),
            (4, 2.776_445_105_197_79),
            (9, 2.262_157_162_798_20),
            (29, 2.045_229_642_132_70),
            (100, 1.983_971_518_523_55),
            (1000, 1.962_339_080_826_41),
        ] {
            let found = student_quantile(freedom);
            assert!((found - expected).abs() < 1e-9, "{freedom}: {found}");
        }
        let values = [0.71, 0.74, 0.735, 0.69, 0.72];
        let found = student(&values).expect("five seeds");
        assert!(is_near(found, 0.694_011_994_053_220, 0.743_988_005_946_780, 1e-12), "{found:?}");
        assert!((deviation(&values) - 0.020_124_611_797_498).abs() < 1e-12);
        assert_eq!(student(&values[..1]), None);
    }

    /// SciPy 1.17.1: `stats.bootstrap((values,), np.mean, method="percentile")` with 1,000,000 resamples of five values
    /// and 2,000,000 of ten. NumPy's percentiles of all 3125 resamples of the five are the same to four digits.
    #[test]
    fn the_bootstrap_is_that_of_scipy_within_the_error_of_its_resamples() {
        let five = [0.012, -0.004, 0.021, 0.008, 0.015];
        let found = bootstrap(&five).expect("five values");
        assert!(is_near(found, 0.0024, 0.0172, 5e-4), "{found:?}");
        let ten = [0.0312, 0.0105, 0.0187, -0.0051, 0.0229, 0.0140, 0.0008, 0.0266, 0.0113, 0.0179];
        let found = bootstrap(&ten).expect("ten values");
        assert!(is_near(found, 0.008_17, 0.021_24, 3e-4), "{found:?}");
        assert_eq!(bootstrap(&ten), Some(found), "the seed is fixed");
        assert_eq!(bootstrap(&five[..1]), None);
    }

    #[test]
    fn seeds_that_answer_alike_leave_the_interval_of_the_texts() {
        let estimate = AccuracyEstimate::new(&[0.7, 0.7, 0.7], Some(10));
        let over_seeds = estimate.over_seeds.expect("three seeds");
        assert!(estimate.std < 1e-12 && over_seeds.width() < 1e-12);
        let widest = estimate.widest().expect("an interval");
        assert!(is_near(widest, 0.396_778_147_461_145, 0.892_208_732_593_699, 1e-9), "{widest:?}");
        assert_eq!(AccuracyEstimate::new(&[0.7], None).widest(), None);
    }
}
