//! Composition of privacy loss distributions: their convolution by FFT, tilted towards the losses on which δ
//! depends.
//!
//! Each mass is multiplied by `exp(tilt·loss)` before the transform and divided by it afterwards. This makes
//! the errors of the transform small compared with the tail from which δ is read, however small δ is. Moments
//! are computed from the logarithms of masses. The remaining errors are bounded and added to δ. Sources:
//! Koskela, Jälkö and Honkela, "Computing Tight Differential Privacy Guarantees Using FFT" (2020); the tilt
//! is that of saddle-point approximations (Alghamdi et al. 2023).

use std::f64::consts::TAU;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use super::loss::LossDistribution;

/// The probability, under the tilted distribution, that may lie outside the window of the transform on each
/// side.
const OUTSIDE: f64 = 1e-10;

/// A margin on δ, relative to it, for rounding errors in floating point that are not bounded one by one.
const ROUNDING: f64 = 1e-3;

/// The error of a transform for each halving of its size, relative to the sum of what is transformed. Each
/// entry is a sum over paths with an addition and a multiplication at each halving.
const TRANSFORM_ERROR: f64 = 8.0 * f64::EPSILON;

/// The logarithm below which an entry of a transform counts as 0.
/// e⁻⁷⁰ is 4·10⁻³¹, which the transform's own rounding error exceeds by many orders of magnitude.
const NEGLIGIBLE: f64 = -70.0;

/// The smallest tilt that is tried.
const SMALLEST_TILT: f64 = 1e-12;

/// The largest tilt times a grid's step. With it, the weight of a point is a 3,000th of that of the next.
const LARGEST_TILT_IN_STEPS: f64 = 8.0;

/// A distribution and how often it is composed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RepeatedLosses {
    pub(super) losses: LossDistribution,
    pub(super) count: f64,
}

/// Distributions on one grid that are composed.
#[derive(Debug)]
pub(super) struct Composition {
    pub(super) parts: Vec<RepeatedLosses>,
    /// The most points of the transform.
    pub(super) points: usize,
}

/// An ε that is at least the tight one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bound {
    pub(super) epsilon: f64,
    /// Whether the grid has enough points for the composition. If not, a finer one does not either.
    pub(super) has_room: bool,
}

/// The losses between which the tilted composition lies, but for [`OUTSIDE`] on each side, in steps.
struct Window {
    first: i64,
    size: usize,
    /// The largest loss in it.
    high: f64,
}

/// The composition under its tilted distribution: what lies outside the window is folded into it.
struct Tilted {
    mass: Vec<f64>,
    /// The most by which an entry may be wrong.
    error: f64,
}

/// An entry of a product of transforms, all of it as logarithms.
#[derive(Clone, Copy, Default)]
struct Entry {
    ln: f64,
    angle: f64,
    /// How far `ln` and the angle may be off.
    off: f64,
    /// The most that `ln` may be.
    most: f64,
}

impl Entry {
    /// Multiplies a value that may be off by `error`, so often.
    fn multiply(&mut self, value: Complex64, error: f64, count: f64) {
        if self.most < NEGLIGIBLE {
            return;
        }
        // A distribution's transform is at most 1 in size, and more only by rounding. So a product that has
        // become negligible stays negligible.
        let norm = value.norm();
        self.most += count * (norm + error).ln().min(0.0);
        if self.most >= NEGLIGIBLE {
            self.ln += count * norm.ln();
            self.angle += (count * value.arg()) % TAU;
            // The second term covers the rounding of logarithm and angle, which `count` multiplies.
            self.off += count * (error / norm + TRANSFORM_ERROR);
        }
    }

    /// The value and its error.
    fn value(self) -> (Complex64, f64) {
        if self.most < NEGLIGIBLE {
            return (Complex64::new(0.0, 0.0), self.most.exp());
        }
        // The value and the true one are both at most `exp(most)` in size, and so at most twice that apart.
        // This bound is better where `off` is large.
        let by_ln = if self.off < 1.0 { self.ln.exp() * self.off.exp_m1() } else { f64::INFINITY };
        (Complex64::from_polar(self.ln.exp(), self.angle), by_ln.min(2.0 * self.most.exp()))
    }
}

impl Composition {
    fn step(&self) -> f64 {
        self.parts[0].losses.step
    }

    /// `ln E[exp(tilt·loss)]` of the composition, without its infinite losses.
    fn ln_moment(&self, tilt: f64) -> f64 {
        self.parts.iter().map(|part| part.count * part.losses.ln_moment(tilt)).sum()
    }

