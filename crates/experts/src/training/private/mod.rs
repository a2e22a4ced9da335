//! DP-SGD (Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1): training that reveals
//! little about any one record.
//!
//! A record is one example or several: windows of a note, or all notes of a patient (the module `records`).
//! In each step every record is in the batch with the same probability, whatever the others do (Poisson
//! sampling). Its gradient is the mean of its examples' gradients. It is clipped to a norm, over all trained
//! tensors together. The clipped gradients are summed, noise is added (the module `noise`), and the sum is
//! divided by the batch size that the plan expects, a public number, as the number of records is not. The
//! loss of an example is that of a batch of it alone: what a plain batch averages over its tokens together
//! (load balance, the routing regulariser) is averaged over the example's own tokens.
//!
//! A record whose gradient is not finite counts as a gradient of 0. If training failed instead, its failure
//! would tell of the record. It leaves the other records of its batch as they are: if they became 0 with it,
//! one record would move a step by more than the clipping norm.
//!
//! Neighbouring data sets differ in one record that is there or not. What the accountant charges is the
//! Gaussian mechanism with `noise_multiplier` on a sample of `sampling_probability`, `steps` times.
//!
//! # Leakage
//! The trained parameters leak at most what the accountant charges. Losses, the number of clipped gradients
//! and the time that training takes are not covered, and stay with the member. The gradient of a record may
//! differ in its last bits with the records beside it, as everywhere in batched arithmetic; the norm that
//! gradients are clipped to leaves room for it.

mod averages;
mod noise;
mod planted_gradients;
mod records;
pub(crate) mod steps;
mod tape;
#[cfg(test)]
mod tests;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub(crate) use averages::{LayerSums, finish_averages};
pub use averages::{RoutedToken, planted_averages};
pub use cloister_updates::PrivateReport;
pub(crate) use noise::Grid;
pub use planted_gradients::{PlantedGradients, ReleasedStep};
pub(crate) use records::{RecordBatch, RecordSums, batches as record_batches, by_record};
pub(crate) use tape::{Recorder, Tape, WeightPart};

use crate::error::ExpertsError;

/// Settings of DP-SGD.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateTraining {
    /// The most that one record adds to a step's sum, as an L2 norm over all trained tensors together.
    pub clipping_norm: f64,
    /// Standard deviation of the noise on each coordinate of a step's sum, in units of `clipping_norm`.
    pub noise_multiplier: f64,
    /// Probability with which each record is in a step's batch, above 0 and at most 1.
    pub sampling_probability: f64,
    /// How many steps, at least 1, however many records there are.
    pub steps: usize,
}

impl PrivateTraining {
    pub(crate) fn check(&self) -> Result<(), ExpertsError> {
        let fail = |reason: &str| Err(ExpertsError::Settings(reason.to_owned()));
        let positive = [self.clipping_norm, self.noise_multiplier];
        if !positive.iter().all(|value| value.is_finite() && *value > 0.0) {
            return fail("clipping_norm and noise_multiplier must be positive numbers");
        }
        if !(self.sampling_probability > 0.0 && self.sampling_probability <= 1.0) {
            return fail("sampling_probability must be above 0 and at most 1");
        }
        if self.steps == 0 {
            return fail("private training makes at least 1 step");
        }
        Ok(())
    }

    /// The records of one step, of `records`: each with the same probability, independently; there may be
    /// none (`PRIV-10`).
    pub(crate) fn draw(&self, records: usize, random: &mut impl CryptoRng) -> Vec<usize> {
        // Rounded down to a multiple of 2⁻⁶⁴, so a record is never likelier to be drawn than is charged.
        // Certainty is 2⁶⁴ of them, which a u64 cannot hold.
        let threshold = (self.sampling_probability * 2f64.powi(64)) as u128;
        (0..records).filter(|_| u128::from(random.next_u64()) < threshold).collect()
    }
}

/// Whether all values of each row `[…, width]` are finite, `[…, 1]`.
fn are_finite(rows: &Tensor) -> Tensor {
    rows.isfinite().all_dim(-1, true)
}

/// A step's sum of clipped gradients, to which one batch after another is added.
pub(crate) struct ClippedSum {
    /// The L2 norm that each record's gradient is clipped to ([`Grid::bound`]).
    bound: f64,
    /// One sum for each parameter, of its shape.
    pub(crate) sums: Vec<Tensor>,
    /// How many gradients were clipped, and how many were not finite, `[2]` on the device.
    pub(crate) counts: Tensor,
}

impl ClippedSum {
    /// Nothing yet, for these parameters.
    pub(crate) fn new(bound: f64, parameters: &[(String, Tensor)]) -> Self {
        let sums: Vec<Tensor> = parameters.iter().map(|(_, tensor)| tensor.detach().zeros_like()).collect();
        let device = sums.first().map_or(tch::Device::Cpu, Tensor::device);
        Self { bound, sums, counts: Tensor::zeros([2], (Kind::Int64, device)) }
    }

    /// Clips and adds the gradients of records, `[records, …]` for each parameter. One that is not finite
    /// adds 0 (`PRIV-10`).
    pub(crate) fn add(&mut self, gradients: &[Tensor]) {
        tch::no_grad(|| {
            let flat: Vec<Tensor> = gradients.iter().map(|gradient| gradient.flatten(1, -1)).collect();
            let norms: Vec<Tensor> =
                flat.iter().map(|gradient| gradient.norm_scalaropt_dim(2.0, [1i64], false)).collect();
            // One norm over all parameters: clipped one by one, a record could add more than the bound. It is
            // finite only if every coordinate is.
            let norms = Tensor::stack(&norms, 0).norm_scalaropt_dim(2.0, [0i64], false);
            let finite = norms.isfinite();
            let nothing = norms.zeros_like().unsqueeze(1);
            // Not `min(1, bound / norm)`: a gradient of 0 would divide by 0.
            let factors = (norms.clamp_min(self.bound).reciprocal() * self.bound).unsqueeze(0);
            let factors = factors.where_self(&finite.unsqueeze(0), &nothing.tr());
            for (sum, gradient) in self.sums.iter_mut().zip(&flat) {
                // A factor of 0 is not enough: 0 · ∞ is not a number.
                let gradient = gradient.where_self(&finite.unsqueeze(1), &nothing);
                *sum += factors.matmul(&gradient).view(sum.size().as_slice());
            }
            let clipped = norms.gt(self.bound).logical_and(&finite).sum(Kind::Int64);
            self.counts += Tensor::stack(&[clipped, finite.logical_not().sum(Kind::Int64)], 0);
        });
    }

    /// The sum with its noise, divided by `divisor`.
    pub(crate) fn noised(&self, grid: Grid, divisor: usize, random: &mut impl CryptoRng) -> Vec<Tensor> {
        tch::no_grad(|| self.sums.iter().map(|sum| grid.noised(sum, divisor as f64, random)).collect())
    }
}
