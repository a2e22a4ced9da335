//! Tests of the noise itself, by an auditor that knows the values before noise: whether it is reused, and
//! whether it is large enough. Neither needs an ε: reused noise protects nothing, because it cancels in the
//! difference of two releases.

/// Noise of the same coordinates in one pair of releases after another.
///
/// Noise is symmetric around 0, and none of its values has a probability above ½. So whatever the earlier
/// noise was, fresh noise equals it in a coordinate with a probability of at most ½, and if neither is 0,
/// their signs agree with probability ½.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Comparison {
    /// Pairs of coordinates.
    pairs: u64,
    /// Those with the same value.
    equal: u64,
    /// Those with the same sign.
    alike: u64,
    /// Those with opposite signs.
    opposite: u64,
}

impl Comparison {
    /// Each release with the next one.
    pub(crate) fn from_successive(noise: &[Vec<i64>]) -> Self {
        let mut comparison = Self::default();
        noise.windows(2).for_each(|pair| comparison.add(&pair[0], &pair[1]));
        comparison
    }

    /// Counts one more pair of releases.
    pub(crate) fn add(&mut self, one: &[i64], other: &[i64]) {
        for (one, other) in one.iter().zip(other) {
            self.pairs += 1;
            self.equal += u64::from(one == other);
            self.alike += u64::from(one.signum() * other.signum() == 1);
            self.opposite += u64::from(one.signum() * other.signum() == -1);
        }
    }

    /// Whether fresh noise would look like this with a probability of at most `significance`.
    fn repeats(self, significance: f64) -> bool {
        let signed = self.alike + self.opposite;
        // Opposite signs too: noise that is reused with its sign turned cancels in a sum.
        let tails = [(self.pairs, self.equal), (signed, self.alike), (signed, self.opposite)];
        tails.iter().any(|&(trials, count)| at_least(trials, count) <= significance / tails.len() as f64)
    }
}

/// Coordinates whose noise is the same in every one of some releases.
///
/// No value of the noise of audited releases has a probability above ¼, where counts and sketches are cut included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Constant {
    releases: u32,
    coordinates: u64,
    constant: u64,
}

impl Constant {
    /// Counts constant coordinates of these releases, of which there must be at least one.
    pub(crate) fn in_releases(noise: &[Vec<i64>]) -> Self {
        let first = &noise[0];
        let mut constant = 0;
        for (at, value) in first.iter().enumerate() {
            constant += u64::from(noise.iter().all(|release| release[at] == *value));
        }
        Self { releases: noise.len() as u32, coordinates: first.len() as u64, constant }
    }

    /// Whether there is one, and fresh noise would have one with a probability of at most `significance`.
    fn repeats(self, significance: f64) -> bool {
        // The first release fixes the value; each later one repeats it with a probability of at most ¼. The
        // union bound over coordinates needs no independence between them.
        let by_chance = self.coordinates as f64 * 0.25f64.powi(self.releases as i32 - 1);
        self.constant > 0 && by_chance <= significance
    }
}

/// The sum of the squares of noise over its claimed variance: about one for each coordinate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Squares {
    coordinates: f64,
    sum: f64,
}

impl Squares {
    /// Of noise whose standard deviation is said to be `deviation`.
    pub(crate) fn over_variance(noise: &[f64], deviation: f64) -> Self {
        let sum = noise.iter().map(|value| (value / deviation).powi(2)).sum();
        Self { coordinates: noise.len() as f64, sum }
    }

    /// Whether Gaussian noise of the claimed deviation would have so small a sum with a probability of at
    /// most `significance` (Laurent and Massart 2000, lemma 1: the lower tail of a chi-squared sum).
    fn are_small(self, significance: f64) -> bool {
        self.sum < self.coordinates - 2.0 * (self.coordinates * -significance.ln()).sqrt()
    }
}

/// How often bits agree with their likelier sign.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct BitAgreement {
    bits: f64,
    agreed: f64,
    /// The sum of the probabilities of agreement, under the claimed noise.
    expected: f64,
}

impl BitAgreement {
    /// Counts one bit, which is plus with the probability `plus` if the noise is as claimed.
    pub(crate) fn add(&mut self, is_plus: bool, plus: f64) {
        self.bits += 1.0;
        self.agreed += f64::from(u8::from(is_plus == (plus >= 0.5)));
        self.expected += plus.max(1.0 - plus);
    }

    /// Whether noise of the claimed size would leave so many bits as they were with a probability of at most
    /// `significance` (Hoeffding 1963, theorem 2).
    fn is_large(self, significance: f64) -> bool {
        self.agreed > self.expected + (self.bits * -significance.ln() / 2.0).sqrt()
    }
}

/// All tests of the noise of one kind of release.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct NoiseSeen {
    /// The same member in successive rounds, and two members in the same round.
    pub(crate) comparisons: Vec<Comparison>,
    /// The same member over all rounds.
    pub(crate) constants: Vec<Constant>,
    /// Sizes of noise that is not cut. Noise cut at the end of its integers is smaller than claimed, and that
    /// is no fault.
    pub(crate) squares: Vec<Squares>,
    /// Agreements of bits, of which the noise itself is not seen.
    pub(crate) agreements: Vec<BitAgreement>,
}