    /// The tilt with about the least Chernoff bound on the ε of `delta`, near `hint`: the divergence at ε is
    /// at most `E[exp(tilt·(loss - ε))]` times the most that `(1 - exp(-u))·exp(-tilt·u)` may be. Tilts that
    /// leave one grid point alone in the tail are as good as any larger one.
    pub(super) fn best_tilt(&self, delta: f64, hint: f64) -> f64 {
        let chernoff = |tilt: f64| self.chernoff_epsilon(tilt, delta);
        // A search by factors of two: the best tilt lies anywhere in a range of many orders of magnitude.
        let (mut best, mut least) = least_at_power(chernoff, hint, LARGEST_TILT_IN_STEPS / self.step());
        // The best power of two is refined by quarters of its exponent.
        for tilt in [-0.75f64, -0.5, -0.25, 0.25, 0.5, 0.75].map(|part| best * part.exp2()) {
            let epsilon = chernoff(tilt);
            if epsilon < least {
                (best, least) = (tilt, epsilon);
            }
        }
        best
    }

    /// The bound on ε at `delta` that one tilt gives, as [`Self::best_tilt`] explains.
    fn chernoff_epsilon(&self, tilt: f64, delta: f64) -> f64 {
        let ln_most = -tilt.ln_1p() - tilt * tilt.recip().ln_1p();
        (self.ln_moment(tilt) + ln_most - delta.ln()) / tilt
    }

    /// Chernoff's bounds, and the ends of the distributions.
    fn window(&self, tilt: f64) -> Option<Window> {
        let base = self.ln_moment(tilt);
        let bound = |further: f64| (self.ln_moment(tilt + further) - base - OUTSIDE.ln()) / further;
        let largest = 16.0 * LARGEST_TILT_IN_STEPS / self.step();
        // A further tilt up bounds the mass above the window, a further tilt down the mass below it.
        let high = least_at_power(bound, tilt, largest).1.min(self.highest());
        let low = -least_at_power(|further| -bound(-further), tilt, largest).1;
        let low = low.max(self.parts.iter().map(|part| part.count * part.losses.loss(0)).sum());
        let first = (low / self.step()).floor();
        let size = (high / self.step()).ceil() - first + 1.0;
        // Written so that NaN fails it too.
        if !(size >= 1.0 && size <= self.points as f64 && first.abs() < 2f64.powi(52)) {
            return None;
        }
        Some(Window { first: first as i64, size: transform_size(size as usize), high })
    }

    /// The largest finite loss.
    fn highest(&self) -> f64 {
        self.parts.iter().map(|part| part.count * part.losses.highest()).sum()
    }

    /// The composition's transform, and a bound on each of its entries' error.
    fn spectrum(&self, tilt: f64, size: usize, planner: &mut FftPlanner<f64>) -> (Vec<Complex64>, Vec<f64>) {
        // The transform of real numbers is that of its first half, mirrored.
        let mut entries = vec![Entry::default(); size / 2 + 1];
        for RepeatedLosses { losses, count } in &self.parts {
            let (transform, error) = tilted_transform(losses, tilt, size, planner);
            for (entry, value) in entries.iter_mut().zip(transform) {
                entry.multiply(value, error, *count);
            }
        }
        let half: Vec<(Complex64, f64)> = entries.into_iter().map(Entry::value).collect();
        let mirrored = half[1..size.div_ceil(2)].iter().rev().map(|(value, error)| (value.conj(), *error));
        half.iter().copied().chain(mirrored).unzip()
    }

    fn tilted(&self, tilt: f64, window: &Window) -> Tilted {
        let mut planner = FftPlanner::new();
        let (mut spectrum, errors) = self.spectrum(tilt, window.size, &mut planner);
        let size = window.size as f64;
        let sum = spectrum.iter().map(|value| value.norm()).sum::<f64>();
        // The inverse transform is a mean of the entries, so that an entry's errors add up to this at most.
        let error = (errors.iter().sum::<f64>() + TRANSFORM_ERROR * size.log2().max(1.0) * sum) / size;
        planner.plan_fft_inverse(window.size).process(&mut spectrum);
        let mut mass = Vec::with_capacity(window.size);
        for index in 0..window.size {
            mass.push(spectrum[ring(window.first + index as i64, window.size)].re / size);
        }
        Tilted { mass, error }
    }

    /// The least ε whose δ is at most `delta`, rounded up, read under a tilt. If the grid has too few points,
    /// it is the largest loss. `None` if infinite losses have a larger probability than `delta`.
    pub(super) fn epsilon(&self, delta: f64, tilt: f64) -> Option<Bound> {
        let finite: f64 = self.parts.iter().map(|part| part.count * (-part.losses.infinity).ln_1p()).sum();
        // `finite` is the logarithm of the probability that all losses are finite; `exp_m1` keeps a tiny
        // probability of an infinite loss exact, which `1 - exp(finite)` would lose.
        let delta = delta / (1.0 + ROUNDING) + finite.exp_m1();
        if delta.is_nan() || delta <= 0.0 {
            return None;
        }
        let most = Some(self.highest().max(0.0)).filter(|epsilon| epsilon.is_finite());
        let window = self.window(tilt);
        let read = window.as_ref().and_then(|window| self.read(delta, tilt, window));
        let epsilon = read.into_iter().chain(most).reduce(f64::min)?;
        Some(Bound { epsilon, has_room: window.is_some() })
    }

