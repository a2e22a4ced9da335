//! The noise of DP-SGD: exact discrete Gaussians on a fine grid.
//!
//! A step's sum of clipped gradients is rounded to a grid whose step is `2⁻²⁰` of the noise's standard
//! deviation, and a draw of [`cloister_privacy::discrete_gaussian`] is added to each coordinate in integers.
//! What comes out lies on the grid whatever the data were, so that the attacks on Gaussians sampled in
//! floating point (Mironov 2012; Jin et al. 2022, "Are We There Yet? Timing and Floating-Point Attacks on
//! Differential Privacy Systems") find nothing. So fine a discrete Gaussian is accounted for as a continuous
//! one: with `sigma = 2²⁰` steps their losses differ by less than the accountant's own grid.
//!
//! Rounding moves two neighbouring sums apart by at most one step a coordinate, and sums of 32-bit floats by
//! less than a thousandth of the norm; [`Grid::bound`] takes both off the norm that gradients are clipped to.

use cloister_privacy::discrete_gaussian::{MAX_SIGMA, sample};
use rand_core::CryptoRng;
use tch::{Kind, Tensor};

use crate::device::uploaded;
use crate::error::ExpertsError;
use crate::training::private::PrivateTraining;

/// What sums of 32-bit floats may be off by, as a share of the norm.
const FLOAT_MARGIN: f64 = 1.0 / 1024.0;

/// The grid of one training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Distance of two neighbouring points of the grid.
    step: f64,
    /// The L2 norm that each record's gradient is clipped to, a little below the plan's clipping norm
    /// (`PRIV-10`).
    pub(crate) bound: f64,
}

impl Grid {
    /// The grid for gradients of `coordinates` coordinates, over all trained tensors.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] when the noise is so large that rounding to its grid leaves less than half
    /// of the norm.
    pub(crate) fn new(private: &PrivateTraining, coordinates: usize) -> Result<Self, ExpertsError> {
        let PrivateTraining { clipping_norm, noise_multiplier, .. } = *private;
        let step = noise_multiplier * clipping_norm / f64::from(MAX_SIGMA);
        // Rounding moves each coordinate by at most half a step, so two sums apart by at most a step each:
        // √coordinates steps.
        let bound = clipping_norm * (1.0 - FLOAT_MARGIN) - step * (coordinates as f64).sqrt();
        if bound < clipping_norm / 2.0 {
            let reason = format!(
                "a noise_multiplier of {noise_multiplier} on {coordinates} coordinates leaves too little of the \
                 gradients; train fewer parameters or take less noise"
            );
            return Err(ExpertsError::Settings(reason));
        }
        Ok(Self { step, bound })
    }

    /// A sum with its noise, divided by `divisor`, on the sum's device, for which it does not wait. What is
    /// not finite in the sum is not finite in this.
    pub(crate) fn noised(self, sum: &Tensor, divisor: f64, random: &mut impl CryptoRng) -> Tensor {
        let noise: Vec<i64> = (0..sum.numel()).map(|_| sample(MAX_SIGMA, random)).collect();
        let noise = uploaded(&Tensor::from_slice(&noise).view(sum.size().as_slice()), sum.device());
        // Numbers of steps are far below 2⁵³, so that 64-bit floats add them exactly.
        let steps = (sum.to_kind(Kind::Double) / self.step).round() + noise;
        (steps * (self.step / divisor)).to_kind(Kind::Float)
    }
}
