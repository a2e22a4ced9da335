//! A trained classifier that is only applied.

use cloister_updates::BlockVectors;
use tch::{Kind, Tensor};

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
        self.logits(texts).flat_map(|logits| class_scores(&logits)).collect()
    }

    /// Log-likelihood of a class for each text, in nats. In 64-bit floats, because 32-bit ones have no difference between
    /// likelihoods near 1.
    pub(crate) fn likelihoods(&self, texts: &Features, class: usize) -> Vec<f64> {
        let mut likelihoods = Vec::with_capacity(texts.notes());
        for logits in self.logits(texts) {
            let column = logits.log_softmax(-1, Kind::Double).select(1, class as i64);
            likelihoods.extend(Vec::<f64>::try_from(column).expect("a column is a vector"));
        }
        likelihoods
    }

    /// The logits of all texts in their order, `[texts, classes]` for a few at a time.
    fn logits(&self, texts: &Features) -> impl Iterator<Item = Tensor> {
        texts
            .batches(EVALUATION_TOKENS)
            .map(|batch| tch::no_grad(|| self.model.forward(&batch, &self.parameters)).logits)
    }
}
