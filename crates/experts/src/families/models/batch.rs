//! Batches of examples in the form that a model takes.

use tch::Tensor;

use crate::device::uploaded;
use crate::families::layers::tokens::Tokens;

/// A batch of examples.
pub(crate) struct ExampleBatch {
    /// The texts of a decoder, or the sources of a Switch Transformer.
    pub(crate) texts: Tokens,
    /// The targets of a Switch Transformer.
    pub(crate) targets: Option<Tokens>,
    /// For each token or class that is learnt, the row of hidden states that predicts it; `None` if every row
    /// predicts one.
    pub(crate) rows: Option<Tensor>,
    /// The tokens or classes that are learnt.
    pub(crate) learnt: Tensor,
    /// How many of them belong to each example.
    pub(crate) counts: Vec<i64>,
}

impl ExampleBatch {
    /// The share of each learnt token in its example's mean loss, `[learnt]`.
    pub(crate) fn shares(&self) -> Tensor {
        let shares = self.counts.iter().flat_map(|&count| vec![1.0 / count as f32; count as usize]);
        uploaded(&Tensor::from_slice(&shares.collect::<Vec<f32>>()), self.learnt.device())
    }
}
