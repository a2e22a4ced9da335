//! Sorts texts into classes.

use crate::error::ExpertsError;
use crate::families::finetune::{Example, FineTuner};

impl FineTuner {
    /// The most likely class of each text, by its number among the adapter's classes. What the examples teach
    /// is ignored. `batch_size` of them pass through the model together.
    ///
    /// # Errors
    /// As [`train`](Self::train); also [`ExpertsError::Example`] if the adapter has no head over classes.
    pub fn classify(&self, examples: &[Example], batch_size: usize) -> Result<Vec<usize>, ExpertsError> {
        // Every text gets class 0, which is not read: only examples with a class reach the head over classes.
        let texts: Vec<Example> =
            examples.iter().map(|example| Example::for_class(example.tokens.clone(), 0)).collect();
        let mut classes = Vec::with_capacity(texts.len());
        self.each_batch(&texts, batch_size, &mut |_, logits| {
            let likeliest: Vec<i64> =
                Vec::try_from(logits.argmax(-1, false)).expect("classes are a vector of integers");
            classes.extend(likeliest.into_iter().map(|class| class as usize));
        })?;
        Ok(classes)
    }
}
