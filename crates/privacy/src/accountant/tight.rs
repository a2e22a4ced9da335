//! The tight bound: what every mechanism's losses are, and how finely they are looked at.

use super::convolution::{Bound, Composition, RepeatedLosses};
use super::gaussian::{self, DiscreteNoise, Near};
use super::loss::{Direction, LossGrid, NoisedInteger, SampledGaussian};
use super::{Mechanism, renyi};

/// The most points of all distributions' grids together, and of their composition.
const MOST_POINTS: usize = 1 << 18;
/// The first step is about the sought ε over this, and each further one a quarter of the one before.
const FIRST_STEPS: f64 = 64.0;
/// How often the step is quartered at most.
const REFINEMENTS: usize = 14;
/// By how much less a quarter of the step must make ε for another quarter to be worth it: what is left to
/// gain is a third of it.
const WORTH: f64 = 0.01;
/// The share of δ that losses beyond the grids' ends may take.
const BEYOND: f64 = 1e-4;
/// The widest noise on one integer that is looked at value by value; wider noise is near enough a Gaussian.
const WIDEST_INTEGER: u32 = 64;
/// Variance with which Gaussians are rounded to discrete ones where that must be fixed beforehand: on 10¹²
/// coordinates the densities then differ by 10⁻⁵ together.
const ROUNDING: f64 = 2.1;
/// The most noised integers of different noise that are looked at so.
const MOST_INTEGERS: usize = 16;

/// Mechanisms whose losses are known, those that are alike together.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Of everything with Gaussian noise and no sampling: the square of the change over the noise.
    mean_squared: f64,
    /// By how much the density of what is taken for a Gaussian differs from one, as a logarithm.
    ln_density: f64,
    sampled: Vec<(SampledGaussian, f64)>,
    integers: Vec<(NoisedInteger, f64)>,
}

impl Known {
    /// None where a mechanism's losses are not known.
    pub(super) fn from_mechanisms(parts: &[(Mechanism, f64)]) -> Option<Self> {
        Self::default().with(parts)
    }

    /// Noise that is all taken for Gaussian and for `ln_density` from it; none where it is further. What each
    /// release counts for does not depend on the others.
    pub(super) fn gaussian(parts: &[(Mechanism, f64)], ln_density: f64) -> Option<Self> {
        let mut known = Self::default();
        for (mechanism, count) in parts {
            known.add_near(*mechanism, *count, |noise| noise.rounded(ROUNDING))?;
        }
        (known.ln_density <= ln_density).then_some(Self { ln_density, ..known })
    }

    /// The same with further mechanisms; none where the losses of one are not known.
    pub(super) fn with(mut self, parts: &[(Mechanism, f64)]) -> Option<Self> {
        parts.iter().try_for_each(|(mechanism, count)| self.add(*mechanism, *count))?;
        Some(self)
    }

    /// ε at `delta` by Rényi divergences of the Gaussian noise and further mechanisms.
    pub(super) fn epsilon_by_renyi(&self, parts: &[(Mechanism, f64)], delta: f64) -> f64 {
        let (delta, rho) = (delta * (-self.ln_density).exp(), self.mean_squared / 2.0);
        let at = |order: f64| {
            let others: f64 =
                parts.iter().map(|(mechanism, count)| count * mechanism.divergence(order)).sum();
            renyi::to_epsilon(order, order * rho + others, delta)
        };
        renyi::orders().map(at).fold(f64::INFINITY, f64::min) + 2.0 * self.ln_density
    }

    /// Discrete noise, as Gaussian noise.
    fn add_near(
        &mut self,
        mechanism: Mechanism,
        count: f64,
        near: impl Fn(DiscreteNoise) -> Option<Near>,
    ) -> Option<()> {
        let Mechanism::DiscreteGaussian { sigma, parties, coordinates, sensitivity } = mechanism else {
            return None;
        };
        let (sigma, parties) = (f64::from(sigma), f64::from(parties));
        let near = near(DiscreteNoise { sigma, parties, coordinates: coordinates as f64 * count })?;
        self.mean_squared += count * sensitivity * sensitivity / near.variance;
        self.ln_density += near.ln_density;
        Some(())
    }

