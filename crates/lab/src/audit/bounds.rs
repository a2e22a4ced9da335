//! Lower bounds on ε from guesses: with the stated probability, no mechanism with a smaller ε lets anybody
//! guess as well.

use libm::{erfc, lgamma};

/// Halvings of an interval: more than the 53 binary digits of a 64-bit float's mantissa.
const HALVINGS: usize = 60;
/// Where the search for ε ends. Refuting ε takes about `e^ε` canaries, so no audit reaches it.
const LARGEST_EPSILON: f64 = 50.0;

/// Guesses that canaries were included. For the other canaries the attacker abstains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guesses {
    /// Canaries, each included with probability ½.
    pub canaries: u64,
    /// How many canaries were guessed to be included.
    pub guesses: u64,
    /// How many of the guesses are right.
    pub correct: u64,
}

impl Guesses {
    /// The largest ε that these guesses refute at `delta`, with an error probability of `significance`.
    ///
    /// Assumes nothing of the mechanism, and covers canaries that pass through it together. Source: Steinke, Nasr and
    /// Jagielski, "Privacy Auditing with One (1) Training Run" (2023), theorem 5.2, with guesses of one kind alone.
    pub fn epsilon(self, delta: f64, significance: f64) -> f64 {
        largest(LARGEST_EPSILON, |epsilon| self.likelihood(epsilon, delta) <= significance)
    }

    /// The largest probability, under (ε, δ), of at least as many right guesses.
    fn likelihood(self, epsilon: f64, delta: f64) -> f64 {
        // Without δ each guess is right with a probability of at most `e^ε/(1 + e^ε)`, whatever the others
        // are.
        let tails = Binomial { trials: self.guesses, probability: 1.0 / (1.0 + (-epsilon).exp()) }.tails();
        let correct = self.correct as usize;
        let slopes = (1..=correct).map(|fewer| (tails[correct - fewer] - tails[correct]) / fewer as f64);
        // δ may give away a canary outright, but that costs it once for each canary: the factor is all
        // canaries, also those that were not guessed.
        tails[correct] + 2.0 * self.canaries as f64 * delta * slopes.fold(0.0, f64::max)
    }
}

/// Decisions about independent canaries by a threshold that was fixed before their scores were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decisions {
    /// Canaries that were left out.
    pub outside: u64,
    /// Those of them that were taken for included.
    pub false_positives: u64,
    /// Canaries that were included.
    pub inside: u64,
    /// Those of them that were taken for left out.
    pub false_negatives: u64,
}

impl Decisions {
    /// The largest `mu` for which these decisions refute `mu`-Gaussian differential privacy: both error rates are
    /// taken at their upper Clopper–Pearson limits. 0 where the decisions refute nothing.
    ///
    /// Source: Nasr et al., "Tight Auditing of Differentially Private Machine Learning" (2023), section 4.
    pub fn separation(self, significance: f64) -> f64 {
        // Two limits have to hold together, so each may err with half of the probability.
        let positive = upper_limit(self.false_positives, self.outside, significance / 2.0);
        let negative = upper_limit(self.false_negatives, self.inside, significance / 2.0);
        (normal_quantile(1.0 - positive) - normal_quantile(negative)).max(0.0)
    }

    /// ε of [`Self::separation`] at `delta`. It is a bound for mechanisms that are as private as Gaussian noise of one
    /// size, as every claim here says.
    pub fn epsilon(self, delta: f64, significance: f64) -> f64 {
        gaussian_epsilon(self.separation(significance), delta)
    }
}

/// ε at `delta` of `mu`-Gaussian differential privacy (Dong, Roth and Su 2019, corollary 2.13).
pub fn gaussian_epsilon(mu: f64, delta: f64) -> f64 {
    if mu <= 0.0 {
        return 0.0;
    }
    largest(LARGEST_EPSILON, |epsilon| {
        let (near, far) = (epsilon / mu - mu / 2.0, epsilon / mu + mu / 2.0);
        above(near) - epsilon.exp() * above(far) > delta
    })
}

