//! The steps of DP-SGD: all that its guarantee rests on, in one place, whatever is trained (`PRIV-10`).
//!
//! 1. Each record is drawn with the same probability, independently of the others.
//! 2. The gradient of each drawn record is clipped once; one that is not finite counts as 0.
//! 3. Noise is added once to the sum of a step.
//! 4. The noised sum is divided by a public number, not by how many records were drawn.
//!
//! A [`RecordLearner`] computes the gradient of each example. It sees neither the randomness nor the noise.

use rand_core::CryptoRng;
use tch::{Kind, Tensor};

use super::{ClippedSum, Grid, PrivateReport, PrivateTraining, RecordSums, record_batches};
use crate::error::ExpertsError;
use crate::training::descent::{GradientSource, StepGradients};

/// A model that computes the gradient of each example of a batch by itself.
pub(crate) trait RecordLearner {
    /// The examples of each record.
    fn records(&self) -> &[Vec<usize>];

    /// What is trained.
    fn parameters(&self) -> &[(String, Tensor)];

    /// How many coordinates are trained. By default all of the parameters.
    fn coordinates(&self) -> usize {
        self.parameters().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// The sum of some examples' losses, and the gradient of each, `[examples, …]` for each parameter.
    fn example_gradients(&mut self, examples: &[usize]) -> (Tensor, Vec<Tensor>);

    /// Sets the gradients of what is not trained to 0. By default everything is trained.
    fn mask(&self, _gradients: &mut [Tensor]) {}
}

/// Private steps of a learner.
pub(crate) struct PrivateSteps<'a, L, R> {
    learner: &'a mut L,
    private: &'a PrivateTraining,
    grid: Grid,
    /// Examples that pass through the model together; it bounds memory and changes no result.
    most_examples: usize,
    /// What the sum of a step is divided by.
    divisor: usize,
    random: &'a mut R,
    /// How many records each step drew.
    drawn_in_steps: Vec<usize>,
    /// How many gradients were clipped, and how many were not finite, `[2]` on the device.
    counts: Option<Tensor>,
}

impl<'a, L: RecordLearner, R: CryptoRng> PrivateSteps<'a, L, R> {
    /// `random` draws the records and the noise, and must be secret.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] when the noise is too large for its grid.
    pub(crate) fn new(
        learner: &'a mut L,
        private: &'a PrivateTraining,
        (most_examples, divisor): (usize, usize),
        random: &'a mut R,
    ) -> Result<Self, ExpertsError> {
        // Coordinates that the mask clears are not released, so rounding them moves nothing that counts.
        let grid = Grid::new(private, learner.coordinates())?;
        let drawn_in_steps = Vec::with_capacity(private.steps);
        Ok(Self { learner, private, grid, most_examples, divisor, random, drawn_in_steps, counts: None })
    }

    /// One step; also says which records it drew.
    pub(crate) fn step(&mut self) -> (Vec<usize>, StepGradients) {
        let drawn = self.private.draw(self.learner.records().len(), self.random);
        let (loss, sum) = clipped_sum(self.learner, &drawn, self.grid.bound, self.most_examples);
        // Also if no record was drawn: a step without noise would reveal that.
        let gradients = sum.noised(self.grid, self.divisor, self.random);
        self.drawn_in_steps.push(drawn.len());
        // Added up on the device and read once, at the end: each reading makes the host wait.
        self.counts = Some(match self.counts.take() {
            Some(counts) => counts + sum.counts,
            None => sum.counts,
        });
        (drawn, StepGradients { loss, gradients })
    }

    /// How many records each step drew.
    pub(crate) fn drawn_in_steps(&self) -> &[usize] {
        &self.drawn_in_steps
    }

    /// What the steps did so far.
    pub(crate) fn report(&self) -> PrivateReport {
        PrivateReport {
            steps: self.drawn_in_steps.len(),
            drawn: self.drawn_in_steps.iter().sum(),
            clipped: self.count(0),
            not_finite: self.count(1),
        }
    }

    /// One of the two counts, read from the device; 0 before the first step.
    fn count(&self, index: i64) -> usize {
        self.counts.as_ref().map_or(0, |counts| counts.int64_value(&[index]) as usize)
    }
}

impl<L: RecordLearner, R: CryptoRng> GradientSource for PrivateSteps<'_, L, R> {
    fn steps(&self) -> usize {
        self.private.steps
    }

    fn next_step(&mut self) -> StepGradients {
        self.step().1
    }

    fn mask(&self, gradients: &mut [Tensor]) {
        self.learner.mask(gradients);
    }
}

/// The mean loss of the drawn records' examples, 0 where there are none, and the sum of the records'
/// gradients, each clipped to `bound`. At most `most` examples pass through the model together.
pub(crate) fn clipped_sum(
    learner: &mut impl RecordLearner,
    drawn: &[usize],
    bound: f64,
    most: usize,
) -> (Tensor, ClippedSum) {
    let mut sum = ClippedSum::new(bound, learner.parameters());
    let records = learner.records();
    let batches = record_batches(drawn.iter().map(|&record| records[record].as_slice()), |_| 1, most as i64);
    let (mut incomplete, mut examples) = (RecordSums::default(), 0);
    let mut losses = Tensor::zeros([], (Kind::Float, sum.counts.device()));
    for batch in &batches {
        let (loss, gradients) = learner.example_gradients(&batch.examples);
        examples += batch.examples.len();
        // The loss is shown to the member alone, and must not end a training: that would tell of the record.
        losses += loss.nan_to_num(0.0, 0.0, 0.0);
        // A record is clipped once, when all of its examples' gradients are there.
        sum.add(&incomplete.complete(batch, batch.means(gradients)));
    }
    (losses / examples.max(1) as f64, sum)
}