    fn add(&mut self, mechanism: Mechanism, count: f64) -> Option<()> {
        match mechanism {
            Mechanism::Gaussian { noise_multiplier: sigma, sampling_probability: q } => {
                if q == 1.0 {
                    self.mean_squared += count / (sigma * sigma);
                } else {
                    self.sampled.push((SampledGaussian { sigma, q }, count));
                }
            }
            Mechanism::DiscreteGaussian { sigma, parties: 1, coordinates: 1, sensitivity }
                if sigma <= WIDEST_INTEGER && self.integers.len() < MOST_INTEGERS =>
            {
                self.integers.push((NoisedInteger { sigma: f64::from(sigma), sensitivity }, count));
            }
            other => self.add_near(other, count, DiscreteNoise::near)?,
        }
        Some(())
    }

    /// ε at `delta`, given one that it is at most; none where there is none, or the grids have no room.
    ///
    /// Where densities differ from Gaussians' by at most `exp(±d)`, a hockey-stick divergence of theirs at
    /// `ε` is at most `exp(d)` times that of the Gaussians at `ε - 2d`.
    pub(super) fn epsilon(&self, delta: f64, at_most: f64) -> Option<f64> {
        let delta = delta * (-self.ln_density).exp();
        let epsilon = if self.sampled.is_empty() && self.integers.is_empty() {
            gaussian::epsilon(self.mean_squared.sqrt(), delta)
        } else {
            self.by_convolution(delta, at_most)
        };
        epsilon.map(|epsilon| epsilon + 2.0 * self.ln_density).filter(|epsilon| epsilon.is_finite())
    }

    fn by_convolution(&self, delta: f64, at_most: f64) -> Option<f64> {
        let first = (at_most / FIRST_STEPS).log2().floor().exp2();
        if !(first.is_normal() && delta > 0.0) {
            return None;
        }
        let (removed, step) = self.refined(Direction::Remove, delta, (first, 0.0))?;
        self.refined(Direction::Add, delta, (step, removed)).map(|(added, _)| added.max(removed))
    }

    /// ε in a direction, and the step that it was found with; no finer than it takes to see that it is at
    /// most `enough`.
    fn refined(
        &self,
        direction: Direction,
        delta: f64,
        (mut step, enough): (f64, f64),
    ) -> Option<(f64, f64)> {
        let mut tilt = 1.0;
        let mut least: Option<(f64, f64)> = None;
        for _ in 0..REFINEMENTS {
            let Some(composition) = self.composition(direction, delta, step) else { break };
            tilt = composition.best_tilt(delta, tilt);
            let found = composition.epsilon(delta, tilt);
            let before = least.map_or(f64::INFINITY, |(epsilon, _)| epsilon);
            let Some(Bound { epsilon, has_room }) = found else { break };
            // Each of them is at least the truth.
            if epsilon <= before {
                least = Some((epsilon, step));
            }
            if before - epsilon <= WORTH * epsilon || epsilon <= enough || !has_room {
                break;
            }
            step /= 4.0;
        }
        least
    }

    fn composition(&self, direction: Direction, delta: f64, step: f64) -> Option<Composition> {
        let count = self.sampled.iter().map(|(_, count)| count).sum::<f64>()
            + self.integers.iter().map(|(_, count)| count).sum::<f64>();
        let kinds = self.sampled.len() + self.integers.len() + 1;
        let grid = LossGrid { step, beyond: BEYOND * delta / (count + 1.0), points: MOST_POINTS / kinds };
        let gaussian = SampledGaussian { sigma: self.mean_squared.sqrt().recip(), q: 1.0 };
        let gaussian = (self.mean_squared > 0.0).then_some((gaussian, 1.0));
        let part = |losses, count| Some(RepeatedLosses { losses: losses?, count });
        let sampled = self.sampled.iter().copied().chain(gaussian);
        let sampled = sampled.map(|(noise, count)| part(noise.losses(direction, grid), count));
        let integers = self.integers.iter().map(|(noise, count)| part(noise.losses(grid), *count));
        let parts = sampled.chain(integers).collect::<Option<Vec<RepeatedLosses>>>()?;
        Some(Composition { parts, points: MOST_POINTS })
    }
}
