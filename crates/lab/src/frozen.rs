//! Texts as frozen features, kept from one run to the next.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::config::HIDDEN;
use cloister_experts::embedding::EMBEDDING_WIDTH;
use cloister_experts::{Encoder, ModelConfig, Note};

use crate::config::Config;
use crate::data::Dataset;
use crate::digest;
use crate::error::LabError;
use crate::run::Progress;

/// MiniLM, and where its embeddings are kept from one run to the next.
pub(crate) struct FrozenFeatures<'a> {
    pub(crate) encoder: Encoder,
    cache: &'a Path,
    minilm: String,
}

impl<'a> FrozenFeatures<'a> {
    pub(crate) fn open(
        config: &Config,
        dataset: &Dataset,
        minilm: &Path,
        cache: &'a Path,
    ) -> Result<Self, LabError> {
        let model = ModelConfig {
            moe_layers: config.model.moe_layers,
            experts: config.model.experts,
            rank: config.model.rank,
            max_tokens: config.data.max_tokens,
            ..ModelConfig::new(dataset.classes.clone())
        };
        let encoder = Encoder::open(minilm, model, 1)?;
        Ok(Self { encoder, cache, minilm: digest::of_file(&minilm.join("model.safetensors"))? })
    }

    /// The chosen layers' mean states of each text, each layer's scaled to norm 1, so that no text counts for more
    /// than another.
    pub(crate) fn embeddings(
        &self,
        notes: &[Note],
        layers: &[usize],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<f32>, LabError> {
        if layers.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.all_layers(notes, progress)?;
        let rows = all.chunks_exact(EMBEDDING_WIDTH);
        let slices = rows.flat_map(|row| layers.iter().map(move |&layer| &row[layer * HIDDEN..][..HIDDEN]));
        Ok(slices.flat_map(unit).collect())
    }

    /// Reads what an earlier run has written for these texts, or embeds them and writes it.
    fn all_layers(&self, notes: &[Note], progress: &mut dyn FnMut(Progress)) -> Result<Vec<f32>, LabError> {
        let path = self.cached(notes);
        if let Ok(bytes) = fs::read(&path)
            && bytes.len() == notes.len() * EMBEDDING_WIDTH * 4
        {
            let (values, _) = bytes.as_chunks();
            return Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect());
        }
        let of = notes.len();
        let values =
            self.encoder.embeddings(notes, &mut |done| progress(Progress::Embedding { done, of }))?;
        fs::create_dir_all(self.cache).map_err(LabError::file(self.cache))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let unfinished = path.with_extension("part");
        fs::write(&unfinished, bytes).map_err(LabError::file(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(LabError::file(&path))?;
        Ok(values)
    }

    fn cached(&self, notes: &[Note]) -> PathBuf {
        let tokens = self.encoder.config().max_tokens.to_le_bytes();
        let head: [&[u8]; 2] = [self.minilm.as_bytes(), &tokens];
        let texts = notes.iter().map(|note| note.text.as_bytes());
        let parts: Vec<&[u8]> = head.into_iter().chain(texts).collect();
        self.cache.join(format!("{}.f32", &digest::of_bytes(&parts)[..32]))
    }
}

fn unit(vector: &[f32]) -> impl Iterator<Item = f32> + use<'_> {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(move |value| value / norm)
}