    fn read(&self, delta: f64, tilt: f64, window: &Window) -> Option<f64> {
        let Tilted { mass, error } = self.tilted(tilt, window);
        let ln_scale = self.ln_moment(tilt);
        // What lies outside is folded into the window. From below, that only adds to δ. From above, mass is
        // missing where it belongs, and has to be added.
        let outside = if window.high < self.highest() { OUTSIDE } else { 0.0 };
        let beyond = outside * (ln_scale - tilt * window.high).exp();
        // Rounding errors of the tilted masses, which are products of as many factors as there are
        // compositions.
        let exponents =
            self.parts.iter().map(|part| part.count * (20.0 + (tilt * part.losses.highest()).abs()));
        let rounding = 8.0 * f64::EPSILON * exponents.sum::<f64>();
        let target = delta * (-rounding).exp() - beyond;
        if target.is_nan() || target <= 0.0 {
            return None;
        }
        let untilted = |index: usize| {
            let loss = (window.first + index as i64) as f64 * self.step();
            (mass[index].max(0.0) + error) * (ln_scale - tilt * loss).exp()
        };
        let (above, from) = self.crossing(target, mass.len(), untilted)?;
        let epsilon = (window.first + from as i64) as f64 * self.step() - above;
        (epsilon.is_finite()).then_some(epsilon.max(0.0))
    }

    /// Walks down from the highest loss until the divergence is above `target`. The result is a grid point,
    /// and by how much ε is below it.
    ///
    /// Let `A` be the mass of the losses above `ε`. As long as no further loss is passed, the divergence at
    /// `ε - y` is `(1 - exp(-y))·A + exp(-y)·δ(ε)`. All terms are positive, so that nothing cancels.
    fn crossing(&self, target: f64, size: usize, mass: impl Fn(usize) -> f64) -> Option<(f64, usize)> {
        let (keep, width) = ((-self.step()).exp(), -(-self.step()).exp_m1());
        let (mut above, mut delta) = (0.0, 0.0);
        for index in (0..size).rev() {
            above += mass(index);
            let below = width * above + keep * delta;
            if below.is_nan() || below > target {
                let y = -((above - target) / (above - delta)).ln();
                // The mass up to here may be infinite; then nothing is known about ε.
                return y.is_finite().then_some((y.max(0.0), index));
            }
            delta = below;
        }
        // The divergence is small enough at the window's lower end.
        Some((self.step(), 0))
    }
}

/// The power of two near `hint`, and at most `largest`, where a function that has one minimum is least, and
/// its value there.
fn least_at_power(function: impl Fn(f64) -> f64, hint: f64, largest: f64) -> (f64, f64) {
    let mut at = hint.min(largest).log2().floor().exp2();
    let mut least = function(at);
    for factor in [2.0, 0.5] {
        while (SMALLEST_TILT..=largest).contains(&(factor * at)) {
            let next = function(factor * at);
            if next.is_nan() || next >= least {
                break;
            }
            (at, least) = (factor * at, next);
        }
    }
    (at, least)
}

/// The least size that transforms are fast with and that is at least this: a power of two, or three times
/// one.
fn transform_size(least: usize) -> usize {
    let power = least.next_power_of_two();
    if power >= 4 && least <= power / 4 * 3 { power / 4 * 3 } else { power }
}

fn ring(index: i64, size: usize) -> usize {
    index.rem_euclid(size as i64) as usize
}

/// The transform of a tilted, normalised distribution, folded into the window, and how far each entry may be
/// off.
fn tilted_transform(
    losses: &LossDistribution,
    tilt: f64,
    size: usize,
    planner: &mut FftPlanner<f64>,
) -> (Vec<Complex64>, f64) {
    let ln_total = losses.ln_moment(tilt);
    let mut values = vec![Complex64::new(0.0, 0.0); size];
    let mut at = ring(losses.first, size);
    for (index, ln_mass) in losses.ln_mass.iter().enumerate() {
        values[at].re += (ln_mass + tilt * losses.loss(index) - ln_total).exp();
        at = if at + 1 == size { 0 } else { at + 1 };
    }
    planner.plan_fft_forward(size).process(&mut values);
    // They sum to 1.
    (values, 2.0 * TRANSFORM_ERROR * (size as f64).log2().max(1.0))
}
