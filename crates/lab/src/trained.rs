//! What training leaves: its rounds, the scores of the last models, and what members sent.

use crate::learners::ModelScore;
use crate::results::MeasuredRound;

/// Bytes that all members sent in a round behind masks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SentBytes {
    /// Masked blocks.
    pub(crate) masked: u64,
    /// Sketches and token counts.
    pub(crate) announced: u64,
}

/// All rounds of a seed.
pub(crate) struct TrainedRounds {
    /// What was measured, the state before training in front.
    pub(crate) rounds: Vec<MeasuredRound>,
    /// How the common model classifies after the last round, or each member's.
    pub(crate) scores: Vec<ModelScore>,
}

impl TrainedRounds {
    /// Of each member, accuracy by its mix of labels (`mixes`); `None` where a class has no score.
    pub(crate) fn accuracy_by_mix(&self, mixes: &[Vec<usize>]) -> Option<Vec<f64>> {
        let mut members = Vec::with_capacity(mixes.len());
        for (member, mix) in mixes.iter().enumerate() {
            let score = self.scores.get(member).or(self.scores.first())?;
            members.push(score.by_mix(mix)?);
        }
        Some(members)
    }
}

/// The mean over models.
pub(crate) fn mean_accuracy(scores: &[ModelScore]) -> f64 {
    scores.iter().map(|score| score.accuracy).sum::<f64>() / scores.len() as f64
}
