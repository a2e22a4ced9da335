//! AdamW with gradient clipping and linear warm-up.

use tch::{Kind, Tensor};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Gradients are scaled down to this norm over all parameters.
const MAX_GRADIENT_NORM: f64 = 1.0;
/// Part of the steps over which the learning rate rises linearly.
const WARM_UP: f64 = 0.1;

/// A tensor to train, with its learning rate and its decoupled weight decay.
pub(crate) struct Group {
    pub(crate) parameter: Tensor,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
}

/// The state of one training: it starts fresh, so nothing of a round lives on in the next.
pub(crate) struct AdamW {
    groups: Vec<Group>,
    /// Running mean of each gradient and of its square.
    moments: Vec<(Tensor, Tensor)>,
    step: usize,
    warm_up: usize,
}

impl AdamW {
    /// For a training of this many steps.
    pub(crate) fn new(groups: Vec<Group>, steps: usize) -> Self {
        let moments =
            groups.iter().map(|group| (group.parameter.zeros_like(), group.parameter.zeros_like())).collect();
        Self { groups, moments, step: 0, warm_up: (steps as f64 * WARM_UP).ceil() as usize }
    }

    /// What is trained.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.groups.iter().map(|group| &group.parameter)
    }

    /// One step down the gradient of `loss`.
    pub(crate) fn step(&mut self, loss: &Tensor) {
        let parameters: Vec<&Tensor> = self.parameters().collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        self.step += 1;
        tch::no_grad(|| self.apply(&gradients));
    }

    fn apply(&mut self, gradients: &[Tensor]) {
        let clip = clipping_factor(gradients);
        let time = self.step as i32;
        let warm_up = (self.step as f64 / self.warm_up as f64).min(1.0);
        let correction = (1.0 - BETA_2.powi(time)).sqrt();
        for ((group, (mean, square)), gradient) in
            self.groups.iter_mut().zip(&mut self.moments).zip(gradients)
        {
            let gradient = gradient * clip;
            let rate = group.learning_rate * warm_up;
            let _ = mean.lerp_(&gradient, 1.0 - BETA_1);
            let _ = square.lerp_(&gradient.square(), 1.0 - BETA_2);
            let direction = &*mean / ((square.sqrt() / correction) + EPSILON);
            group.parameter *= 1.0 - rate * group.weight_decay;
            group.parameter -= direction * (rate / (1.0 - BETA_1.powi(time)));
        }
    }
}

fn clipping_factor(gradients: &[Tensor]) -> f64 {
    let norm =
        gradients.iter().map(|gradient| gradient.square().sum(Kind::Float).double_value(&[])).sum::<f64>();
    (MAX_GRADIENT_NORM / norm.sqrt().max(MAX_GRADIENT_NORM)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::values;

    fn group(start: &[f32], weight_decay: f64) -> Group {
        let parameter = Tensor::from_slice(start).set_requires_grad(true);
        Group { parameter, learning_rate: 0.1, weight_decay }
    }

    #[test]
    fn the_first_step_has_the_learning_rate_s_length_and_zero_gradients_do_not_move() {
        let group = group(&[1.0, 2.0], 0.0);
        let parameter = group.parameter.shallow_clone();
        AdamW::new(vec![group], 1)
            .step(&(&parameter * Tensor::from_slice(&[-3.0_f32, 0.0])).sum(Kind::Float));
        let moved = values(&parameter);
        assert!((moved[0] - 1.1).abs() < 1e-5, "{moved:?}");
        assert_eq!(moved[1], 2.0);
    }

    #[test]
    fn the_learning_rate_warms_up() {
        let group = group(&[0.0], 0.0);
        let parameter = group.parameter.shallow_clone();
        AdamW::new(vec![group], 100).step(&parameter.sum(Kind::Float));
        assert!((values(&parameter)[0] + 0.01).abs() < 1e-5);
    }

    #[test]
    fn decay_is_decoupled_from_the_gradient() {
        let group = group(&[2.0], 0.5);
        let parameter = group.parameter.shallow_clone();
        AdamW::new(vec![group], 1).step(&(&parameter * 0.0).sum(Kind::Float));
        assert!((values(&parameter)[0] - 1.9).abs() < 1e-6);
    }

    #[test]
    fn large_gradients_are_scaled_to_norm_1_and_small_ones_stay() {
        assert!((clipping_factor(&[Tensor::from_slice(&[3.0_f32, 4.0])]) - 0.2).abs() < 1e-9);
        assert_eq!(clipping_factor(&[Tensor::from_slice(&[0.3_f32, 0.4])]), 1.0);
    }
}
