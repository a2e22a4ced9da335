//! MiniLM as read from its files: the frozen layers that notes pass through once.

use std::path::Path;

use tch::{Device, Tensor};
use tokenizers::Tokenizer;

use crate::config::ModelConfig;
use crate::error::ExpertsError;
use crate::features::Features;
use crate::minilm::{MiniLm, unusable};
use crate::notes::Note;
use crate::packing::Packing;

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
    /// Reads `model.safetensors`, `config.json` and `tokenizer.json` from the folder `minilm`; everything that is made of
    /// the encoder computes on `device`.
    ///
    /// libtorch uses `threads` threads from now on, in the whole process.
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
        if threads == 0 {
            return Err(ExpertsError::Config("threads must be at least 1".to_owned()));
        }
        tch::set_num_threads(threads as i32);
        let tokenizer = open_tokenizer(&minilm.join("tokenizer.json"))?;
        Ok(Self { config, tokenizer, minilm: MiniLm::read(minilm, device)?, device })
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

    /// Runs the notes through the frozen layers, up to the router of the first MoE layer.
    ///
    /// # Errors
    /// [`ExpertsError::NoNotes`], [`ExpertsError::UnknownLabel`] or [`ExpertsError::Tokenizer`].
    pub fn features(&self, notes: &[Note]) -> Result<Features, ExpertsError> {
        let labels = self.labels(notes)?;
        let tokenized = self.tokenize(notes)?;
        let hidden: Vec<Tensor> = tokenized.notes.chunks(BATCH).map(|batch| self.hidden(batch)).collect();
        if hidden.is_empty() {
            return Err(ExpertsError::NoNotes);
        }
        let lengths = tokenized.notes.iter().map(|tokens| tokens.len() as i64).collect();
        Features::new(Tensor::cat(&hidden, 0), lengths, labels, tokenized.truncated)
    }

    fn labels(&self, notes: &[Note]) -> Result<Vec<i64>, ExpertsError> {
        let class = |(index, note): (usize, &Note)| match self.config.class(&note.label) {
            Some(class) => Ok(class as i64),
            None => Err(ExpertsError::UnknownLabel {
                note: index + 1,
                label: note.label.clone(),
                classes: self.config.classes.clone(),
            }),
        };
        notes.iter().enumerate().map(class).collect()
    }

    /// Token numbers of each note, cut to the configured length; the last special token stays.
    pub(crate) fn tokenize(&self, notes: &[Note]) -> Result<Tokenized, ExpertsError> {
        let mut tokenized = Tokenized { notes: Vec::with_capacity(notes.len()), truncated: 0 };
        for (index, note) in notes.iter().enumerate() {
            let mut tokens = self.whole(index, note)?;
            if tokens.len() > self.config.max_tokens {
                tokenized.truncated += 1;
                tokens.drain(self.config.max_tokens - 1..tokens.len() - 1);
            }
            tokenized.notes.push(tokens);
        }
        Ok(tokenized)
    }

    /// All token numbers of a note, the special tokens included.
    fn whole(&self, index: usize, note: &Note) -> Result<Vec<i64>, ExpertsError> {
        let encoding = self
            .tokenizer
            .encode(note.text.as_str(), true)
            .map_err(|error| ExpertsError::Tokenizer { note: index + 1, reason: error.to_string() })?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// A note's tokens in windows of the configured length, each between the two special tokens, the first `most`.
    pub(crate) fn windows(
        &self,
        index: usize,
        note: &Note,
        most: usize,
    ) -> Result<Vec<Vec<i64>>, ExpertsError> {
        let tokens = self.whole(index, note)?;
        let [first, content @ .., last] = tokens.as_slice() else {
            return Ok(vec![tokens]);
        };
        let window = |part: &[i64]| [&[*first], part, &[*last]].concat();
        if content.is_empty() {
            return Ok(vec![window(content)]);
        }
        Ok(content.chunks(self.config().max_tokens - 2).take(most).map(window).collect())
    }

    /// What enters the first MoE layer's router, packed.
    fn hidden(&self, batch: &[Vec<i64>]) -> Tensor {
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

/// Notes as token numbers.
pub(crate) struct Tokenized {
    pub(crate) notes: Vec<Vec<i64>>,
    /// Notes that were cut.
    pub(crate) truncated: usize,
}

pub(crate) fn open_tokenizer(path: &Path) -> Result<Tokenizer, ExpertsError> {
    // Reading first tells a missing file from a broken one.
    let bytes = crate::minilm::read_file(path)?;
    let mut tokenizer =
        Tokenizer::from_bytes(bytes).map_err(|error| unusable(path, format!("no tokenizer: {error}")))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| unusable(path, format!("its truncation cannot be turned off: {error}")))?;
    Ok(tokenizer)
}
