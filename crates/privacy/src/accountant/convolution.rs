//! Composition of privacy loss distributions: their convolution by FFT, tilted towards the losses that δ depends on.
//!
//! Multiplying each mass with `exp(tilt·loss)` before the transform, and dividing it out afterwards, makes the errors of
//! the transform small against the tail that δ is read from, however small δ is. What is left of them is bounded
//! and added to δ. Sources: Koskela, Jälkö and Honkela, "Computing Tight Differential Privacy Guarantees Using FFT"
//! (2020); the tilt is that of saddle-point approximations (Alghamdi et al. 2023).

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use super::loss::LossDistribution;

/// The probability, under the tilted distribution, of what may lie outside the window of the transform.
const OUTSIDE: f64 = 1e-16;

/// What is added to a δ, relatively, for rounding in floating point and for tails that are cut off.
const ROUNDING: f64 = 1e-3;

/// A distribution and how often it is composed.
pub(super) type Part = (LossDistribution, u32);

/// Composed losses: `mass(i) = tilted[i]·exp(ln_scale - tilt·loss(i))`.
#[derive(Debug)]
pub(super) struct ComposedLosses {
    step: f64,
    first: i64,
    tilted: Vec<f64>,
    tilt: f64,
    ln_scale: f64,
    /// The most by which an entry of `tilted` may be wrong.
    error: f64,
    infinity: f64,
}

/// `ln E[exp(tilt·loss)]` of the composition.
fn ln_moment(parts: &[Part], tilt: f64) -> f64 {
    parts.iter().map(|(losses, count)| f64::from(*count) * losses.ln_moment(tilt)).sum()
}

/// Candidates for tilts and for Chernoff's bound.
fn tilts() -> impl Iterator<Item = f64> {
    (0..22).map(|power| 0.02 * 1.9f64.powi(power))
}

/// The tilt with the least Chernoff bound on where the tail of probability `delta` begins.
fn best_tilt(parts: &[Part], delta: f64) -> f64 {
    let start = |tilt: f64| (ln_moment(parts, tilt) - delta.ln()) / tilt;
    tilts().min_by(|a, b| start(*a).total_cmp(&start(*b))).unwrap_or(1.0)
}

/// The losses between which the tilted composition lies, but for [`OUTSIDE`] on each side (Chernoff).
fn window(parts: &[Part], tilt: f64) -> (f64, f64) {
    let base = ln_moment(parts, tilt);
    let bound = |further: f64| (ln_moment(parts, tilt + further) - base - OUTSIDE.ln()) / further;
    let high = tilts().map(bound).fold(f64::INFINITY, f64::min);
    let low = tilts().map(|further| bound(-further)).fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

/// Composes distributions on one grid, for reading ε at about `delta`.
pub(super) fn compose(parts: &[Part], delta: f64) -> ComposedLosses {
    let step = parts[0].0.step;
    let tilt = best_tilt(parts, delta);
    let (low, high) = window(parts, tilt);
    let first = (low / step).floor() as i64;
    let size = (((high - low) / step) as usize + 2).next_power_of_two();
    let mut planner = FftPlanner::new();
    let mut spectrum = vec![Complex64::new(1.0, 0.0); size];
    for (losses, count) in parts {
        let own = tilted_spectrum(losses, tilt, size, &mut planner);
        for (product, factor) in spectrum.iter_mut().zip(own) {
            *product *= factor.powu(*count);
        }
    }
    let transforms: u32 = parts.iter().map(|(_, count)| count).sum();
    let weight = spectrum.iter().map(|value| value.norm()).sum::<f64>() / size as f64;
    let error = 4.0 * f64::EPSILON * (f64::from(transforms) + (size as f64).log2()) * weight;
    planner.plan_fft_inverse(size).process(&mut spectrum);
    let tilted = (0..size).map(|i| spectrum[ring(first + i as i64, size)].re / size as f64).collect();
    let ln_scale = ln_moment(parts, tilt);
    let finite: f64 =
        parts.iter().map(|(losses, count)| f64::from(*count) * (-losses.infinity).ln_1p()).sum();
    let beyond = OUTSIDE * (ln_scale - tilt * high).exp();
    ComposedLosses { step, first, tilted, tilt, ln_scale, error, infinity: -finite.exp_m1() + beyond }
}

fn ring(index: i64, size: usize) -> usize {
    index.rem_euclid(size as i64) as usize
}

/// The transform of a tilted, normalised distribution, folded into the window.
fn tilted_spectrum(
    losses: &LossDistribution,
    tilt: f64,
    size: usize,
    planner: &mut FftPlanner<f64>,
) -> Vec<Complex64> {
    let ln_total = losses.ln_moment(tilt);
    let mut values = vec![Complex64::new(0.0, 0.0); size];
    for (index, mass) in losses.mass.iter().enumerate() {
        let at = ring(losses.first + index as i64, size);
        values[at].re += mass * (tilt * losses.loss(index) - ln_total).exp();
    }
    planner.plan_fft_forward(size).process(&mut values);
    values
}

impl ComposedLosses {
    /// The hockey-stick divergence at `epsilon`: an upper bound on δ.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let start = ((epsilon / self.step).floor() as i64 + 1 - self.first).max(0) as usize;
        let parts = (start..self.tilted.len()).map(|index| {
            let loss = (self.first + index as i64) as f64 * self.step;
            let mass = self.tilted[index].max(0.0) + self.error;
            mass * (self.ln_scale - self.tilt * loss).exp() * -(epsilon - loss).exp_m1()
        });
        (self.infinity + parts.sum::<f64>()) * (1.0 + ROUNDING)
    }

    /// The least ε whose δ is at most `delta`, by bisection, rounded up; infinite where there is none.
    pub(super) fn epsilon(&self, delta: f64) -> f64 {
        let (mut low, mut high) = (0.0, (self.first + self.tilted.len() as i64) as f64 * self.step);
        if self.delta(low) <= delta {
            return low;
        }
        if self.delta(high) > delta {
            return f64::INFINITY;
        }
        while high - low > 1e-9 * high {
            let middle = f64::midpoint(low, high);
            if self.delta(middle) <= delta { high = middle } else { low = middle }
        }
        high
    }
}
