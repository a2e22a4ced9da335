//! How far a training is, and the losses of its steps.

use tch::{Device, Tensor};

use crate::error::ExpertsError;

/// How far a training is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainingProgress {
    /// Steps done.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// Loss of the task in the last batch without regularisers, in nats for each note of the classifier, or
    /// for each token that a published model learns.
    pub loss: f64,
}

/// Steps between two readings of losses on a GPU. At each reading the host waits until the GPU has computed
/// everything that is queued.
const STEPS_BETWEEN_LOOKS: usize = 16;

/// Losses of steps: read at once on the CPU, and every [`STEPS_BETWEEN_LOOKS`] steps on a GPU.
pub(crate) struct Losses {
    /// Losses on the device that are not read yet, scalars.
    waiting: Vec<Tensor>,
    /// Losses that were read, one for each step so far.
    read: Vec<f64>,
    /// Steps of the whole training.
    steps: usize,
}

impl Losses {
    pub(crate) fn new(steps: usize) -> Self {
        Self { waiting: vec![], read: vec![], steps }
    }

    /// Takes the loss of one step, a scalar, and calls `progress` after each reading.
    ///
    /// # Errors
    /// [`ExpertsError::Diverged`] for a loss that is not finite; on a GPU up to 15 steps later.
    pub(crate) fn push(
        &mut self,
        loss: Tensor,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<(), ExpertsError> {
        let most = if loss.device() == Device::Cpu { 1 } else { STEPS_BETWEEN_LOOKS };
        self.waiting.push(loss);
        match self.waiting.len() == most {
            true => self.look(progress),
            false => Ok(()),
        }
    }

    /// Reads all losses that wait.
    fn look(&mut self, progress: &mut dyn FnMut(TrainingProgress)) -> Result<(), ExpertsError> {
        for loss in self.waiting.drain(..) {
            let loss = loss.double_value(&[]);
            if !loss.is_finite() {
                // The step that the loss belongs to, not the one at which it was read.
                return Err(ExpertsError::Diverged { step: self.read.len() + 1, loss });
            }
            self.read.push(loss);
        }
        let loss = self.read.last().copied().unwrap_or(0.0);
        progress(TrainingProgress { step: self.read.len(), steps: self.steps, loss });
        Ok(())
    }

    /// Reads what is left and returns the loss of each step.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) fn finish(
        mut self,
        progress: &mut dyn FnMut(TrainingProgress),
    ) -> Result<Vec<f64>, ExpertsError> {
        if !self.waiting.is_empty() {
            self.look(progress)?;
        }
        Ok(self.read)
    }
}
