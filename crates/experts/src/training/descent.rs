//! The loop that every training of this crate runs.
//!
//! There are four trainings: of the classifier and of an adapter, each plain and by DP-SGD. They differ only
//! in this:
//!
//! - **What a step learns from.** A plain training goes over shuffled examples, epoch by epoch ([`Epochs`]).
//!   A private one draws each record independently
//!   ([`PrivateSteps`](crate::training::private::steps::PrivateSteps)), and has as many steps as its settings
//!   say.
//! - **How its gradient is found.** The classifier needs one backward pass. An adapter may sum several
//!   batches for one step, and compute layers twice to save memory. A private training finds the gradient of
//!   every example.
//! - **What limits the gradient.** A plain training scales the gradient of a step to a norm
//!   ([`Plan::max_norm`]). A private one clips the gradient of each record before it sums them, and scales
//!   nothing afterwards.
//! - **Masks.** An adapter can train a part of a tensor: the gradient of the rest is set to 0, in a private
//!   training after the noise, which falls on all of the tensor.
//!
//! The routing statistics that a round needs are collected in the last epoch of a plain training. A private
//! training draws some examples often and some never, so it collects them in a pass of its own after the last
//! step.

use tch::Tensor;

use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;
use crate::training::optimizer::{Group, Optimizer, Plan};
use crate::training::progress::{Losses, TrainingProgress};

/// The loss and the gradients of one step.
pub(crate) struct StepGradients {
    /// Loss of the task, a scalar without a graph.
    pub(crate) loss: Tensor,
    /// The gradient by each trained parameter, in the order of the [`Descent`]'s groups.
    pub(crate) gradients: Vec<Tensor>,
}

/// Finds the gradients of one step after another.
pub(crate) trait GradientSource {
    /// How many steps the training has.
    fn steps(&self) -> usize;

    /// The gradients of the next step under the present parameters.
    fn next_step(&mut self) -> StepGradients;

    /// Sets the gradients of what is not trained to 0.
    fn mask(&self, gradients: &mut [Tensor]);
}

/// How parameters follow gradients.
pub(crate) struct Descent {
    /// The trained parameters, with their learning rates.
    pub(crate) groups: Vec<Group>,
    /// The optimizer's rule and its learning-rate schedule.
    pub(crate) plan: Plan,
    /// Weight of the proximal term; 0 for none.
    pub(crate) proximal: f64,
}

impl Descent {
    /// Runs all steps of a training with a fresh optimizer, and returns the loss of each.
    ///
    /// # Errors
    /// [`ExpertsError::Diverged`] when a loss is not a finite number.
    pub(crate) fn run(
        self,
        source: &mut impl GradientSource,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<Vec<f64>, ExpertsError> {
        let steps = source.steps();
        let mut optimizer = Optimizer::new(self.groups, steps, self.plan);
        let anchor = Anchor::new(&optimizer, self.proximal);
        let mut losses = Losses::new(steps);
        for _ in 0..steps {
            let StepGradients { loss, mut gradients } = source.next_step();
            // Before the step is taken, so that on the CPU a loss that is not finite moves no parameter.
            losses.push(loss, progress)?;
            // After the noise of a private training: the pull follows from the parameters alone and costs no
            // privacy. Before the mask, which clears the pull too where nothing is trained.
            anchor.add_pull(&optimizer, &mut gradients);
            source.mask(&mut gradients);
            optimizer.apply(&gradients);
        }
        losses.finish(progress)
    }
}

/// A model that learns from batches of examples.
pub(crate) trait BatchLearner {
    /// The loss of some examples, and its gradients. In the last epoch the learner may also collect how they
    /// are routed.
    fn gradients(&mut self, examples: &[usize], is_last_epoch: bool) -> StepGradients;

    /// Sets the gradients of what is not trained to 0. By default everything is trained.
    fn mask(&self, _gradients: &mut [Tensor]) {}
}

/// Passes over all examples, each pass in its own order.
pub(crate) struct Epochs<'a, L> {
    learner: &'a mut L,
    examples: usize,
    epochs: usize,
    /// Examples of a step; the last step of an epoch may have fewer.
    examples_per_step: usize,
    seed: u64,
    /// Steps of the training that are done.
    step: usize,
    /// The order of the examples in the present epoch.
    order: Vec<usize>,
}

