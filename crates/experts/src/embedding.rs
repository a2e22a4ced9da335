//! Notes as fixed vectors: the means of the frozen model's hidden states, layer by layer.

use tch::{Kind, Tensor};

use crate::config::{HIDDEN, LAYERS};
use crate::encoder::Encoder;
use crate::error::ExpertsError;
use crate::model::values;
use crate::notes::Note;
use crate::packing::Packing;

/// Values of one note's embedding: the word embeddings' mean, then that of each layer's output.
pub const EMBEDDING_WIDTH: usize = (LAYERS + 1) * HIDDEN;
/// Notes that pass through the layers together; they are sorted by length, so that little of a batch is padding.
const BATCH: usize = 32;

impl Encoder {
    /// The embedding of each note, [`EMBEDDING_WIDTH`] values each, in the order of the notes. `done` is told how
    /// many notes are ready. They hold as much about patients as the notes do.
    ///
    /// # Errors
    /// [`ExpertsError::Tokenizer`].
    pub fn embeddings(&self, notes: &[Note], done: &mut dyn FnMut(usize)) -> Result<Vec<f32>, ExpertsError> {
        let tokens = self.tokenize(notes)?.notes;
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&note| tokens[note].len());
        let mut embeddings = vec![0.0; notes.len() * EMBEDDING_WIDTH];
        for (batch, own) in order.chunks(BATCH).enumerate() {
            let own_tokens: Vec<&[i64]> = own.iter().map(|&note| tokens[note].as_slice()).collect();
            let rows = values(&self.layer_means(&own_tokens));
            for (&note, row) in own.iter().zip(rows.chunks_exact(EMBEDDING_WIDTH)) {
                embeddings[note * EMBEDDING_WIDTH..][..EMBEDDING_WIDTH].copy_from_slice(row);
            }
            done(batch * BATCH + own.len());
        }
        Ok(embeddings)
    }

    /// `[notes, EMBEDDING_WIDTH]`.
    fn layer_means(&self, notes: &[&[i64]]) -> Tensor {
        let lengths: Vec<i64> = notes.iter().map(|tokens| tokens.len() as i64).collect();
        let packing = Packing::new(&lengths);
        tch::no_grad(|| {
            let minilm = self.minilm();
            let mut hidden = minilm.embeddings.forward(&Tensor::from_slice(&notes.concat()), &packing);
            let mut means = vec![packing.mean(&hidden)];
            for layer in &minilm.layers {
                hidden = layer.forward(&hidden, &packing);
                means.push(packing.mean(&hidden));
            }
            Tensor::cat(&means, 1).to_kind(Kind::Float)
        })
    }
}

/// The sum over rows of the outer product of each row with itself, `[width, width]` row by row, for the rows of
/// `width` values each that `rows` holds.
///
/// # Panics
/// Where `rows` holds no whole number of rows.
pub fn second_moments(rows: &[f32], width: usize) -> Vec<f32> {
    let shape = [(rows.len() / width) as i64, width as i64];
    let rows = Tensor::from_slice(rows).view(shape);
    values(&rows.tr().matmul(&rows))
}
