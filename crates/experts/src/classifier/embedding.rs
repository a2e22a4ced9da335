//! Notes as fixed vectors: the means of the frozen model's hidden states, layer by layer.

use tch::{Kind, Tensor};

use crate::classifier::config::{HIDDEN, LAYERS};
use crate::classifier::encoder::Encoder;
use crate::device::values;
use crate::error::ExpertsError;
use crate::files::notes::Note;
use crate::packing::Packing;
use crate::texts::Windows;

/// Values of one note's embedding: the word embeddings' mean, then that of each layer's output.
pub const EMBEDDING_WIDTH: usize = (LAYERS + 1) * HIDDEN;
/// Windows that pass through the layers together; they are sorted by length, so that little of a batch is
/// padding.
const BATCH: usize = 32;

/// A part of a note that passes through the layers by itself.
struct Window {
    note: usize,
    tokens: Vec<i64>,
}

impl Encoder {
    /// The embedding of each note, [`EMBEDDING_WIDTH`] values each, in the order of the notes: means over all
    /// tokens of its first `windows` windows of the configured length. `done` is called with how many windows
    /// are ready and how many there are. Embeddings hold as much about patients as the notes do.
    ///
    /// # Errors
    /// [`ExpertsError::Tokenizer`].
    pub fn embeddings(
        &self,
        notes: &[Note],
        windows: usize,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, ExpertsError> {
        let all = self.all_windows(notes, windows)?;
        let mut embeddings = vec![0.0; notes.len() * EMBEDDING_WIDTH];
        let mut lengths = vec![0.0; notes.len()];
        for (batch, windows_of_batch) in all.chunks(BATCH).enumerate() {
            let tokens: Vec<&[i64]> =
                windows_of_batch.iter().map(|window| window.tokens.as_slice()).collect();
            let rows = values(&self.layer_means(&tokens));
            for (Window { note, tokens }, row) in
                windows_of_batch.iter().zip(rows.chunks_exact(EMBEDDING_WIDTH))
            {
                let sums = &mut embeddings[note * EMBEDDING_WIDTH..][..EMBEDDING_WIDTH];
                // A window weighs by its tokens, so that the result is the mean over all tokens of the note.
                let length = tokens.len() as f32;
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * length);
                lengths[*note] += length;
            }
            done(batch * BATCH + windows_of_batch.len(), all.len());
        }
        for (row, length) in embeddings.chunks_exact_mut(EMBEDDING_WIDTH).zip(lengths) {
            row.iter_mut().for_each(|sum| *sum /= length);
        }
        Ok(embeddings)
    }

    /// The windows of all notes, short ones first.
    fn all_windows(&self, notes: &[Note], windows: usize) -> Result<Vec<Window>, ExpertsError> {
        let mut all = Vec::new();
        for (index, note) in notes.iter().enumerate() {
            let parts = self.windows(&note.text, Windows { most: windows.max(1), overlap: 0 });
            let (parts, _) = parts.map_err(|reason| ExpertsError::Tokenizer { note: index + 1, reason })?;
            all.extend(parts.into_iter().map(|tokens| Window { note: index, tokens }));
        }
        all.sort_by_key(|window| window.tokens.len());
        Ok(all)
    }

    /// `[windows, EMBEDDING_WIDTH]`.
    fn layer_means(&self, windows: &[&[i64]]) -> Tensor {
        let lengths: Vec<i64> = windows.iter().map(|tokens| tokens.len() as i64).collect();
        let packing = Packing::new(&lengths).to_device(self.device());
        let tokens = Tensor::from_slice(&windows.concat()).to_device(self.device());
        tch::no_grad(|| {
            let minilm = self.minilm();
            let mut hidden = minilm.embeddings.forward(&tokens, &packing);
            let mut means = vec![packing.mean(&hidden)];
            for layer in &minilm.layers {
                hidden = layer.forward(&hidden, &packing);
                means.push(packing.mean(&hidden));
            }
            Tensor::cat(&means, 1).to_kind(Kind::Float)
        })
    }
}

/// The sum over rows of the outer product of each row with itself, `[width, width]` row by row, for the rows
/// of `width` values each that `rows` holds.
///
/// # Panics
/// Where `rows` holds no whole number of rows.
pub fn second_moments(rows: &[f32], width: usize) -> Vec<f32> {
    let shape = [(rows.len() / width) as i64, width as i64];
    let rows = Tensor::from_slice(rows).view(shape);
    values(&rows.tr().matmul(&rows))
}
