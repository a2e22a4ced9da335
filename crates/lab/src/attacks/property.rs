//! Property inference: what mix of classes (of patients' cases) does the member have?
//!
//! The attacker trains on mixes of its own, learns a linear map from its observations to the shares of
//! classes, and applies it to others (Ganju et al. 2018, with a linear model in place of their network).

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::announced::{Reference, TrainedExperts};
use super::ridge::Ridge;
use super::view::{Observer, Sent, View, Whose};
use super::world::AttackedData;
use crate::error::LabError;

/// How well property inference works.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ClassMix {
    /// Share of the variance of class shares that is explained. Guessing the mean of all members explains 0;
    /// worse guesses are below 0.
    pub explained: f64,
    /// Mean absolute error of a class's share.
    pub error: f64,
    /// The same if the mean of all members is guessed: the baseline, without looking.
    pub error_of_mean: f64,
}

/// The number of the first of these trainings, far above those of other attacks: the number seeds a training.
const FIRST_NUMBER: u64 = 2_000_000;

/// Members that each have a mix of classes.
pub(crate) struct Mixes {
    shares: Vec<Vec<f64>>,
    sent: Vec<Sent>,
}

impl Mixes {
    /// Trains `members` on `texts` texts each, drawn from `pool` with shares of classes that are uniform over all mixes
    /// (a flat Dirichlet distribution).
    pub(crate) fn run(
        world: &AttackedData,
        pool: &[usize],
        (members, texts): (usize, usize),
        seed: u64,
    ) -> Result<Self, LabError> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let (mut shares, mut sent) = (Vec::new(), Vec::new());
        for member in 0..members {
            let drawn = draw(world, pool, texts, &mut random);
            let mut counts = vec![0.0; world.classes.len()];
            drawn.iter().for_each(|&note| counts[world.labels[note]] += 1.0);
            shares.push(counts.into_iter().map(|count| count / texts as f64).collect());
            sent.push(world.send(&drawn, FIRST_NUMBER + member as u64)?);
        }
        Ok(Self { shares, sent })
    }

    /// What corrupt members publish, so that scores show the mix of classes: it follows from the attacker's own half.
    pub(crate) fn steered(&self) -> Reference {
        let half = self.sent.len() / 2;
        let experts: Vec<TrainedExperts> =
            self.sent[..half].iter().map(|sent| sent.experts.clone()).collect();
        Reference::steered(&experts, &self.shares[..half])
    }

    /// Learns from the first half of the members, and guesses the mixes of the others.
    pub(crate) fn attack(&self, observer: &Observer<'_>, view: View) -> Result<ClassMix, LabError> {
        let half = self.sent.len() / 2;
        let known = observer.observe(view, &self.sent[..half], Whose::Attackers);
        let seen = observer.observe(view, &self.sent[half..], Whose::Members);
        let ridge = Ridge::fit(&known, &self.shares[..half])?;
        let classes = self.shares[0].len();
        // The baseline, too, knows the first half alone: with the mean of the attacked members it would be
        // better than any attacker's.
        let mut means = vec![0.0; classes];
        for (class, mean) in means.iter_mut().enumerate() {
            *mean = self.shares[..half].iter().map(|shares| shares[class]).sum::<f64>() / half as f64;
        }
        let mut errors = Errors::default();
        for (observed, truth) in seen.iter().zip(&self.shares[half..]) {
            for (class, guess) in ridge.predict(observed).into_iter().enumerate() {
                errors.add(truth[class], guess, means[class]);
            }
        }
        Ok(errors.result())
    }
}

/// Texts with classes by uniform shares.
fn draw(world: &AttackedData, pool: &[usize], texts: usize, random: &mut ChaCha20Rng) -> Vec<usize> {
    // Exponential draws, divided by their sum, are uniform over all mixes: a flat Dirichlet distribution.
    let weights: Vec<f64> = world.classes.iter().map(|_| -uniform(random).ln()).collect();
    let total: f64 = weights.iter().sum();
    let mut drawn = Vec::with_capacity(texts);
    for _ in 0..texts {
        let mut left = uniform(random) * total;
        let class = weights.iter().position(|weight| {
            left -= weight;
            left <= 0.0
        });
        let class_texts: Vec<usize> =
            pool.iter().copied().filter(|&note| Some(world.labels[note]) == class).collect();
        // A class without texts in the pool is replaced by any text, and so is a draw that rounding left
        // without a class.
        let from = if class_texts.is_empty() { pool } else { class_texts.as_slice() };
        drawn.push(from[(random.next_u64() % from.len() as u64) as usize]);
    }
    drawn
}

/// Strictly between 0 and 1, because its logarithm is taken.
fn uniform(random: &mut ChaCha20Rng) -> f64 {
    (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0
}

#[derive(Default)]
struct Errors {
    count: f64,
    absolute: f64,
    absolute_of_mean: f64,
    squares: f64,
    squares_of_mean: f64,
}

impl Errors {
    fn add(&mut self, truth: f64, guess: f64, mean: f64) {
        self.count += 1.0;
        self.absolute += (truth - guess).abs();
        self.absolute_of_mean += (truth - mean).abs();
        self.squares += (truth - guess).powi(2);
        self.squares_of_mean += (truth - mean).powi(2);
    }

    fn result(&self) -> ClassMix {
        ClassMix {
            explained: 1.0 - self.squares / self.squares_of_mean,
            error: self.absolute / self.count,
            error_of_mean: self.absolute_of_mean / self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_explains_nothing_and_the_truth_everything() {
        let (mut mean, mut truth) = (Errors::default(), Errors::default());
        for share in [0.1, 0.3, 0.8] {
            mean.add(share, 0.4, 0.4);
            truth.add(share, share, 0.4);
        }
        assert_eq!(
            (mean.result().explained, truth.result().explained, truth.result().error),
            (0.0, 1.0, 0.0)
        );
    }
}
