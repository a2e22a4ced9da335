//! What training and evaluation need of a note once the frozen layers have run over it.

use tch::Tensor;

use crate::error::ExpertsError;
use crate::packing::Packing;

/// Notes as the first MoE layer sees them: the hidden states that enter its router, kept in memory as f32
/// (1,536 bytes a token), with each note's class. They hold as much about patients as the notes do.
pub struct Features {
    /// Packed hidden states of all notes, `[tokens, 384]`.
    hidden: Tensor,
    /// Tokens of each note.
    lengths: Vec<i64>,
    /// First row of each note.
    starts: Vec<i64>,
    /// Class of each note.
    labels: Vec<i64>,
    truncated: usize,
}

impl Features {
    pub(crate) fn new(
        hidden: Tensor,
        lengths: Vec<i64>,
        labels: Vec<i64>,
        truncated: usize,
    ) -> Result<Self, ExpertsError> {
        if lengths.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        let starts = lengths
            .iter()
            .scan(0, |next, length| {
                let start = *next;
                *next += length;
                Some(start)
            })
            .collect();
        Ok(Self { hidden, lengths, starts, labels, truncated })
    }

    /// How many notes there are.
    pub fn notes(&self) -> usize {
        self.lengths.len()
    }

    /// How many tokens all notes have together, special tokens included.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum::<i64>() as usize
    }

    /// How many notes were longer than the model reads and were cut.
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// The class of each note, as rows of the head.
    pub fn labels(&self) -> Vec<usize> {
        self.labels.iter().map(|&label| label as usize).collect()
    }

    /// The notes with these indices, as one batch.
    pub(crate) fn batch(&self, notes: &[usize]) -> Batch {
        let lengths: Vec<i64> = notes.iter().map(|&note| self.lengths[note]).collect();
        let labels: Vec<i64> = notes.iter().map(|&note| self.labels[note]).collect();
        let parts: Vec<Tensor> =
            notes.iter().map(|&note| self.hidden.narrow(0, self.starts[note], self.lengths[note])).collect();
        Batch {
            hidden: Tensor::cat(&parts, 0),
            labels: Tensor::from_slice(&labels),
            packing: Packing::new(&lengths),
        }
    }

    /// All notes in their order, in batches of at most `size` notes.
    pub(crate) fn batches(&self, size: usize) -> impl Iterator<Item = Batch> {
        let notes: Vec<usize> = (0..self.notes()).collect();
        (0..self.notes()).step_by(size).map(move |start| {
            let end = (start + size).min(notes.len());
            self.batch(&notes[start..end])
        })
    }
}

/// A few notes, ready for the model.
pub(crate) struct Batch {
    /// Packed hidden states, `[tokens, 384]`.
    pub(crate) hidden: Tensor,
    /// Class of each note, `[notes]`.
    pub(crate) labels: Tensor,
    pub(crate) packing: Packing,
}
