//! The inputs of a model's head, for heads that are fitted from sums.

use super::{EVALUATION_TOKENS, Trainer};
use crate::classifier::features::{Features, NoteBatch};
use crate::device::values;

impl Trainer {
    /// The head's inputs under the present parameters: mean states of the last layer, 384 values a note. They
    /// reveal something about the notes, so only sums of them that a plan names may leave.
    pub fn pooled(&self, notes: &Features) -> Vec<f32> {
        tch::no_grad(|| {
            notes.batches(EVALUATION_TOKENS).flat_map(|batch| self.pooled_batch(&batch)).collect()
        })
    }

    fn pooled_batch(&self, batch: &NoteBatch) -> Vec<f32> {
        let routings = self.model.route(batch, &self.parameters);
        values(&self.model.pooled(&routings, batch, &self.parameters))
    }
}
