//! Sorts texts into classes.

use crate::class_scores::{ClassScores, class_scores};
use crate::error::ExpertsError;
use crate::families::finetune::{Example, FineTuner};

impl FineTuner {
    /// The most likely class of each text, by its number among the adapter's classes. What the examples teach
    /// is ignored. `batch_size` of them pass through the model together.
    ///
    /// # Errors
    /// As [`train`](Self::train); also [`ExpertsError::Example`] if the adapter has no head over classes.
    pub fn classify(&self, examples: &[Example], batch_size: usize) -> Result<Vec<usize>, ExpertsError> {
        Ok(self.class_scores(examples, batch_size)?.into_iter().map(|scores| scores.class).collect())
    }

    /// As [`classify`](Self::classify), with the probability of each class.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn class_scores(
        &self,
        examples: &[Example],
        batch_size: usize,
    ) -> Result<Vec<ClassScores>, ExpertsError> {
        // Every text gets class 0, which is not read: only examples with a class reach the head over classes.
        let texts: Vec<Example> =
            examples.iter().map(|example| Example::for_class(example.tokens.clone(), 0)).collect();
        let mut scores = Vec::with_capacity(texts.len());
        self.each_batch(&texts, batch_size, &mut |_, logits| scores.extend(class_scores(logits)))?;
        Ok(scores)
    }
}
