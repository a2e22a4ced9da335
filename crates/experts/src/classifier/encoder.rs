//! MiniLM as read from its files: the frozen layers that notes pass through once.

use std::path::Path;

use tch::{Device, Tensor};
use tokenizers::Tokenizer;

use crate::classifier::config::ModelConfig;
use crate::classifier::features::Features;
use crate::classifier::minilm::MiniLm;
use crate::device::{Precision, set_threads};
use crate::error::ExpertsError;
use crate::files::hidden_panics::hide_panics;
use crate::files::notes::{Note, NoteReader, NotesFile};
use crate::files::rows::ReadSoFar;
use crate::packing::Packing;
use crate::texts::{SurveyedRow, Windows, beyond, open_tokenizer};

/// Notes that pass through the frozen layers together.
const BATCH: usize = 8;

/// The tokenizer and all of MiniLM. It turns notes into [`Features`] and can be dropped once all are made:
/// a [`Trainer`](crate::Trainer) shares only the upper layers with it.
pub struct Encoder {
    config: ModelConfig,
    tokenizer: Tokenizer,
    minilm: MiniLm,
    device: Device,
}

impl Encoder {
    /// Reads `model.safetensors`, `config.json` and `tokenizer.json` from the folder `minilm`. The
    /// encoder, its features and its trainers compute on `device`.
    ///
    /// Sets libtorch's number of threads to `threads`, in the whole process.
    ///
    /// # Errors
    /// [`ExpertsError::Config`], [`ExpertsError::File`] or [`ExpertsError::Content`].
    pub fn open(
        minilm: &Path,
        config: ModelConfig,
        threads: usize,
        device: Device,
    ) -> Result<Self, ExpertsError> {
        config.check()?;
        set_threads(threads)?;
        let tokenizer = open_tokenizer(&minilm.join("tokenizer.json"))?;
        Ok(Self { config, tokenizer, minilm: MiniLm::read(minilm, device)?, device })
    }

