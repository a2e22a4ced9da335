//! Gradient descent: AdamW or SGD, with accumulation, clipping, warm-up and decay. A step asks nothing of the
//! device, so the host never waits for it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

// The defaults of AdamW, in PyTorch too: decay of the mean gradient, decay of the mean squared gradient, and
// what keeps the division finite.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// How a gradient becomes a step.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// AdamW (Loshchilov and Hutter 2019).
    #[default]
    AdamW,
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Share of the last step that is added to the next one.
        momentum: f64,
    },
}

/// The schedule of the learning rate after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays as it is.
    #[default]
    Constant,
    /// It falls to 0 in half a cosine.
    Cosine,
}

/// The optimizer's rule, the schedule of its learning rate, and its clipping.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Plan {
    pub(crate) rule: Rule,
    pub(crate) decay: Decay,
    /// Part of the steps over which the learning rate rises linearly, 0 to 1.
    pub(crate) warm_up: f64,
    /// Gradients are scaled down to this norm over all parameters, if there is one.
    pub(crate) max_norm: Option<f64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rule: Rule::AdamW, decay: Decay::Constant, warm_up: 0.1, max_norm: Some(1.0) }
    }
}

impl Plan {
    /// Factor of the learning rate, from 0 to 1, in a step, counted from 1, of `steps`.
    fn rate(&self, step: usize, steps: usize) -> f64 {
        let warm_up = (steps as f64 * self.warm_up).ceil();
        let step = step as f64;
        if step < warm_up {
            return step / warm_up;
        }
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => {
                // A training may be all warm-up; nothing must be divided by 0 then.
                let done = (step - warm_up) / (steps as f64 - warm_up).max(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}

/// A tensor to train, with its learning rate and its decoupled weight decay.
pub(crate) struct Group {
    pub(crate) parameter: Tensor,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
}

/// The state of one training: it starts fresh, so nothing of a round lives on in the next.
pub(crate) struct Optimizer {
    groups: Vec<Group>,
    plan: Plan,
    /// AdamW: running means of each gradient and of its square. SGD uses the first alone, as the sum of past
    /// gradients that momentum weighs.
    moments: Vec<(Tensor, Tensor)>,
    step: usize,
    steps: usize,
}

impl Optimizer {
    /// For a training of this many steps.
    pub(crate) fn new(groups: Vec<Group>, steps: usize, plan: Plan) -> Self {
        let moments =
            groups.iter().map(|group| (group.parameter.zeros_like(), group.parameter.zeros_like())).collect();
        Self { groups, plan, moments, step: 0, steps }
    }

    /// What is trained.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.groups.iter().map(|group| &group.parameter)
    }

    /// One step down these gradients.
    pub(crate) fn apply(&mut self, gradients: &[Tensor]) {
        self.step += 1;
        tch::no_grad(|| {
            // Over all parameters together, so that clipping keeps the direction of the step.
            let clip = self.plan.max_norm.map(|most| clipping_factor(gradients, most));
            let rate = self.plan.rate(self.step, self.steps);
            for (index, gradient) in gradients.iter().enumerate() {
                let clipped = clip.as_ref().map_or_else(|| gradient.shallow_clone(), |clip| gradient * clip);
                self.move_one(index, &clipped, rate);
            }
        });
    }

    /// Moves the parameter number `index` by its gradient; `rate` is the schedule's factor.
    fn move_one(&mut self, index: usize, gradient: &Tensor, rate: f64) {
        let group = &mut self.groups[index];
        let (mean, square) = &mut self.moments[index];
        let rate = group.learning_rate * rate;
        // Decay is decoupled: it does not pass through the moments, so Adam's division does not rescale it.
        group.parameter *= 1.0 - rate * group.weight_decay;
        match self.plan.rule {
            Rule::Sgd { momentum } => {
                *mean *= momentum;
                *mean += gradient;
                group.parameter -= &*mean * rate;
            }
            Rule::AdamW => {
                let time = self.step as i32;
                // The means start from 0; dividing by `1 − βᵗ` undoes the bias towards it. ε is added after
                // that, as in PyTorch, so that a rate that was tuned there means the same here.
                let correction = (1.0 - BETA_2.powi(time)).sqrt();
                let _ = mean.lerp_(gradient, 1.0 - BETA_1);
                let _ = square.lerp_(&gradient.square(), 1.0 - BETA_2);
                let direction = &*mean / ((square.sqrt() / correction) + EPSILON);
                group.parameter -= direction * (rate / (1.0 - BETA_1.powi(time)));
            }
        }
    }
}

/// What gradients are multiplied by so that their norm is at most `most`, a scalar on their device.
fn clipping_factor(gradients: &[Tensor], most: f64) -> Tensor {
    let squares: Vec<Tensor> = gradients.iter().map(|gradient| gradient.square().sum(Kind::Float)).collect();
    let norm = Tensor::stack(&squares, 0).sum(Kind::Float).sqrt();
    // Not `min(1, most / norm)`: a norm of 0 would divide by 0.
    norm.clamp_min(most).reciprocal() * most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::values;

    fn group(start: &[f32], weight_decay: f64) -> Group {
        let parameter = Tensor::from_slice(start).set_requires_grad(true);
        Group { parameter, learning_rate: 0.1, weight_decay }
    }

    fn step(optimizer: &mut Optimizer, loss: &Tensor) {
        let parameters: Vec<&Tensor> = optimizer.parameters().collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        optimizer.apply(&gradients);
    }

    #[test]
    fn the_first_step_has_the_learning_rate_s_length_and_zero_gradients_do_not_move() {
        let group = group(&[1.0, 2.0], 0.0);
        let parameter = group.parameter.shallow_clone();
        let loss = (&parameter * Tensor::from_slice(&[-3.0_f32, 0.0])).sum(Kind::Float);
        step(&mut Optimizer::new(vec![group], 1, Plan::default()), &loss);
        let moved = values(&parameter);
        assert!((moved[0] - 1.1).abs() < 1e-5, "{moved:?}");
        assert_eq!(moved[1], 2.0);
    }

    #[test]
    fn the_learning_rate_warms_up() {
        let group = group(&[0.0], 0.0);
        let parameter = group.parameter.shallow_clone();
        step(&mut Optimizer::new(vec![group], 100, Plan::default()), &parameter.sum(Kind::Float));
        assert!((values(&parameter)[0] + 0.01).abs() < 1e-5);
    }

    #[test]
    fn decay_is_decoupled_from_the_gradient() {
        let group = group(&[2.0], 0.5);
        let parameter = group.parameter.shallow_clone();
        step(&mut Optimizer::new(vec![group], 1, Plan::default()), &(&parameter * 0.0).sum(Kind::Float));
        assert!((values(&parameter)[0] - 1.9).abs() < 1e-6);
    }

    #[test]
    fn large_gradients_are_scaled_to_norm_1_and_small_ones_stay() {
        let factor =
            |gradient: [f32; 2]| clipping_factor(&[Tensor::from_slice(&gradient)], 1.0).double_value(&[]);
        assert!((factor([3.0, 4.0]) - 0.2).abs() < 1e-6);
        assert_eq!(factor([0.3, 0.4]), 1.0);
    }

    #[test]
    fn the_learning_rate_rises_and_falls_in_half_a_cosine() {
        let plan = Plan { decay: Decay::Cosine, ..Plan::default() };
        let rates: Vec<f64> = [1, 10, 55, 100].map(|step| plan.rate(step, 100)).to_vec();
        for (rate, expected) in rates.iter().zip([0.1, 1.0, 0.5, 0.0]) {
            assert!((rate - expected).abs() < 1e-9, "{rates:?}");
        }
    }

    #[test]
    fn plain_descent_keeps_a_share_of_the_last_step() {
        let group = group(&[0.0], 0.0);
        let parameter = group.parameter.shallow_clone();
        let plan = Plan { rule: Rule::Sgd { momentum: 0.5 }, warm_up: 0.0, ..Plan::default() };
        let mut optimizer = Optimizer::new(vec![group], 2, plan);
        step(&mut optimizer, &parameter.sum(Kind::Float));
        step(&mut optimizer, &parameter.sum(Kind::Float));
        assert!((values(&parameter)[0] + 0.1 + 0.15).abs() < 1e-6);
    }
}
