//! DP-SGD (Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1): training that says little of any one
//! example.
//!
//! In each step every example is in the batch with the same probability, whatever the others do (Poisson sampling); its
//! gradient over all trained tensors together is clipped to a norm, the clipped gradients are summed, noise is added
//! ([`noise`]), and the sum is divided by the batch size that the plan expects, a public number, as the number of
//! examples is not. The loss of an example is that of a batch of it alone: what a plain batch averages over its tokens
//! together (load balance, the routing regulariser) is averaged over the example's own.
//!
//! Neighbouring data sets differ in one example that is there or not. What the accountant charges is the Gaussian mechanism
//! with `noise_multiplier` on a sample of `sampling_probability`, `steps` times.
//!
//! # Leakage
//! The trained parameters say what the charge says. Losses, the number of clipped gradients and the time that training takes
//! are not covered, and stay with the member. The gradient of an example may differ in its last bits with the examples
//! beside it, as everywhere in batched arithmetic; the norm that gradients are clipped to leaves room for it.

mod averages;
mod noise;
mod planted;
mod tape;
#[cfg(test)]
mod tests;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub(crate) use averages::LayerAverages;
pub use averages::{Averaging, RecordAverages, RoutedToken};
pub(crate) use noise::Grid;
pub use planted::{PlantedGradients, ReleasedStep};
pub(crate) use tape::{Place, Recorder, Tape};

use crate::error::ExpertsError;

/// Settings of DP-SGD.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateTraining {
    /// The most that one example adds to a step's sum, as an L2 norm over all trained tensors together.
    pub clipping_norm: f64,
    /// Standard deviation of the noise on each coordinate of a step's sum, over `clipping_norm`.
    pub noise_multiplier: f64,
    /// Probability with which each example is in a step's batch.
    pub sampling_probability: f64,
    /// Steps, however many examples there are.
    pub steps: usize,
}

impl PrivateTraining {
    pub(crate) fn check(&self) -> Result<(), ExpertsError> {
        let fail = |reason: &str| Err(ExpertsError::Settings(reason.to_owned()));
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !(positive(self.clipping_norm) && positive(self.noise_multiplier)) {
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

    /// The examples of one step, of `examples`: each with the same probability, independently; there may be none
    /// (`PRIV-10`).
    pub(crate) fn draw(&self, examples: usize, random: &mut impl CryptoRng) -> Vec<usize> {
        // Rounded down to a multiple of 2⁻⁶⁴; certainty is 2⁶⁴ of them.
        let threshold = (self.sampling_probability * 2f64.powi(64)) as u128;
        (0..examples).filter(|_| u128::from(random.next_u64()) < threshold).collect()
    }

    /// One step, the same whatever is trained: draws from so many examples, has `clipped_sum` sum their gradients clipped to
    /// the grid's bound, adds noise and divides by `divisor`. `clipped_sum` also says the loss.
    pub(crate) fn step(
        &self,
        grid: Grid,
        (examples, divisor): (usize, usize),
        random: &mut impl CryptoRng,
        clipped_sum: impl FnOnce(&[usize], f64) -> (Tensor, ClippedSum),
    ) -> Step {
        let drawn = self.draw(examples, random);
        let (loss, sum) = clipped_sum(&drawn, grid.bound);
        let gradients = sum.noised(grid, divisor, random);
        Step { drawn, loss: sum.judged(&loss), gradients, clipped: sum.clipped }
    }
}

/// What one step yields.
pub(crate) struct Step {
    /// The examples that were drawn.
    pub(crate) drawn: Vec<usize>,
    /// The loss, which is no number where a gradient is none.
    pub(crate) loss: Tensor,
    /// The noised sum over the divisor, for each parameter.
    pub(crate) gradients: Vec<Tensor>,
    /// Gradients that were clipped, a scalar on the device.
    pub(crate) clipped: Tensor,
}

/// What DP-SGD did. It tells of the examples, and stays with the member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrivateReport {
    /// Steps.
    pub steps: usize,
    /// Examples drawn in all steps.
    pub drawn: usize,
    /// Those whose gradient was clipped.
    pub clipped: usize,
}

/// A step's sum of clipped gradients, as its batches come.
pub(crate) struct ClippedSum {
    bound: f64,
    pub(crate) sums: Vec<Tensor>,
    /// Gradients that were clipped, a scalar on the device.
    pub(crate) clipped: Tensor,
}

impl ClippedSum {
    /// Nothing yet, for these parameters.
    pub(crate) fn new(bound: f64, parameters: &[(String, Tensor)]) -> Self {
        let sums: Vec<Tensor> = parameters.iter().map(|(_, tensor)| tensor.detach().zeros_like()).collect();
        let device = sums.first().map_or(tch::Device::Cpu, Tensor::device);
        Self { bound, sums, clipped: Tensor::zeros([], (Kind::Int64, device)) }
    }

    /// Clips and adds the gradients of the examples of a batch, `[examples, …]` for each parameter (`PRIV-10`).
    pub(crate) fn add(&mut self, gradients: &[Tensor]) {
        tch::no_grad(|| {
            let flat: Vec<Tensor> = gradients.iter().map(|gradient| gradient.flatten(1, -1)).collect();
            let norms: Vec<Tensor> =
                flat.iter().map(|gradient| gradient.norm_scalaropt_dim(2.0, [1i64], false)).collect();
            let norms = Tensor::stack(&norms, 0).norm_scalaropt_dim(2.0, [0i64], false);
            let factors = norms.clamp_min(self.bound).reciprocal() * self.bound;
            for (sum, gradient) in self.sums.iter_mut().zip(&flat) {
                *sum += factors.unsqueeze(0).matmul(gradient).view(sum.size().as_slice());
            }
            self.clipped += norms.gt(self.bound).sum(Kind::Int64);
        });
    }

    /// The sum with its noise, divided by `divisor`.
    pub(crate) fn noised(&self, grid: Grid, divisor: usize, random: &mut impl CryptoRng) -> Vec<Tensor> {
        tch::no_grad(|| self.sums.iter().map(|sum| grid.noised(sum, divisor as f64, random)).collect())
    }

    /// The loss of a step, which is no number where its gradients are none, so that whoever reads losses sees both.
    pub(crate) fn judged(&self, loss: &Tensor) -> Tensor {
        tch::no_grad(|| {
            self.sums.iter().fold(loss.shallow_clone(), |loss, sum| loss + (sum * 0.0).sum(Kind::Float))
        })
    }
}