    /// The same encoder with its products in this precision, as are those of trainers that are made from it.
    /// What is trained stays in 32-bit floats.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { minilm: self.minilm.in_precision(precision.kind()), ..self }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    pub(crate) fn minilm(&self) -> &MiniLm {
        &self.minilm
    }

    /// Runs the notes through the frozen layers, up to the router of the first MoE layer; of each note one
    /// window.
    ///
    /// # Errors
    /// [`ExpertsError::NoNotes`], [`ExpertsError::UnknownLabel`] or [`ExpertsError::Tokenizer`].
    pub fn features(&self, notes: &[Note]) -> Result<Features, ExpertsError> {
        self.run_frozen_layers(
            &mut notes.iter().enumerate().map(|(index, note)| self.encode_listed(index, note)),
        )
    }

    /// Encodes a note that is in memory already. It is a record of its own.
    fn encode_listed(&self, index: usize, note: &Note) -> Result<EncodedNote, ExpertsError> {
        let label = self.config.class(&note.label).ok_or_else(|| ExpertsError::UnknownLabel {
            note: index + 1,
            classes: self.config.classes.clone(),
        })?;
        let encoded = self.encode(&note.text, label, Windows::default(), index);
        encoded.map_err(|reason| ExpertsError::Tokenizer { note: index + 1, reason })
    }

    /// As [`features`](Self::features), of the notes of a file: every `parts`-th, from number `part` on,
    /// counted from 0. A few notes are in memory at a time. `progress` is called with how much of the file
    /// was read.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`], naming file and row of a note that cannot be used.
    pub fn read_features(
        &self,
        file: impl Into<NotesFile>,
        (part, parts): (usize, usize),
        windows: Windows,
        progress: &mut dyn FnMut(ReadSoFar),
    ) -> Result<Features, ExpertsError> {
        self.check_windows(windows)?;
        let mut reader = NoteReader::open(file).map_err(ExpertsError::Notes)?;
        let mut index = 0;
        self.run_frozen_layers(&mut std::iter::from_fn(|| {
            loop {
                let note = match reader.next()? {
                    Ok(note) => note,
                    Err(error) => return Some(Err(ExpertsError::Notes(error))),
                };
                progress(reader.so_far());
                index += 1;
                // Notes of other parts are checked too: a fault is found now, and not when they are evaluated
                // at the end.
                let label = self.config.known_class(&note.label);
                let encoded =
                    label.and_then(|label| self.encode(&note.text, label, windows, reader.record()));
                let encoded = encoded.map_err(|reason| ExpertsError::Notes(reader.fault(reason)));
                if encoded.is_err() || (index - 1) % parts.max(1) == part {
                    return Some(encoded);
                }
            }
        }))
    }

    /// All tokens of a note, its class, and its record.
    pub(crate) fn surveyed(&self, note: &Note, record: usize) -> Result<SurveyedRow, String> {
        let class = self.config.known_class(&note.label)?;
        Ok(SurveyedRow {
            tokens: self.whole(&note.text)?,
            class: Some(self.config.classes[class].clone()),
            record,
        })
    }

    fn encode(
        &self,
        text: &str,
        label: usize,
        windows: Windows,
        record: usize,
    ) -> Result<EncodedNote, String> {
        let (windows, was_cut) = self.windows(text, windows)?;
        Ok(EncodedNote { windows, was_cut, label: label as i64, record })
    }

    /// Checks that windows have tokens of their own.
    pub(crate) fn check_windows(&self, windows: Windows) -> Result<(), ExpertsError> {
        // Each window stands between the two special tokens.
        windows.check_room(self.config.max_tokens - 2)
    }

    /// Encodes a text whose class nobody knows. It gets class 0, which is not read.
    pub(crate) fn encode_text(&self, text: &str, windows: Windows) -> Result<EncodedNote, String> {
        self.encode(text, 0, windows, 0)
    }

    /// Runs encoded texts through the frozen layers.
    pub(crate) fn features_of_texts(
        &self,
        texts: impl IntoIterator<Item = EncodedNote>,
    ) -> Result<Features, ExpertsError> {
        self.run_frozen_layers(&mut texts.into_iter().map(Ok))
    }

    /// Runs notes through the frozen layers, [`BATCH`] at a time.
    fn run_frozen_layers(
        &self,
        notes: &mut dyn Iterator<Item = Result<EncodedNote, ExpertsError>>,
    ) -> Result<Features, ExpertsError> {
        let (mut hidden, mut lengths, mut labels, mut records, mut truncated) =
            (vec![], vec![], vec![], vec![], 0);
        loop {
            let batch = notes.take(BATCH).collect::<Result<Vec<EncodedNote>, _>>()?;
            if batch.is_empty() {
                break;
            }
            let windows: Vec<&[i64]> =
                batch.iter().flat_map(|note| note.windows.iter().map(Vec::as_slice)).collect();
            hidden.push(self.hidden(&windows));
            for note in batch {
                lengths.push(note.windows.iter().map(|window| window.len() as i64).collect());
                labels.push(note.label);
                records.push(note.record);
                truncated += usize::from(note.was_cut);
            }
        }
        if hidden.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        Ok(Features::new(Tensor::cat(&hidden, 0), lengths, labels, truncated)?.with_records(records))
    }

    /// All token numbers of a note, with the special tokens. The tokenizer's error is not passed on: it may
    /// quote the note.
    fn whole(&self, text: &str) -> Result<Vec<i64>, String> {
        let encoding = hide_panics(|| self.tokenizer.encode(text, true)).and_then(Result::ok);
        let encoding = encoding.ok_or_else(|| "the tokenizer refuses its text".to_owned())?;
        let vocabulary = self.minilm.embeddings.vocabulary();
        // A tokenizer of another model may know more tokens; their numbers would be outside the embedding.
        match encoding.get_ids().iter().find(|&&id| i64::from(id) >= vocabulary) {
            Some(id) => Err(beyond(i64::from(*id), vocabulary as usize)),
            None => Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect()),
        }
    }

    /// A note's tokens in windows of the configured length, each between the two special tokens, and whether
    /// there would have been more of them.
    pub(crate) fn windows(&self, text: &str, windows: Windows) -> Result<(Vec<Vec<i64>>, bool), String> {
        let tokens = self.whole(text)?;
        let [first, content @ .., last] = tokens.as_slice() else {
            return Ok((vec![tokens], false));
        };
        let room = self.config.max_tokens - 2;
        let mut parts = Vec::new();
        let mut start = 0;
        loop {
            let end = content.len().min(start + room);
            parts.push([&[*first], &content[start..end], &[*last]].concat());
            if end == content.len() || parts.len() == windows.most {
                return Ok((parts, end < content.len()));
            }
            // At least one token further, which `check_room` makes sure of.
            start += room - windows.overlap;
        }
    }

    /// What enters the router of the first MoE layer, `[tokens, 384]`, window after window. That layer's
    /// attention is frozen, so it runs here too, once a note and not once a step.
    fn hidden(&self, batch: &[&[i64]]) -> Tensor {
        let lengths: Vec<i64> = batch.iter().map(|tokens| tokens.len() as i64).collect();
        let packing = Packing::new(&lengths).to_device(self.device);
        let tokens = Tensor::from_slice(&batch.concat()).to_device(self.device);
        let first = self.config.first_moe_layer();
        tch::no_grad(|| {
            let embedded = self.minilm.embeddings.forward(&tokens, &packing);
            let lower = self.minilm.layers[..first]
                .iter()
                .fold(embedded, |hidden, layer| layer.forward(&hidden, &packing));
            self.minilm.layers[first].attention.forward(&lower, &packing)
        })
    }
}

/// A note as token numbers.
pub(crate) struct EncodedNote {
    /// Token numbers of each window, with the special tokens around them.
    pub(crate) windows: Vec<Vec<i64>>,
    /// Whether the note was longer than its windows.
    pub(crate) was_cut: bool,
    /// Its class, a row of the head.
    label: i64,
    /// Number of its record: notes with the same number are one record for privacy.
    record: usize,
}