impl<'a, L: BatchLearner> Epochs<'a, L> {
    /// Goes over the examples `0..examples` as often as `epochs` says; `seed` fixes their order.
    pub(crate) fn new(
        learner: &'a mut L,
        examples: usize,
        epochs: usize,
        examples_per_step: usize,
        seed: u64,
    ) -> Self {
        Self { learner, examples, epochs, examples_per_step, seed, step: 0, order: Vec::new() }
    }

    fn steps_per_epoch(&self) -> usize {
        self.examples.div_ceil(self.examples_per_step)
    }
}

impl<L: BatchLearner> GradientSource for Epochs<'_, L> {
    fn steps(&self) -> usize {
        self.epochs * self.steps_per_epoch()
    }

    fn next_step(&mut self) -> StepGradients {
        let (epoch, place) = (self.step / self.steps_per_epoch(), self.step % self.steps_per_epoch());
        if place == 0 {
            // By epoch and not from one running stream: an epoch's order does not depend on those before.
            self.order = shuffled(self.examples, self.seed, epoch);
        }
        self.step += 1;
        let start = place * self.examples_per_step;
        let end = self.examples.min(start + self.examples_per_step);
        self.learner.gradients(&self.order[start..end], epoch + 1 == self.epochs)
    }

    fn mask(&self, gradients: &mut [Tensor]) {
        self.learner.mask(gradients);
    }
}

/// The order of the examples in an epoch.
fn shuffled(examples: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..examples).collect();
    Draw::new(seed, DrawPurpose::Order, epoch).shuffle(&mut order);
    order
}

/// Where a training started, for the proximal term.
struct Anchor {
    /// Copies of the parameters; none where the term's weight is 0, so that they take no memory.
    start: Vec<Tensor>,
    proximal: f64,
}

impl Anchor {
    fn new(optimizer: &Optimizer, proximal: f64) -> Self {
        let start = match proximal > 0.0 {
            true => optimizer.parameters().map(|parameter| parameter.detach().copy()).collect(),
            false => Vec::new(),
        };
        Self { start, proximal }
    }

    /// Adds the gradient of the proximal term, `mu · (w − w_0)`, to those of the parameters.
    fn add_pull(&self, optimizer: &Optimizer, gradients: &mut [Tensor]) {
        // Without copies, for a weight of 0, this ends at once.
        for ((now, start), gradient) in optimizer.parameters().zip(&self.start).zip(gradients) {
            *gradient += (now.detach() - start) * self.proximal;
        }
    }
}

/// The mean loss over the first and over the last quarter of the steps.
pub(crate) fn first_and_last(losses: &[f64]) -> (f64, f64) {
    // A single loss says little: it is that of one batch.
    let quarter = losses.len().div_ceil(4);
    (mean(&losses[..quarter]), mean(&losses[losses.len() - quarter..]))
}

/// The mean of losses, 0 of none: a private training may draw no record in any step.
fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Notes which examples each step had.
    #[derive(Default)]
    struct Witness(Vec<(Vec<usize>, bool)>);

    impl BatchLearner for Witness {
        fn gradients(&mut self, examples: &[usize], is_last_epoch: bool) -> StepGradients {
            self.0.push((examples.to_vec(), is_last_epoch));
            StepGradients { loss: Tensor::zeros([], (Kind::Float, Device::Cpu)), gradients: vec![] }
        }
    }

    #[test]
    fn every_epoch_has_each_example_once_in_an_order_of_its_own() {
        let mut witness = Witness::default();
        let descent =
            Descent { groups: vec![], plan: Plan { max_norm: None, ..Plan::default() }, proximal: 0.0 };
        let losses = descent.run(&mut Epochs::new(&mut witness, 7, 2, 3, 5), &mut |_| {});
        assert_eq!(losses.expect("the losses are finite").len(), 6);
        let sizes: Vec<usize> = witness.0.iter().map(|(examples, _)| examples.len()).collect();
        assert_eq!(sizes, [3, 3, 1, 3, 3, 1]);
        let last: Vec<bool> = witness.0.iter().map(|(_, is_last)| *is_last).collect();
        assert_eq!(last, [false, false, false, true, true, true]);
        let epochs: Vec<Vec<usize>> = witness
            .0
            .chunks(3)
            .map(|steps| steps.iter().flat_map(|(examples, _)| examples.clone()).collect())
            .collect();
        assert_ne!(epochs[0], epochs[1]);
        for mut epoch in epochs {
            epoch.sort_unstable();
            assert_eq!(epoch, [0, 1, 2, 3, 4, 5, 6]);
        }
    }
}
