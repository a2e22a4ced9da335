//! Steps of private training as a mechanism: the product's own draws, clipping, noise and divisor, over planted gradients.
//!
//! In each step every canary is an example that is drawn with probability ½, and the audit knows which were.
//! Its gradient is longer than the clipping norm, and lies in two parameters together, so that clipping each
//! parameter by itself would show. For each canary this is the Gaussian mechanism that the charge for a step
//! starts from. Sampling lowers that charge, which is proved and which no canary can show.

use cloister_experts::{PlantedGradients, PrivateTraining, ReleasedStep};
use cloister_privacy::accountant::{Account, Mechanism as Charged};
use cloister_privacy::release::Released;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::RHO;
use super::fault::{EXCESS, NO_NOISE, PlantedFault};
use super::mechanism::{AuditSubject, AuditedMechanism, CanaryEvidence};
use super::noise::{Comparison, Constant, NoiseSeen, Squares};
use crate::error::LabError;

/// Canaries of a step.
const EXAMPLES: usize = 8;
/// Coordinates without canaries, which reveal the size of the noise.
const SPARE: usize = 1000;
/// Parameters that are trained together; each canary has a coordinate in the first two.
const LENGTHS: [usize; 3] = [EXAMPLES, EXAMPLES, SPARE];
/// What a step's sum is divided by: the expected number of drawn examples. The number drawn would reveal who
/// was.
const DIVISOR: usize = EXAMPLES / 2;
const CLIPPING_NORM: f64 = 1.0;
/// Steps with every canary that are compared with each other.
const COMPARED: usize = 20;
/// The grid on which noise is compared, as a share of its standard deviation. Finer than any equality by
/// chance, coarser than the rounding of 32-bit gradients.
const COMPARED_UNIT: f64 = 1.0 / 65536.0;

/// Steps of private training.
#[derive(Debug)]
pub struct AuditedSteps {
    fault: PlantedFault,
    promised: PrivateTraining,
    planted: PlantedGradients,
    /// How far each canary moves a step's sum before noise, in its direction.
    lengths: Vec<f64>,
}

impl AuditedSteps {
    /// Steps with this fault.
    ///
    /// # Errors
    /// None but a fault of the program.
    pub fn new(fault: PlantedFault) -> Result<Self, LabError> {
        let promised = PrivateTraining {
            clipping_norm: CLIPPING_NORM,
            noise_multiplier: (2.0 * RHO).sqrt().recip(),
            sampling_probability: 0.5,
            steps: 1,
        };
        let long = f64::from(EXCESS) * CLIPPING_NORM;
        let gradients: Vec<Vec<f32>> = (0..EXAMPLES)
            .map(|canary| gradient(canary, long).into_iter().map(|value| value as f32).collect())
            .collect();
        let planted = PlantedGradients::new(&LENGTHS, &gradients)?;
        // The lengths are measured on the product's own step, so clipping and its margin for rounding are in
        // them.
        let everybody = PrivateTraining { sampling_probability: 1.0, ..fault.training(&promised) };
        let noise_multiplier = everybody.noise_multiplier * NO_NOISE;
        let no_noise = PrivateTraining { noise_multiplier, ..everybody };
        let step = planted.step(&no_noise, fault.divisor(DIVISOR), &mut ChaCha20Rng::seed_from_u64(0))?;
        let lengths = (0..EXAMPLES).map(|canary| along(&step, canary)).collect();
        Ok(Self { fault, promised, planted, lengths })
    }

    fn deviation(&self) -> f64 {
        self.promised.noise_multiplier * self.promised.clipping_norm
    }

