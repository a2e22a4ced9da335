//! A trained classifier that is only applied.

use cloister_updates::BlockVectors;

use crate::class_scores::{ClassScores, class_scores};
use crate::classifier::blocks::block_table;
use crate::classifier::encoder::Encoder;
use crate::classifier::features::Features;
use crate::classifier::model::{Parameters, UpcycledModel};
use crate::classifier::trainer::EVALUATION_TOKENS;
use crate::error::ExpertsError;

/// The layers above the frozen ones, with a consortium's parameters. It has no notes to train on.
pub(crate) struct LoadedClassifier {
    model: UpcycledModel,
    parameters: Parameters,
}

impl LoadedClassifier {
    pub(crate) fn new(encoder: &Encoder, blocks: &BlockVectors) -> Result<Self, ExpertsError> {
        let config = encoder.config();
        blocks.check_table(&block_table(config))?;
        let parameters = Parameters::from_blocks(config, blocks, encoder.device());
        Ok(Self { model: UpcycledModel::new(encoder), parameters })
    }

    /// How likely each class of each text is. It computes what [`Trainer::evaluate`](crate::Trainer::evaluate) does.
    pub(crate) fn scores(&self, texts: &Features) -> Vec<ClassScores> {
        let mut scores = Vec::with_capacity(texts.notes());
        for batch in texts.batches(EVALUATION_TOKENS) {
            let output = tch::no_grad(|| self.model.forward(&batch, &self.parameters));
            scores.extend(class_scores(&output.logits));
        }
        scores
    }
}
