//! Batches of texts as token numbers, packed without padding.

use tch::{Device, Kind, Tensor};

use crate::device::uploaded;
use crate::packing::Packing;

/// A batch of texts.
pub struct Tokens {
    /// Numbers of all tokens, text after text, `[tokens]`.
    pub(crate) ids: Tensor,
    pub(crate) packing: Packing,
}

impl Tokens {
    /// A batch of texts on this device. No text may be empty.
    pub fn new(texts: &[impl AsRef<[i64]>], device: Device) -> Self {
        let lengths: Vec<i64> = texts.iter().map(|text| text.as_ref().len() as i64).collect();
        let ids: Vec<i64> = texts.iter().flat_map(|text| text.as_ref().iter().copied()).collect();
        Self {
            ids: uploaded(&Tensor::from_slice(&ids), device),
            packing: Packing::new(&lengths).to_device(device),
        }
    }

    /// The texts moved by one token: each begins with the token `start` and loses its last token, as T5
    /// trains its decoder.
    pub(crate) fn shifted(&self, start: i64) -> Tensor {
        let (texts, longest) = (self.packing.notes, self.packing.longest);
        // Laid out by text, so that no text begins with the last token of the text that is packed before it.
        let spread = self.packing.spread(&self.ids.unsqueeze(1)).view([texts, longest]);
        let first = Tensor::full([texts, 1], start, (Kind::Int64, self.ids.device()));
        let shifted = Tensor::cat(&[first, spread.narrow(1, 0, longest - 1)], 1);
        self.packing.pack(&shifted.view([-1, 1])).squeeze_dim(1)
    }

    /// How many tokens all texts have together.
    pub fn count(&self) -> usize {
        self.ids.numel()
    }
}
