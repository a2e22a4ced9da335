//! What a closing publishes of how well the model does on members' held-out records (`PRIV-15`).

use serde::{Deserialize, Serialize};

use crate::planned_block::PlannedBlock;

/// The counts that a closing published of the model that its round started from. They are sums with noise, so they are near
/// the true ones, and not equal.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct PublishedEvaluation {
    /// Records that the model answers correctly, those of a member counted as often as its weight says.
    pub correct: f64,
    /// Records in all, counted in the same way.
    pub records: f64,
    /// Standard deviation of the noise on each of both, in records, if every member has the weight 1.
    pub noise: f64,
}

impl PublishedEvaluation {
    /// The evaluation in a block's published parameters, which are the sum over so many members. None if they are not two numbers.
    pub fn new(block: &PlannedBlock, published: &[f32], members: u32) -> Option<Self> {
        let [correct, records] = *published else { return None };
        let noise = f64::from(block.noise_steps) * block.scale.step() * f64::from(members).sqrt();
        Some(Self { correct: correct.into(), records: records.into(), noise })
    }

    /// The share of correct records, from 0 to 1; none if noise left no records.
    pub fn accuracy(&self) -> Option<f64> {
        (self.records > 0.0).then(|| (self.correct / self.records).min(1.0))
    }

    /// The standard deviation of the accuracy that follows from the noise, to first order; none without an accuracy.
    pub fn deviation(&self) -> Option<f64> {
        let accuracy = self.accuracy()?;
        Some(self.noise * (1.0 + accuracy * accuracy).sqrt() / self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockKind, BlockShape, EVALUATION_LENGTH};
    use crate::fixed::Scale;
    use crate::id::BlockId;

    /// PRIV-15
    #[test]
    fn an_accuracy_comes_with_the_deviation_of_its_noise() {
        let shape = BlockShape { id: BlockId(0), kind: BlockKind::Evaluation, length: EVALUATION_LENGTH };
        let scale = Scale { step_log2: -4, clip_steps: 16_384 };
        let block = PlannedBlock { shape, scale, noise_steps: 256 };
        let published = PublishedEvaluation::new(&block, &[300.0, 400.0], 4).expect("two numbers");
        assert_eq!(published, PublishedEvaluation { correct: 300.0, records: 400.0, noise: 32.0 });
        assert_eq!((published.accuracy(), published.deviation()), (Some(0.75), Some(0.1)));
        let nothing = PublishedEvaluation { records: 0.0, ..published };
        assert_eq!((nothing.accuracy(), nothing.deviation()), (None, None));
        let beyond = PublishedEvaluation { correct: 500.0, ..published };
        assert_eq!(beyond.accuracy(), Some(1.0));
        assert_eq!(PublishedEvaluation::new(&block, &[1.0], 4), None);
    }
}
