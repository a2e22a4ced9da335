//! Frozen features of texts, with a cache on disk for the next run.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::classifier::embedding::EMBEDDING_WIDTH;
use cloister_experts::{Encoder, ModelConfig, Note};

use crate::config::{Config, HeadConfig, HeadKind};
use crate::data::Dataset;
use crate::digest;
use crate::environment::RunEnvironment;
use crate::error::LabError;
use crate::progress::RunProgress;

/// MiniLM, and the folder of the cache.
pub(crate) struct FrozenFeatures<'a> {
    pub(crate) encoder: Encoder,
    cache: &'a Path,
    /// Digest of MiniLM's weights, which is part of the cache's file names.
    minilm: String,
}

impl<'a> FrozenFeatures<'a> {
    pub(crate) fn open(
        config: &Config,
        dataset: &Dataset,
        environment: &'a RunEnvironment,
    ) -> Result<Self, LabError> {
        let model = ModelConfig {
            moe_layers: config.model.moe_layers,
            experts: config.model.experts,
            rank: config.model.rank,
            max_tokens: config.data.max_tokens,
            ..ModelConfig::new(dataset.classes.clone())
        };
        let encoder = Encoder::open(&environment.minilm, model, 1, environment.device)?;
        let minilm = digest::file_digest(&environment.minilm.join("model.safetensors"))?;
        Ok(Self { encoder, cache: &environment.cache, minilm })
    }

    /// The head's features of each text: the chosen layers' mean states over the chosen windows, each scaled to norm
    /// 1, so that no text counts for more than another. Empty without a head.
    pub(crate) fn head_features(
        &self,
        notes: &[Note],
        head: &HeadConfig,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Vec<f32>, LabError> {
        if head.kind == HeadKind::None {
            return Ok(Vec::new());
        }
        let mut by_windows = Vec::with_capacity(head.windows.len());
        for windows in &head.windows {
            by_windows.push(self.all_layers(notes, *windows, progress)?);
        }
        let mut rows = Vec::with_capacity(notes.len() * head.width());
        for note in 0..notes.len() {
            for all in &by_windows {
                let row = &all[note * EMBEDDING_WIDTH..][..EMBEDDING_WIDTH];
                rows.extend(head.layers.iter().flat_map(|layer| unit(&row[layer * HIDDEN..][..HIDDEN])));
            }
        }
        Ok(rows)
    }

    /// Reads the file that an earlier run wrote for these texts, or computes their embeddings and writes it.
    /// The cache has all layers, so that another choice of layers needs no second pass.
    fn all_layers(
        &self,
        notes: &[Note],
        windows: usize,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Vec<f32>, LabError> {
        let path = self.cached(notes, windows);
        if let Ok(bytes) = fs::read(&path)
            && bytes.len() == notes.len() * EMBEDDING_WIDTH * 4
        {
            let (values, _) = bytes.as_chunks();
            return Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect());
        }
        let values = self
            .encoder
            .embeddings(notes, windows, &mut |done, all| progress(RunProgress::Embedding { done, all }))?;
        fs::create_dir_all(self.cache).map_err(LabError::file(self.cache))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        // Renamed once it is complete: an interrupted run must not leave a file that later runs read.
        let unfinished = path.with_extension("part");
        fs::write(&unfinished, bytes).map_err(LabError::file(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(LabError::file(&path))?;
        Ok(values)
    }

    /// The cache file's name: a digest of everything that decides the features, so that no file is ever out
    /// of date.
    fn cached(&self, notes: &[Note], windows: usize) -> PathBuf {
        let sizes = [self.encoder.config().max_tokens, windows].map(usize::to_le_bytes).concat();
        let head: [&[u8]; 2] = [self.minilm.as_bytes(), &sizes];
        let texts = notes.iter().map(|note| note.text.as_bytes());
        let parts: Vec<&[u8]> = head.into_iter().chain(texts).collect();
        self.cache.join(format!("{}.f32", &digest::bytes_digest(&parts)[..32]))
    }
}

fn unit(vector: &[f32]) -> impl Iterator<Item = f32> + use<'_> {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(move |value| value / norm)
}
