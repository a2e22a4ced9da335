//! The tight bound: what every mechanism's losses are, and how finely they are looked at.

use super::convolution::{Bound, Composition, RepeatedLosses};
use super::gaussian::{self, DiscreteNoise, Near};
use super::loss::{Direction, LossGrid, NoisedInteger, SampledGaussian};
use super::{Mechanism, renyi};

/// The most points of all distributions' grids together, and of their composition.
const MOST_POINTS: usize = 1 << 18;
/// The first grid step is about the expected ε divided by this number. Each further step is a quarter of the
/// one before.
const FIRST_STEPS: f64 = 64.0;
/// How often the step is quartered at most.
const REFINEMENTS: usize = 14;
/// Another quartering of the step is worth it if the last one made ε smaller by at least this share. The
/// grid's error falls with the step, so that all further quarterings together gain about a third of what the
/// last one gained.
const WORTH: f64 = 0.01;
/// The share of δ that losses beyond the grids' ends may take.
const BEYOND: f64 = 1e-4;
/// The widest noise on one integer whose losses are computed value by value. Wider noise is close enough to a
/// Gaussian.
const WIDEST_INTEGER: u32 = 64;
/// The variance with which Gaussians are rounded to discrete ones if it must be fixed beforehand. On 10¹²
/// coordinates the densities then differ by 10⁻⁵ together.
const ROUNDING: f64 = 2.1;
/// How many noised integers with different noise are computed value by value.
const MOST_INTEGERS: usize = 16;

/// Mechanisms whose loss distributions are known; equal ones are counted together.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All Gaussian noise without sampling: the sum of the squares of sensitivity over noise.
    mean_squared: f64,
    /// By how much the density of all noise that counts as Gaussian may differ from a Gaussian density, as a
    /// logarithm.
    ln_density: f64,
    sampled: Vec<(SampledGaussian, f64)>,
    integers: Vec<(NoisedInteger, f64)>,
}

impl Known {
    /// `None` if the losses of a mechanism are not known.
    pub(super) fn from_mechanisms(parts: &[(Mechanism, f64)]) -> Option<Self> {
        Self::default().with(parts)
    }

    /// Counts all noise as Gaussian with a density that differs by `ln_density`; `None` if it differs by
    /// more. What one release counts does not depend on the others.
    pub(super) fn gaussian(parts: &[(Mechanism, f64)], ln_density: f64) -> Option<Self> {
        let mut known = Self::default();
        for (mechanism, count) in parts {
            known.add_near(*mechanism, *count, |noise| noise.rounded(ROUNDING))?;
        }
        (known.ln_density <= ln_density).then_some(Self { ln_density, ..known })
    }

    /// The same with further mechanisms; `None` if the losses of one are not known.
    pub(super) fn with(mut self, parts: &[(Mechanism, f64)]) -> Option<Self> {
        parts.iter().try_for_each(|(mechanism, count)| self.add(*mechanism, *count))?;
        Some(self)
    }

    /// ε at `delta` by Rényi divergences of the Gaussian noise and further mechanisms.
    pub(super) fn epsilon_by_renyi(&self, parts: &[(Mechanism, f64)], delta: f64) -> f64 {
        let (delta, rho) = (delta * (-self.ln_density).exp(), self.mean_squared / 2.0);
        renyi::least_epsilon(rho, parts, delta) + 2.0 * self.ln_density
    }

    /// Counts discrete noise as the Gaussian noise that `near` finds for it.
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
                // Without sampling a step is one more Gaussian: squares add up, and no grid is needed.
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

    /// ε at `delta`, given an upper bound on it; `None` if there is none, or the grids do not have enough
    /// points.
    ///
    /// If densities differ from Gaussian ones by at most a factor of `exp(±d)`, their hockey-stick divergence
    /// at `ε` is at most `exp(d)` times that of the Gaussians at `ε - 2d`.
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
        // A power of two: the losses of grid points, which are multiples of the step, are then exact.
        let first = (at_most / FIRST_STEPS).log2().floor().exp2();
        if !(first.is_normal() && delta > 0.0) {
            return None;
        }
        let (removed, step) = self.refined(Direction::Remove, delta, (first, 0.0))?;
        self.refined(Direction::Add, delta, (step, removed)).map(|(added, _)| added.max(removed))
    }

    /// ε in one direction, and the step with which it was found. The step is refined only until ε is at most
    /// `enough`: the larger ε of both directions counts, so that a smaller one need not be exact.
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
        // Each part, and the Gaussian, may lose its share, so that all together lose `BEYOND` of δ.
        let grid = LossGrid { step, beyond: BEYOND * delta / (count + 1.0), points: MOST_POINTS / kinds };
        let gaussian = SampledGaussian { sigma: self.mean_squared.sqrt().recip(), q: 1.0 };
        let gaussian = (self.mean_squared > 0.0).then_some((gaussian, 1.0));
        let mut parts = Vec::with_capacity(kinds);
        for (noise, count) in self.sampled.iter().copied().chain(gaussian) {
            parts.push(RepeatedLosses { losses: noise.losses(direction, grid)?, count });
        }
        for (noise, count) in &self.integers {
            parts.push(RepeatedLosses { losses: noise.losses(grid)?, count: *count });
        }
        Some(Composition { parts, points: MOST_POINTS })
    }
}
