//! MiniLM as read from its files: the frozen layers that notes pass through once.

use std::path::Path;

use tch::{Device, Tensor};
use tokenizers::Tokenizer;

use crate::classifier::config::ModelConfig;
use crate::classifier::features::Features;
use crate::classifier::minilm::MiniLm;
use crate::device::{Precision, set_threads};
use crate::error::ExpertsError;
use crate::files::notes::{Note, NoteReader, NotesFile};
use crate::files::quiet::quietly;
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
        set_threads(threads)?;
        let tokenizer = open_tokenizer(&minilm.join("tokenizer.json"))?;
        Ok(Self { config, tokenizer, minilm: MiniLm::read(minilm, device)?, device })
    }

    /// The same, computing in this precision, as do trainers that are made of it from now on; what is trained stays in 32-bit
    /// floats.
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

    /// Runs the notes through the frozen layers, up to the router of the first MoE layer; of each note one window.
    ///
    /// # Errors
    /// [`ExpertsError::NoNotes`], [`ExpertsError::UnknownLabel`] or [`ExpertsError::Tokenizer`].
    pub fn features(&self, notes: &[Note]) -> Result<Features, ExpertsError> {
        let encode = |(index, note): (usize, &Note)| {
            let label = self.config.class(&note.label).ok_or_else(|| ExpertsError::UnknownLabel {
                note: index + 1,
                classes: self.config.classes.clone(),
            })?;
            let encoded = self.encode(note, label, Windows::default(), index);
            encoded.map_err(|reason| ExpertsError::Tokenizer { note: index + 1, reason })
        };
        self.gather(&mut notes.iter().enumerate().map(encode))
    }

    /// As [`features`](Self::features), of the notes of a file, every `of`-th from number `part` on (`part` and `of`
    /// in this order), a few notes being in memory at a time. `progress` is told how much of the file is read.
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
        // The two special tokens stand around each window.
        windows.check_room(self.config.max_tokens - 2)?;
        let mut reader = NoteReader::open(file).map_err(ExpertsError::Notes)?;
        let mut index = 0;
        self.gather(&mut std::iter::from_fn(|| {
            loop {
                let note = match reader.next()? {
                    Ok(note) => note,
                    Err(error) => return Some(Err(ExpertsError::Notes(error))),
                };
                progress(reader.so_far());
                index += 1;
                // Those of other parts are looked at too, as all are measured on at the end.
                let label = self.config.known_class(&note.label);
                let encoded = label.and_then(|label| self.encode(&note, label, windows, reader.record()));
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
        Ok(SurveyedRow { tokens: self.whole(note)?, class: Some(self.config.classes[class].clone()), record })
    }

    fn encode(&self, note: &Note, label: usize, windows: Windows, record: usize) -> Result<Encoded, String> {
        let (windows, cut) = self.windows(note, windows)?;
        Ok(Encoded { windows, cut, label: label as i64, record })
    }

    fn gather(
        &self,
        notes: &mut dyn Iterator<Item = Result<Encoded, ExpertsError>>,
    ) -> Result<Features, ExpertsError> {
        let (mut hidden, mut lengths, mut labels, mut records, mut truncated) =
            (vec![], vec![], vec![], vec![], 0);
        loop {
            let batch = notes.take(BATCH).collect::<Result<Vec<Encoded>, _>>()?;
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
                truncated += usize::from(note.cut);
            }
        }
        match hidden.is_empty() {
            true => Err(ExpertsError::NoNotes),
            false => {
                Ok(Features::new(Tensor::cat(&hidden, 0), lengths, labels, truncated)?.with_records(records))
            }
        }
    }

    /// All token numbers of a note, the special tokens included. The tokenizer's own words, where it refuses, may quote the
    /// note.
    fn whole(&self, note: &Note) -> Result<Vec<i64>, String> {
        let encoding = quietly(|| self.tokenizer.encode(note.text.as_str(), true)).and_then(Result::ok);
        let encoding = encoding.ok_or_else(|| "the tokenizer refuses its text".to_owned())?;
        let vocabulary = self.minilm.embeddings.vocabulary();
        match encoding.get_ids().iter().find(|&&id| i64::from(id) >= vocabulary) {
            Some(id) => Err(beyond(i64::from(*id), vocabulary as usize)),
            None => Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect()),
        }
    }

    /// A note's tokens in windows of the configured length, each between the two special tokens, and whether there
    /// would have been more of them.
    pub(crate) fn windows(&self, note: &Note, windows: Windows) -> Result<(Vec<Vec<i64>>, bool), String> {
        let tokens = self.whole(note)?;
        let [first, content @ .., last] = tokens.as_slice() else {
            return Ok((vec![tokens], false));
        };
        let room = self.config.max_tokens - 2;
        let window = |part: &[i64]| [&[*first], part, &[*last]].concat();
        let mut parts = Vec::new();
        let mut start = 0;
        loop {
            let end = content.len().min(start + room);
            parts.push(window(&content[start..end]));
            if end == content.len() || parts.len() == windows.most {
                return Ok((parts, end < content.len()));
            }
            start += room - windows.overlap;
        }
    }

    /// What enters the first MoE layer's router, packed.
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
struct Encoded {
    windows: Vec<Vec<i64>>,
    /// Whether something was cut off.
    cut: bool,
    label: i64,
    /// The record that it is a part of.
    record: usize,
}
