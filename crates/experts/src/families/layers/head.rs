//! The head over classes that an adapter may give a decoder: one linear map without a bias, applied to the
//! normalised last hidden state of each text's last token. transformers' models for sequence classification
//! have the same head.

use tch::{Kind, Tensor};

use crate::families::layers::projection::Whole;
use crate::training::private::WeightPart;

/// The place of the head in a decoder. It computes nothing until an adapter with a head is attached.
pub(crate) struct Head {
    /// Width of the hidden states that it reads.
    pub(crate) width: usize,
    /// Weight `[classes, width]`, if the attached adapter has one.
    pub(crate) trained: Option<Whole>,
}

impl Head {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, trained: None }
    }

    /// The logits of the classes, `[texts, classes]`, f32, for one row of each text, `[texts, hidden]`;
    /// `None` without a head.
    pub(crate) fn forward(&self, rows: &Tensor) -> Option<Tensor> {
        let Whole { weight, recorder } = self.trained.as_ref()?;
        // The weight is the 32-bit master itself. It is small, so no copy in the model's precision is needed.
        let rows = rows.to_kind(Kind::Float);
        let scores = rows.matmul(&weight.tr());
        recorder.record("weight", (&rows, &scores), || {
            // Row i belongs to text i.
            (WeightPart::Whole, Tensor::arange(rows.size()[0], (Kind::Int64, rows.device())))
        });
        Some(scores)
    }
}
