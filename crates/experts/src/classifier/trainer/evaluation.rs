//! The result of an evaluation.

use cloister_updates::RecordScore;

/// Notes of one class, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Score {
    /// Notes that the model classifies as labelled.
    pub correct: usize,
    /// Notes evaluated.
    pub total: usize,
}

impl Score {
    /// The share of correct notes; 0 where there are no notes.
    pub fn accuracy(self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

/// How well a model classifies.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// Over all notes.
    pub overall: Score,
    /// For the notes of each class, in the order of the head's rows.
    pub per_class: Vec<Score>,
    /// Over records, where each counts once however many notes it has.
    pub by_record: RecordScore,
}
