//! Steps of DP-SGD over gradients that are given, for audits. Draws, clipping, noise and divisor are those of
//! every private training (the module `steps`), so an audit can compare the gradients that it planted with
//! what is released.

use rand_core::CryptoRng;
use tch::{Kind, Tensor};

use super::PrivateTraining;
use super::steps::{PrivateSteps, RecordLearner};
use crate::device::values;
use crate::error::ExpertsError;

/// A gradient for each example, over several parameters.
#[derive(Debug)]
pub struct PlantedGradients {
    parameters: Vec<(String, Tensor)>,
    /// `[examples, length]` for each parameter.
    gradients: Vec<Tensor>,
    /// Each example is a record of its own.
    records: Vec<Vec<usize>>,
}

/// What a step with planted gradients yields.
#[derive(Clone, PartialEq, Debug)]
pub struct ReleasedStep {
    /// The examples that were drawn. Only an audit may see them: the charge counts on the draws being secret.
    pub drawn: Vec<usize>,
    /// The noised sum over the divisor, all parameters one after another: what the optimizer takes its step
    /// by.
    pub gradient: Vec<f32>,
}

impl PlantedGradients {
    /// The examples' gradients, each over parameters of these lengths one after another.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] for a gradient whose length is not the sum of the parameters'.
    pub fn new(lengths: &[usize], gradients: &[Vec<f32>]) -> Result<Self, ExpertsError> {
        let whole: usize = lengths.iter().sum();
        if let Some(other) = gradients.iter().map(Vec::len).find(|&length| length != whole) {
            let reason = format!(
                "a planted gradient has {other} coordinates, the parameters have {whole}; \
                 give each example one for every coordinate"
            );
            return Err(ExpertsError::Settings(reason));
        }
        let all = Tensor::from_slice(&gradients.concat()).view([gradients.len() as i64, whole as i64]);
        let widths: Vec<i64> = lengths.iter().map(|&length| length as i64).collect();
        let mut parameters = Vec::with_capacity(widths.len());
        for (index, width) in widths.iter().enumerate() {
            parameters.push((index.to_string(), Tensor::zeros([*width], (Kind::Float, tch::Device::Cpu))));
        }
        Ok(Self {
            parameters,
            gradients: all.split_with_sizes(&widths, 1),
            records: (0..gradients.len()).map(|example| vec![example]).collect(),
        })
    }

    /// One step of private training, which divides by `divisor`.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] for private settings outside their limits.
    pub fn step(
        &self,
        private: &PrivateTraining,
        divisor: usize,
        random: &mut impl CryptoRng,
    ) -> Result<ReleasedStep, ExpertsError> {
        private.check()?;
        let mut learner = PlantedLearner(self);
        let mut steps = PrivateSteps::new(&mut learner, private, (self.records.len(), divisor), random)?;
        let (drawn, step) = steps.step();
        Ok(ReleasedStep { drawn, gradient: step.gradients.iter().flat_map(values).collect() })
    }
}

/// Learns nothing: its gradients are given.
struct PlantedLearner<'a>(&'a PlantedGradients);

impl RecordLearner for PlantedLearner<'_> {
    fn records(&self) -> &[Vec<usize>] {
        &self.0.records
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.0.parameters
    }

    /// There is no loss that the gradients would be of.
    fn example_gradients(&mut self, examples: &[usize]) -> (Tensor, Vec<Tensor>) {
        let rows = Tensor::from_slice(&examples.iter().map(|&example| example as i64).collect::<Vec<i64>>());
        let gradients = self.0.gradients.iter().map(|gradient| gradient.index_select(0, &rows)).collect();
        (Tensor::zeros([], (Kind::Float, tch::Device::Cpu)), gradients)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// PRIV-10: over both parameters together, a gradient adds no more than the clipping norm, and a short
    /// one all of itself.
    #[test]
    fn a_step_sums_the_clipped_gradients_of_what_it_drew() {
        let gradients = [vec![3.0, 0.0, 4.0], vec![0.0, 0.25, 0.0], vec![0.0, 0.0, 0.0]];
        let planted = PlantedGradients::new(&[2, 1], &gradients).expect("lengths fit");
        let private = PrivateTraining {
            clipping_norm: 1.0,
            noise_multiplier: 1e-4,
            sampling_probability: 0.5,
            steps: 1,
        };
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let mut seen = [false; 2];
        for _ in 0..20 {
            let step = planted.step(&private, 2, &mut random).expect("sound settings");
            let [first, second] = [0, 1].map(|example| f32::from(u8::from(step.drawn.contains(&example))));
            let expected = [0.3 * first, 0.125 * second, 0.4 * first];
            for (got, expected) in step.gradient.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-3, "{got} is not {expected}");
            }
            seen = [seen[0] | (first > 0.0), seen[1] | (first == 0.0)];
        }
        assert_eq!(seen, [true, true], "the first is drawn in some steps alone");
        let other = PlantedGradients::new(&[2, 1], &[vec![1.0; 4]]).expect_err("another length");
        assert!(other.to_string().contains("has 4 coordinates, the parameters have 3"), "{other}");
    }
}