impl NoiseSeen {
    /// Whether noise is reused, and whether it is too small. Honest noise is accused of either with a
    /// probability of at most
    /// `significance` in all.
    pub(crate) fn judge(&self, significance: f64) -> (bool, bool) {
        let sizes = self.squares.len() + self.agreements.len();
        let tests = self.comparisons.len() + self.constants.len() + sizes;
        // Bonferroni again, over the tests of this kind of release.
        let each = significance / tests.max(1) as f64;
        let repeats = self.comparisons.iter().any(|comparison| comparison.repeats(each))
            || self.constants.iter().any(|constant| constant.repeats(each));
        let small = self.squares.iter().any(|squares| squares.are_small(each))
            || self.agreements.iter().any(|agreement| agreement.is_large(each));
        (repeats, small)
    }
}

/// A bound on the probability that `count` or more of so many events happen, if each has a probability of at
/// most ½ given the earlier ones (Chernoff 1952).
fn at_least(trials: u64, count: u64) -> f64 {
    if 2 * count <= trials {
        return 1.0;
    }
    let share = count as f64 / trials as f64;
    (-(trials as f64) * (divergence_part(share) + divergence_part(1.0 - share))).exp()
}

/// A share's part of the divergence from a fair coin, in which 0 times the logarithm of 0 is 0.
fn divergence_part(share: f64) -> f64 {
    if share == 0.0 { 0.0 } else { share * (2.0 * share).ln() }
}

#[cfg(test)]
mod tests {
    use cloister_privacy::discrete_gaussian::sample;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const SIGNIFICANCE: f64 = 1e-4;

    fn noise(releases: usize, coordinates: usize, sigma: u32) -> Vec<Vec<i64>> {
        let mut random = ChaCha20Rng::seed_from_u64(8);
        let mut release = |_| (0..coordinates).map(|_| sample(sigma, &mut random)).collect();
        (0..releases).map(&mut release).collect()
    }

    fn repeats(noise: &[Vec<i64>]) -> bool {
        Comparison::from_successive(noise).repeats(SIGNIFICANCE)
    }

    #[test]
    fn noise_that_comes_again_is_seen_and_fresh_noise_is_not() {
        for sigma in [1, 4, 1000] {
            let fresh = noise(16, 200, sigma);
            assert!(!repeats(&fresh), "fresh noise of {sigma}");
            let shared = |share: usize| -> Vec<Vec<i64>> {
                let mut noise = fresh.clone();
                noise[1..].iter_mut().for_each(|next| next[..share].copy_from_slice(&fresh[0][..share]));
                noise
            };
            assert!(repeats(&shared(200)), "all of it, {sigma}");
            assert!(repeats(&shared(40)), "a fifth of it, {sigma}");
        }
        let turned: Vec<Vec<i64>> = (0..4)
            .map(|at| {
                noise(1, 60, 9)[0].iter().map(|value| if at % 2 == 0 { *value } else { -value }).collect()
            })
            .collect();
        assert!(repeats(&turned), "with its sign turned");
        assert!(repeats(&vec![vec![0; 3]; 16]), "no noise at all");
    }

    #[test]
    fn one_coordinate_without_noise_is_seen() {
        let mut noise = noise(20, 5000, 2);
        assert!(!Constant::in_releases(&noise).repeats(SIGNIFICANCE));
        noise.iter_mut().for_each(|release| release[4321] = 0);
        assert!(Constant::in_releases(&noise).repeats(SIGNIFICANCE));
        assert!(!Constant::in_releases(&noise[..4]).repeats(SIGNIFICANCE), "chance may do it four times");
    }

    #[test]
    fn smaller_noise_is_seen_and_noise_of_its_size_is_not() {
        let drawn: Vec<f64> = noise(1, 1000, 1000)[0].iter().map(|value| *value as f64).collect();
        assert!(!Squares::over_variance(&drawn, 1000.0).are_small(SIGNIFICANCE));
        assert!(
            !Squares::over_variance(&drawn, 500.0).are_small(SIGNIFICANCE),
            "more noise than is said is no fault"
        );
        assert!(Squares::over_variance(&drawn, 1200.0).are_small(SIGNIFICANCE));
    }

    #[test]
    fn bits_that_agree_too_often_are_seen_and_others_are_not() {
        let agreement = |agreed: usize| {
            let mut agreement = BitAgreement::default();
            (0..10_000).for_each(|at| agreement.add(at < agreed, 0.53));
            agreement
        };
        assert!(!agreement(5300).is_large(SIGNIFICANCE) && !agreement(5500).is_large(SIGNIFICANCE));
        assert!(agreement(5600).is_large(SIGNIFICANCE), "noise of half the size");
    }

    #[test]
    fn a_bound_on_a_tail_is_no_less_than_the_tail() {
        assert!((at_least(45, 45) / 0.5f64.powi(45) - 1.0).abs() < 1e-9);
        // 1 - (1 + 10 + 45 + 120 + 210 + 252 + 210 + 120)/2¹⁰
        assert!(at_least(10, 8) > 56.0 / 1024.0 && at_least(10, 8) < 0.2);
        assert_eq!((at_least(10, 5), at_least(0, 0)), (1.0, 1.0));
    }
}
