//! The head over classes that an adapter may give a decoder, as transformers' models for sequence classification have
//! it: one linear map without a bias, of the normalised last hidden state of each text's last token.

use tch::{Kind, Tensor};

use crate::families::layers::projection::Whole;
use crate::training::private::WeightPart;

/// The place of the head.
pub(crate) struct Head {
    /// Width of the hidden states that it reads.
    pub(crate) width: usize,
    /// Weight `[classes, width]`, where an adapter has one.
    pub(crate) trained: Option<Whole>,
}

impl Head {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, trained: None }
    }

    /// Of one row for each text, `[texts, hidden]`, what each class gets, `[texts, classes]`, f32; nothing where there is
    /// no head.
    pub(crate) fn forward(&self, rows: &Tensor) -> Option<Tensor> {
        let Whole { weight, recorder } = self.trained.as_ref()?;
        let rows = rows.to_kind(Kind::Float);
        let scores = rows.matmul(&weight.tr());
        let owners = || Tensor::arange(rows.size()[0], (Kind::Int64, rows.device()));
        recorder.record("weight", (&rows, &scores), || (WeightPart::Whole, owners()));
        Some(scores)
    }
}
