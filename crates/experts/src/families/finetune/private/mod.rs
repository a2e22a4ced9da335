//! Private training of adapters by DP-SGD.

use rand_core::CryptoRng;
use tch::Tensor;

use super::backward::{Learning, example_gradients};
use super::{Example, FineTuned, FineTuner, FineTuning};
use crate::error::ExpertsError;
use crate::families::Routing;
use crate::families::finetune::example::records;
use crate::families::layers::losses::Totals;
use crate::families::models::batch::ExampleBatch;
use crate::training::descent::Descent;
use crate::training::optimizer::Plan;
use crate::training::private::steps::{PrivateSteps, RecordLearner};
use crate::training::private::{PrivateReport, PrivateTraining, Tape};
use crate::training::progress::TrainingProgress;

/// Computes the gradient of each example of a batch. The model must record its products with the adapter on
/// the tape.
struct PrivateAdapterLearner<'a> {
    tuner: &'a FineTuner,
    examples: &'a [Example],
    /// The indices of the examples of each record.
    records: Vec<Vec<usize>>,
    settings: &'a FineTuning,
    learning: &'a Learning,
    tape: &'a Tape,
    /// How many tokens have passed through the model so far.
    tokens: usize,
}

impl FineTuner {
    /// Trains the adapter by DP-SGD. `settings.epochs` is ignored: there are
    /// `private.steps` steps on batches that `random` draws. At most `settings.batch_size` examples pass
    /// through the model together. Each has gradients of its own, so memory must hold as many adapters. Each
    /// step's sum is divided by `batch_size · accumulate`. The loss of an example is its mean over the tokens
    /// that it teaches, and the loss of a record is the mean over its examples.
    ///
    /// # Errors
    /// As [`train`](Self::train), and [`ExpertsError::Settings`] for private settings outside their limits,
    /// for dropout, or for `recompute_layers`.
    ///
    /// # Leakage
    /// The adapter leaks of each record what the charge for `private` covers. The charge does not cover the
    /// losses.
    pub fn train_privately(
        &mut self,
        examples: &[Example],
        settings: &FineTuning,
        private: &PrivateTraining,
        random: &mut impl CryptoRng,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(FineTuned, PrivateReport), ExpertsError> {
        settings.check()?;
        private.check()?;
        if settings.recompute_layers {
            let reason = "private training needs what every layer computed; turn recompute_layers off";
            return Err(ExpertsError::Settings(reason.to_owned()));
        }
        if settings.dropout > 0.0 {
            let reason = "with dropout, a record's gradient would depend on the records that pass through the model with \
                          it, so its influence would not be bounded; set dropout to 0 for private training";
            return Err(ExpertsError::Settings(reason.to_owned()));
        }
        self.check(examples)?;
        tch::manual_seed(settings.seed as i64);
        let tape = Tape::default();
        self.model.attach_recorded(&self.adapter, 0.0, &|module| tape.recorder(module.to_owned()))?;
        let result = self.descend_privately(examples, settings, private, (&tape, random), progress);
        // After a failure too: without it, the model would go on recording.
        self.model.attach(&self.adapter, 0.0)?;
        self.adapter.freeze();
        result
    }

    fn descend_privately(
        &self,
        examples: &[Example],
        settings: &FineTuning,
        private: &PrivateTraining,
        (tape, random): (&Tape, &mut impl CryptoRng),
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(FineTuned, PrivateReport), ExpertsError> {
        let (learning, groups) = self.learning(settings)?;
        let mut learner = PrivateAdapterLearner::new(self, examples, settings, &learning, tape);
        let sizes = (settings.batch_size, settings.batch_size * settings.accumulate);
        // Batches and noise come from `random` and not from libtorch, whose generator can be predicted from
        // its output.
        let mut steps = PrivateSteps::new(&mut learner, private, sizes, random)?;
        // Each record's gradient is already clipped, so the step is not.
        let plan = Plan { max_norm: None, ..settings.plan() };
        let losses = Descent { groups, plan, proximal: settings.proximal }.run(&mut steps, progress)?;
        let report = steps.report();
        Ok((FineTuned { losses, tokens: learner.tokens }, report))
    }
}

impl<'a> PrivateAdapterLearner<'a> {
    fn new(
        tuner: &'a FineTuner,
        examples: &'a [Example],
        settings: &'a FineTuning,
        learning: &'a Learning,
        tape: &'a Tape,
    ) -> Self {
        Self { tuner, examples, records: records(examples), settings, learning, tape, tokens: 0 }
    }
}

impl RecordLearner for PrivateAdapterLearner<'_> {
    fn records(&self) -> &[Vec<usize>] {
        &self.records
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.learning.parameters
    }

    fn coordinates(&self) -> usize {
        self.learning.coordinates()
    }

    fn example_gradients(&mut self, numbers: &[usize]) -> (Tensor, Vec<Tensor>) {
        let examples: Vec<&Example> = numbers.iter().map(|&number| &self.examples[number]).collect();
        self.tokens += examples.iter().map(|example| example.tokens.len()).sum::<usize>();
        let batch = ExampleBatch::new(&examples, &self.tuner.model);
        let mut routers = |index: usize, routing: &Routing, totals: &Totals| {
            self.tuner.layer_loss(index, routing, totals, self.settings)
        };
        example_gradients(&self.tuner.model, &batch, &mut routers, self.learning, self.tape)
    }

    fn mask(&self, gradients: &mut [Tensor]) {
        self.learning.mask(gradients);
    }
}

#[cfg(test)]
mod tests;
