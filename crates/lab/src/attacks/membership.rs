//! Membership inference: was this text among those that the member trained on?
//!
//! The likelihood-ratio attack of Carlini et al., "Membership Inference Attacks From First Principles"
//! (2022). Half of the trainings are the attacker's own (shadows), and it knows which texts are in them. The
//! other half is attacked. A text's statistic is the observation projected on the update from training on
//! that text alone. From the shadows the attacker knows its distribution with the text and without it.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::ridge::dot;
use super::roc::Roc;
use super::view::{Observer, Sent, View, Whose};
use super::world::AttackedData;
use crate::error::LabError;

/// How well membership inference works.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Membership {
    /// Area under the receiver operating characteristic; ½ is chance.
    pub auc: f64,
    /// Share of the members found at a false-positive rate of 1 %. An average over all texts would hide that
    /// a few can be named with certainty.
    pub tpr_at_1_percent: f64,
    /// Share of the members found at a false-positive rate of 0.1 %.
    pub tpr_at_01_percent: f64,
}

/// The number of the first of these trainings, far above those of trainings on single texts and batches: a
/// number seeds a training, and two with one seed would have the same noise.
const FIRST_NUMBER: u64 = 1_000_000;

/// Trainings, each on a random half of the candidates.
pub(crate) struct Trainings {
    /// For each training, which candidates are in it.
    included: Vec<Vec<bool>>,
    sent: Vec<Sent>,
    /// Training on each candidate alone.
    alone: Vec<Sent>,
}

impl Trainings {
    pub(crate) fn run(
        world: &AttackedData,
        candidates: &[usize],
        alone: &[Sent],
        count: usize,
        seed: u64,
    ) -> Result<Self, LabError> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut included = Vec::with_capacity(count);
        let mut sent = Vec::with_capacity(count);
        for training in 0..count {
            let coins: Vec<bool> = candidates.iter().map(|_| random.next_u32() & 1 == 1).collect();
            let chosen = candidates.iter().zip(&coins).filter(|(_, is_in)| **is_in);
            let texts: Vec<usize> = chosen.map(|(note, _)| *note).collect();
            sent.push(world.send(&texts, FIRST_NUMBER + training as u64)?);
            included.push(coins);
        }
        Ok(Self { included, sent, alone: alone.to_vec() })
    }

    /// Attacks the second half of the trainings with what the first half teaches.
    pub(crate) fn attack(&self, observer: &Observer<'_>, view: View) -> Membership {
        let shadows = self.sent.len() / 2;
        let mut seen = observer.observe(view, &self.sent[..shadows], Whose::Attackers);
        seen.extend(observer.observe(view, &self.sent[shadows..], Whose::Members));
        let directions = observer.imagine(view.source, &self.alone);
        let mut roc = Roc::default();
        for (candidate, direction) in directions.iter().enumerate() {
            let statistics: Vec<f64> = seen.iter().map(|observed| dot(observed, direction)).collect();
            let is_in: Vec<bool> = self.included.iter().map(|included| included[candidate]).collect();
            let (mut inside, mut outside) = (Vec::new(), Vec::new());
            for (statistic, is_in) in statistics.iter().zip(&is_in).take(shadows) {
                let same = if *is_in { &mut inside } else { &mut outside };
                same.push(*statistic);
            }
            let ratio = Ratio::fit(&inside, &outside);
            for (statistic, is_in) in statistics.iter().zip(&is_in).skip(shadows) {
                // Ratios of all candidates are pooled: the attacker has one threshold, and texts differ in
                // how much they reveal.
                roc.add(*is_in, ratio.at(*statistic));
            }
        }
        Membership {
            auc: roc.area(),
            tpr_at_1_percent: roc.found_at(0.01),
            tpr_at_01_percent: roc.found_at(0.001),
        }
    }
}

/// Two normal distributions with a common variance, because there are too few shadows to estimate two.
struct Ratio {
    inside: f64,
    outside: f64,
    variance: f64,
}

impl Ratio {
    fn fit(inside: &[f64], outside: &[f64]) -> Self {
        let (one, other) = (mean(inside), mean(outside));
        let count = (inside.len() + outside.len()).max(1) as f64;
        let variance = (squares(inside, one) + squares(outside, other)) / count;
        Self { inside: one, outside: other, variance: variance.max(f64::MIN_POSITIVE) }
    }

    /// The logarithm of the likelihood ratio of in over out.
    fn at(&self, value: f64) -> f64 {
        (self.inside - self.outside) * (value - f64::midpoint(self.inside, self.outside)) / self.variance
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The sum of squared distances from the mean.
fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_nearer_distribution() {
        let ratio = Ratio::fit(&[2.0, 3.0, 4.0], &[-1.0, 0.0, 1.0]);
        assert!(ratio.at(3.0) > 0.0 && ratio.at(0.0) < 0.0 && ratio.at(1.5).abs() < 1e-12);
        let flipped = Ratio::fit(&[-1.0, 0.0, 1.0], &[2.0, 3.0, 4.0]);
        assert_eq!(flipped.at(3.0), -ratio.at(3.0));
    }
}