/// The largest probability of an event at which `count` or fewer in `trials` still happen with a probability
/// of at least `significance` (Clopper and Pearson 1934).
pub fn upper_limit(count: u64, trials: u64, significance: f64) -> f64 {
    if count >= trials {
        return 1.0;
    }
    largest(1.0, |probability| {
        1.0 - Binomial { trials, probability }.tails()[count as usize + 1] >= significance
    })
}

/// The largest point between 0 and `high` at which a condition holds; 0 if it holds nowhere. The condition
/// must be monotone: once it fails it fails from there on.
fn largest(high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, high);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

/// A product in which 0 times the logarithm of 0 is 0.
fn times(count: f64, logarithm: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * logarithm }
}

struct Binomial {
    trials: u64,
    probability: f64,
}

impl Binomial {
    /// For each count from 0 to one more than the trials, the probability of that count or more.
    fn tails(&self) -> Vec<f64> {
        let mut tails = vec![0.0; self.trials as usize + 2];
        // From the far end, so that the smallest masses are added first: the upper tail is what decides.
        for count in (0..=self.trials as usize).rev() {
            tails[count] = (tails[count + 1] + self.mass(count as f64)).min(1.0);
        }
        tails
    }

    /// The probability of exactly this count. It is computed by logarithms, because binomial coefficients
    /// overflow.
    fn mass(&self, count: f64) -> f64 {
        let trials = self.trials as f64;
        let (hit, miss) = (self.probability.ln(), (-self.probability).ln_1p());
        let ways = lgamma(trials + 1.0) - lgamma(count + 1.0) - lgamma(trials - count + 1.0);
        (ways + times(count, hit) + times(trials - count, miss)).exp()
    }
}

/// The probability that a standard normal number is above `x`.
pub(super) fn above(x: f64) -> f64 {
    0.5 * erfc(x / std::f64::consts::SQRT_2)
}

/// The point below which a standard normal number lies with this probability.
fn normal_quantile(probability: f64) -> f64 {
    // `erfc` is 0 in 64 bits beyond 39 standard deviations.
    const REACH: f64 = 40.0;
    largest(2.0 * REACH, |x| above(REACH - x) < probability) - REACH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) -> bool {
        (got - expected).abs() < 1e-4
    }

    /// Values of PyPI `jax-privacy` 2.0.0 (`_epsilon_one_run`) and SciPy 1.17.1.
    #[test]
    fn bounds_are_those_of_others_programs() {
        let one_run = Guesses { canaries: 2000, guesses: 100, correct: 97 };
        assert!(near(one_run.epsilon(1e-5, 0.05), 2.482_278), "{}", one_run.epsilon(1e-5, 0.05));
        assert!(near(upper_limit(3, 1000, 0.025), 0.008_742), "{}", upper_limit(3, 1000, 0.025));
        let decisions = Decisions { outside: 1000, false_positives: 200, inside: 1000, false_negatives: 150 };
        assert!(near(decisions.separation(0.05), 1.691_363), "{}", decisions.separation(0.05));
        assert!(near(gaussian_epsilon(1.0, 1e-5), 4.377_178), "{}", gaussian_epsilon(1.0, 1e-5));
    }

    #[test]
    fn what_chance_explains_refutes_nothing() {
        let chance = Guesses { canaries: 2000, guesses: 100, correct: 52 };
        assert!(chance.epsilon(1e-5, 0.05) < 1e-9);
        let decisions = Decisions { outside: 1000, false_positives: 500, inside: 1000, false_negatives: 495 };
        assert_eq!((decisions.separation(0.05), decisions.epsilon(1e-5, 0.05)), (0.0, 0.0));
        assert_eq!(upper_limit(10, 10, 0.05), 1.0);
    }

    #[test]
    fn all_right_guesses_bound_by_their_number_alone() {
        // p^r = significance at the bound, without δ.
        let all = Guesses { canaries: 1000, guesses: 60, correct: 60 };
        let p = 0.05f64.powf(1.0 / 60.0);
        assert!(near(all.epsilon(0.0, 0.05), (p / (1.0 - p)).ln()));
    }
}
