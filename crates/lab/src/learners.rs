//! The members that a federation trains, with their data, behind one interface.

use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::{BlockVectors, Features, LocalResult, LocalTraining, Trainer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::error::LabError;
use crate::private;
use crate::statistics::Statistics;
use crate::training::MemberTrainingConfig;

/// A norm that the input of MiniLM's head seldom exceeds.
pub(crate) const POOLED_NORM: f64 = 16.0;

/// Divides a text's features by [`POOLED_NORM`], or by their norm if that is larger: their norm is then at
/// most 1.
fn into_unit_ball(row: &mut [f32]) {
    let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let factor = norm.max(POOLED_NORM).recip() as f32;
    row.iter_mut().for_each(|value| *value *= factor);
}

/// The members of a run, each with its own data, and the texts for measuring.
pub(crate) trait Learners {
    /// How many members there are.
    fn members(&self) -> usize;

    /// What a member's training from `start` yields.
    fn train(
        &mut self,
        member: usize,
        start: &BlockVectors,
        settings: &LocalTraining,
    ) -> Result<LocalResult, LabError>;

    /// Statistics of the input of the head of a member with this model, divided by [`POOLED_NORM`] and
    /// clipped to norm 1, so that no text counts for more than a sum behind masks has room for. `None` if
    /// there is no head.
    fn statistics(&mut self, member: usize, model: &BlockVectors) -> Result<Option<Statistics>, LabError>;

    /// How a member with this model classifies the texts that nobody trained on.
    fn score(&mut self, member: usize, model: &BlockVectors) -> Result<ModelScore, LabError>;
}

/// How a model classifies the texts that nobody trained on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ModelScore {
    /// The share of all texts that is classified correctly.
    pub(crate) accuracy: f64,
    /// The same for the texts of each class, of which `None` has no text; empty where classes are not told apart.
    pub(crate) by_class: Vec<Option<f64>>,
}

impl ModelScore {
    /// Accuracy on texts in a member's mix of labels, which is how many texts it has of each class. Classes without a
    /// measured text are left out of the mix; `None` where no class is left.
    pub(crate) fn by_mix(&self, mix: &[usize]) -> Option<f64> {
        let (mut sum, mut texts) = (0.0, 0.0);
        for (accuracy, count) in self.by_class.iter().zip(mix) {
            if let Some(accuracy) = accuracy {
                sum += accuracy * *count as f64;
                texts += *count as f64;
            }
        }
        (texts > 0.0).then_some(sum / texts)
    }
}

/// Members whose models classify texts.
pub(crate) struct Classifiers<'a> {
    pub(crate) training: &'a MemberTrainingConfig,
    pub(crate) classes: usize,
    pub(crate) trainers: Vec<Trainer>,
    pub(crate) test: Features,
}

impl Learners for Classifiers<'_> {
    fn members(&self) -> usize {
        self.trainers.len()
    }

    fn train(
        &mut self,
        member: usize,
        start: &BlockVectors,
        settings: &LocalTraining,
    ) -> Result<LocalResult, LabError> {
        let trainer = &mut self.trainers[member];
        trainer.load(start)?;
        Ok(match private::training(self.training, trainer.notes()) {
            None => trainer.train(settings, &mut |_| ())?,
            Some(private) => {
                // Seeded, so that a run can be repeated. A hospital's noise comes from the system's
                // generator.
                let random = &mut ChaCha20Rng::seed_from_u64(settings.seed);
                trainer.train_privately(settings, &private, random, &mut |_| ())?.0
            }
        })
    }

    fn statistics(&mut self, member: usize, model: &BlockVectors) -> Result<Option<Statistics>, LabError> {
        let trainer = &mut self.trainers[member];
        trainer.load(model)?;
        let notes = trainer.features();
        let mut rows = trainer.pooled(notes);
        rows.chunks_exact_mut(HIDDEN).for_each(into_unit_ball);
        Ok(Some(Statistics::from_texts(&rows, &notes.labels(), self.classes, HIDDEN)))
    }

    fn score(&mut self, member: usize, model: &BlockVectors) -> Result<ModelScore, LabError> {
        let trainer = &mut self.trainers[member];
        trainer.load(model)?;
        let evaluation = trainer.evaluate(&self.test);
        let classes = evaluation.per_class.iter();
        Ok(ModelScore {
            accuracy: evaluation.overall.accuracy(),
            by_class: classes.map(|class| (class.total > 0).then(|| class.accuracy())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_weighs_the_classes_that_were_measured() {
        let score = ModelScore { accuracy: 0.5, by_class: vec![Some(0.5), Some(1.0), None] };
        assert_eq!(score.by_mix(&[3, 1, 9]), Some(0.625));
        assert_eq!(score.by_mix(&[0, 0, 9]), None);
        assert_eq!(ModelScore { accuracy: 0.5, by_class: Vec::new() }.by_mix(&[1]), None);
    }
}