    fn step(&self, training: &PrivateTraining, random: &mut ChaCha20Rng) -> Result<ReleasedStep, LabError> {
        let mut generator = self.fault.generator(0, random);
        let (training, divisor) = (self.fault.training(training), self.fault.divisor(DIVISOR));
        let mut step = self.planted.step(&training, divisor, &mut generator)?;
        if self.fault == PlantedFault::DividedByDrawn {
            let factor = DIVISOR as f32 / step.drawn.len().max(1) as f32;
            step.gradient.iter_mut().for_each(|value| *value *= factor);
        }
        if self.fault == PlantedFault::BareCoordinate {
            step.gradient[LENGTHS.iter().sum::<usize>() - 1] = 0.0;
        }
        Ok(step)
    }

    /// A step's noise: its sum without the drawn canaries' known gradients.
    fn noise(&self, step: &ReleasedStep) -> Vec<f64> {
        let mut noise: Vec<f64> =
            step.gradient.iter().map(|value| f64::from(*value) * DIVISOR as f64).collect();
        for &canary in &step.drawn {
            let known = gradient(canary, self.lengths[canary]);
            noise.iter_mut().zip(known).for_each(|(sum, known)| *sum -= known);
        }
        noise
    }

    /// The tests for reused noise. Every step draws every canary, so that steps differ in noise alone.
    fn compared(&self, random: &mut ChaCha20Rng) -> Result<NoiseSeen, LabError> {
        let everybody = PrivateTraining { sampling_probability: 1.0, ..self.promised };
        let unit = self.deviation() * COMPARED_UNIT;
        let mut noise = Vec::with_capacity(COMPARED);
        for _ in 0..COMPARED {
            let step = self.step(&everybody, random)?;
            noise.push(self.noise(&step).iter().map(|value| (value / unit).round() as i64).collect());
        }
        Ok(NoiseSeen {
            comparisons: vec![Comparison::from_successive(&noise)],
            constants: vec![Constant::in_releases(&noise)],
            ..NoiseSeen::default()
        })
    }

    /// The log-likelihood ratio of the step with the canary drawn over without it, under the claimed noise.
    fn score(&self, step: &ReleasedStep, canary: usize) -> f64 {
        let length = self.lengths[canary];
        length * (along(step, canary) - length / 2.0) / self.deviation().powi(2)
    }
}

impl AuditedMechanism for AuditedSteps {
    fn evidence(&self, canaries: usize, seed: u64) -> Result<Vec<CanaryEvidence>, LabError> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut noise = self.compared(&mut random)?;
        let (mut scores, mut included) = (Vec::new(), Vec::new());
        for _ in 0..canaries.div_ceil(EXAMPLES) {
            let step = self.step(&self.promised, &mut random)?;
            noise.squares.push(Squares::over_variance(&self.noise(&step), self.deviation()));
            scores.extend((0..EXAMPLES).map(|canary| self.score(&step, canary)));
            included.extend((0..EXAMPLES).map(|canary| step.drawn.contains(&canary)));
        }
        let mut claimed = Account::default();
        let noise_multiplier = self.promised.noise_multiplier;
        // Claimed without amplification, because the audit knows the draws.
        claimed.add(Charged::Gaussian { noise_multiplier, sampling_probability: 1.0 }, 1);
        let subject = AuditSubject::Release(Released::PrivateStep);
        let moved = self.lengths.iter().copied().fold(0.0, f64::max) / self.promised.clipping_norm;
        Ok(vec![CanaryEvidence { subject, claimed, moved, scores, included, noise }])
    }
}

/// A step's sum in the direction of a canary.
fn along(step: &ReleasedStep, canary: usize) -> f64 {
    let direction = gradient(canary, DIVISOR as f64);
    step.gradient.iter().zip(direction).map(|(value, part)| f64::from(*value) * part).sum()
}

/// A gradient of this norm in the direction of a canary.
fn gradient(canary: usize, norm: f64) -> Vec<f64> {
    let mut gradient = vec![0.0; LENGTHS.iter().sum()];
    for at in [canary, EXAMPLES + canary] {
        gradient[at] = norm * std::f64::consts::FRAC_1_SQRT_2;
    }
    gradient
}
