//! What training and evaluation need of a note once the frozen layers have run over it.

use tch::Tensor;

use crate::device::uploaded;
use crate::error::ExpertsError;
use crate::packing::Packing;
use crate::training::private::{RecordBatch, by_record, record_batches};

/// Notes as the first MoE layer sees them: the hidden states that enter its router, kept in memory as f32
/// (1,536 bytes a token), with each note's class. They hold as much about patients as the notes do.
pub struct Features {
    /// Packed hidden states of all notes, `[tokens, 384]`.
    hidden: Tensor,
    /// Tokens of each note's windows, `[notes][windows]`.
    lengths: Vec<Vec<i64>>,
    /// First row of each note in `hidden`.
    starts: Vec<i64>,
    /// Class of each note.
    labels: Vec<i64>,
    /// Number of each note's record.
    records: Vec<usize>,
    /// What is added to each note's logits, `[notes, classes]`, if anything is.
    offsets: Option<Tensor>,
    /// How many notes were longer than the model reads.
    truncated: usize,
}

impl Features {
    pub(crate) fn new(
        hidden: Tensor,
        lengths: Vec<Vec<i64>>,
        labels: Vec<i64>,
        truncated: usize,
    ) -> Result<Self, ExpertsError> {
        if lengths.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        let (mut starts, mut next) = (Vec::with_capacity(lengths.len()), 0);
        for windows in &lengths {
            starts.push(next);
            next += windows.iter().sum::<i64>();
        }
        let records = (0..lengths.len()).collect();
        Ok(Self { hidden, lengths, starts, labels, records, offsets: None, truncated })
    }

    /// Adds fixed values to each note's logits, in training and evaluation: the logits of another model that
    /// this one improves on, or log priors of the classes (balanced softmax). `offsets` has a row of
    /// `classes` values a note.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] when there are not as many rows as notes, or a value is not finite.
    pub fn with_offsets(mut self, offsets: &[f32], classes: usize) -> Result<Self, ExpertsError> {
        if offsets.len() != self.notes() * classes || offsets.iter().any(|value| !value.is_finite()) {
            let (rows, notes) = (offsets.len() / classes.max(1), self.notes());
            let reason = format!("offsets must be {notes} rows of {classes} finite values, not {rows} rows");
            return Err(ExpertsError::Settings(reason));
        }
        let offsets = Tensor::from_slice(offsets).view([self.notes() as i64, classes as i64]);
        self.offsets = Some(offsets.to_device(self.hidden.device()));
        Ok(self)
    }

    /// Other classes for the notes, as rows of the head: what a member believes that they are.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] when there are not as many classes as notes.
    pub fn with_labels(mut self, labels: &[usize]) -> Result<Self, ExpertsError> {
        if labels.len() != self.notes() {
            let (notes, got) = (self.notes(), labels.len());
            let reason = format!("labels must be one for each of {notes} notes, not {got}");
            return Err(ExpertsError::Settings(reason));
        }
        self.labels = labels.iter().map(|&label| label as i64).collect();
        Ok(self)
    }

    /// The same, with the number of each note's record: notes with the same number are one record for
    /// privacy.
    pub(crate) fn with_records(self, records: Vec<usize>) -> Self {
        Self { records, ..self }
    }

    /// The same, with this value in the first hidden state of a note.
    #[cfg(test)]
    pub(crate) fn with_broken_note(self, note: usize, value: f64) -> Self {
        let hidden = self.hidden.copy();
        let _ = hidden.get(self.starts[note]).fill_(value);
        Self { hidden, ..self }
    }

    /// The notes of each record. Without [`with_records`](Self::with_records) each note is one.
    pub(crate) fn by_record(&self) -> Vec<Vec<usize>> {
        by_record(self.records.iter().copied())
    }

    /// The notes with these indices, in this order, as features of their own.
    ///
    /// # Errors
    /// [`ExpertsError::NoNotes`] for no index at all.
    ///
    /// # Panics
    /// Where there is no such note.
    pub fn select(&self, notes: &[usize]) -> Result<Self, ExpertsError> {
        if notes.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        let lengths = notes.iter().map(|&note| self.lengths[note].clone()).collect();
        let labels = notes.iter().map(|&note| self.labels[note]).collect();
        let selected = Self::new(self.hidden_of(notes), lengths, labels, 0)?;
        let records = notes.iter().map(|&note| self.records[note]).collect();
        Ok(Self { offsets: self.offsets_of(notes), records, ..selected })
    }

    /// How many notes there are.
    pub fn notes(&self) -> usize {
        self.lengths.len()
    }

    /// How many records the notes make.
    pub fn records(&self) -> usize {
        self.by_record().len()
    }

    /// How many tokens all notes have together, special tokens included.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().flatten().sum::<i64>() as usize
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
    pub(crate) fn batch(&self, notes: &[usize]) -> NoteBatch {
        let lengths: Vec<&[i64]> = notes.iter().map(|&note| self.lengths[note].as_slice()).collect();
        let labels: Vec<i64> = notes.iter().map(|&note| self.labels[note]).collect();
        let device = self.hidden.device();
        NoteBatch {
            hidden: self.hidden_of(notes),
            labels: uploaded(&Tensor::from_slice(&labels), device),
            offsets: self.offsets_of(notes),
            packing: Packing::from_windows(&lengths).to_device(device),
        }
    }

    /// Tokens of all windows of a note.
    fn tokens_of(&self, note: usize) -> i64 {
        self.lengths[note].iter().sum()
    }

    /// The packed hidden states of these notes, `[tokens, 384]`.
    fn hidden_of(&self, notes: &[usize]) -> Tensor {
        let mut rows = Vec::with_capacity(notes.len());
        for &note in notes {
            rows.push(self.hidden.narrow(0, self.starts[note], self.tokens_of(note)));
        }
        Tensor::cat(&rows, 0)
    }

    /// All notes record by record, in batches of at most `most_tokens`; a longer note is a batch by itself.
    pub(crate) fn record_batches(&self, most_tokens: i64) -> Vec<RecordBatch> {
        let records = self.by_record();
        record_batches(records.iter().map(Vec::as_slice), |note| self.tokens_of(note), most_tokens)
    }

    /// The offsets of these notes, `[notes, classes]`.
    fn offsets_of(&self, notes: &[usize]) -> Option<Tensor> {
        let rows: Vec<i64> = notes.iter().map(|&note| note as i64).collect();
        let rows = uploaded(&Tensor::from_slice(&rows), self.hidden.device());
        self.offsets.as_ref().map(|all| all.index_select(0, &rows))
    }

    /// All notes in their order, in batches of at most `most_tokens`; a longer note is a batch by itself.
    pub(crate) fn batches(&self, most_tokens: i64) -> impl Iterator<Item = NoteBatch> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = next;
            let mut tokens = 0;
            while let Some(lengths) = self.lengths.get(next) {
                tokens += lengths.iter().sum::<i64>();
                // Not before the first note, or a note that is too long would end the iteration.
                if next > start && tokens > most_tokens {
                    break;
                }
                next += 1;
            }
            (next > start).then(|| self.batch(&(start..next).collect::<Vec<usize>>()))
        })
    }
}

/// A few notes, ready for the model.
pub(crate) struct NoteBatch {
    /// Packed hidden states, `[tokens, 384]`.
    pub(crate) hidden: Tensor,
    /// Class of each note, `[notes]`.
    pub(crate) labels: Tensor,
    /// What is added to the logits, `[notes, classes]`; `None` for 0.
    pub(crate) offsets: Option<Tensor>,
    /// Which of the rows belong to which note and window.
    pub(crate) packing: Packing,
}
