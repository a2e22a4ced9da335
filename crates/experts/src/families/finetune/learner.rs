//! How a plain (not private) training gets the gradients of an adapter.

use tch::{Kind, Tensor};

use super::backward::{Learning, keep, recompute};
use super::routing::RoutingSums;
use super::{Example, FineTuner, FineTuning};
use crate::families::layers::losses::Totals;
use crate::families::models::batch::ExampleBatch;
use crate::families::{PublishedModel, Routing};
use crate::training::descent::{BatchLearner, StepGradients};

/// Computes the gradients of an adapter for batches of examples.
pub(super) struct AdapterLearner<'a> {
    tuner: &'a FineTuner,
    examples: &'a [Example],
    settings: &'a FineTuning,
    learning: &'a Learning,
    /// Collects how the last epoch's steps routed the examples, if the caller asks for it.
    routing: Option<&'a mut RoutingSums>,
    /// How many tokens have passed through the model so far.
    pub(super) tokens: usize,
}

impl<'a> AdapterLearner<'a> {
    pub(super) fn new(
        tuner: &'a FineTuner,
        examples: &'a [Example],
        settings: &'a FineTuning,
        learning: &'a Learning,
        routing: Option<&'a mut RoutingSums>,
    ) -> Self {
        Self { tuner, examples, settings, learning, routing, tokens: 0 }
    }

    /// One batch's share of the step's loss, and its gradients. `learnt` is how many tokens the whole step
    /// teaches, and `share` the part of the step's examples that are in the batch: the routers' losses, which
    /// are means over a batch, count by it.
    fn batch_gradients(
        &mut self,
        examples: &[&Example],
        (learnt, share): (usize, f64),
        is_last_epoch: bool,
    ) -> StepGradients {
        let (tuner, settings) = (self.tuner, self.settings);
        let batch = ExampleBatch::new(examples, &tuner.model);
        // Routing changes while the adapter learns, so only the last epoch counts: nearly that of the result,
        // without another pass.
        let mut sums = self.routing.as_deref_mut().filter(|_| is_last_epoch);
        let mut routers = |index: usize, routing: &Routing, totals: &Totals| {
            if let Some(sums) = &mut sums {
                sums.add(index, routing);
            }
            tuner.layer_loss(index, routing, totals, settings).map(|loss| loss * share)
        };
        let (loss, gradients) = match (&tuner.model, settings.recompute_layers) {
            (PublishedModel::Decoder(model), true) => {
                recompute(model, &batch, learnt, &mut routers, self.learning)
            }
            _ => keep(&tuner.model, &batch, learnt, &mut routers, self.learning),
        };
        StepGradients { loss, gradients }
    }
}

impl BatchLearner for AdapterLearner<'_> {
    /// Sums the gradients of the step's batches (gradient accumulation).
    fn gradients(&mut self, numbers: &[usize], is_last_epoch: bool) -> StepGradients {
        let examples: Vec<&Example> = numbers.iter().map(|&number| &self.examples[number]).collect();
        self.tokens += examples.iter().map(|example| example.tokens.len()).sum::<usize>();
        // Over the whole step, so that a step's loss does not depend on how it is divided into batches.
        let learnt: usize = examples.iter().map(|example| example.learnt()).sum();
        let mut loss = Tensor::zeros([], (Kind::Float, self.tuner.model.device()));
        let mut sums: Vec<Tensor> = Vec::new();
        for batch in examples.chunks(self.settings.batch_size) {
            let share = batch.len() as f64 / examples.len() as f64;
            let part = self.batch_gradients(batch, (learnt, share), is_last_epoch);
            loss += part.loss;
            match sums.is_empty() {
                true => sums = part.gradients,
                false => sums.iter_mut().zip(part.gradients).for_each(|(sum, gradient)| *sum += gradient),
            }
        }
        StepGradients { loss, gradients: sums }
    }

    fn mask(&self, gradients: &mut [Tensor]) {
        self.learning.mask(gradients);
    }
}
