//! Sorts texts into classes.

use crate::error::ExpertsError;
use crate::families::finetune::{Example, FineTuner};

impl FineTuner {
    /// The class that the model finds likeliest for each text, by its number among the adapter's classes. What the examples
    /// teach plays no part; `batch_size` of them pass through the model together.
    ///
    /// # Errors
    /// As [`train`](Self::train); [`ExpertsError::Example`] too where the adapter has no head over classes.
    pub fn classify(&self, examples: &[Example], batch_size: usize) -> Result<Vec<usize>, ExpertsError> {
        let text = |example: &Example| Example::of_class(example.tokens.clone(), 0);
        let texts: Vec<Example> = examples.iter().map(text).collect();
        let mut classes = Vec::with_capacity(texts.len());
        self.each_batch(&texts, batch_size, &mut |_, logits| {
            let likeliest: Vec<i64> =
                Vec::try_from(logits.argmax(-1, false)).expect("classes are a vector of integers");
            classes.extend(likeliest.into_iter().map(|class| class as usize));
        })?;
        Ok(classes)
    }
}
