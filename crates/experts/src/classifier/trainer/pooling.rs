//! What a model's head sees, for heads that are fitted from sums.

use super::{EVALUATION_TOKENS, Trainer};
use crate::classifier::features::{Features, NoteBatch};
use crate::device::values;

impl Trainer {
    /// The head's inputs under the present parameters: mean states of the last layer, 384 values a note. They tell of
    /// the notes, so only sums of them that a plan names may leave.
    pub fn pooled(&self, notes: &Features) -> Vec<f32> {
        let pooled = |batch: NoteBatch| {
            let routings = self.model.route(&batch, &self.parameters);
            values(&self.model.pooled(&routings, &batch, &self.parameters))
        };
        tch::no_grad(|| notes.batches(EVALUATION_TOKENS).flat_map(pooled).collect())
    }
}
