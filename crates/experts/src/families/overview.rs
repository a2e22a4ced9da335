//! What a model folder holds and what training it would take, before any of it is loaded.

use std::path::Path;

use serde::Serialize;

use crate::error::ExpertsError;
use crate::families::adapter::AdapterSettings;
use crate::families::blocks::AdapterBlocks;
use crate::families::config::{DecoderConfig, Family, MoeConfig};
use crate::families::loader::Precision;
use crate::families::read_config::{read_decoder, read_family};
use crate::families::sites::SiteShape;
use crate::families::switch_config::SwitchConfig;
use crate::families::weights::Checkpoint;

/// A model's configuration, of whichever kind.
pub enum AnyConfig {
    /// Of a decoder.
    Decoder(DecoderConfig),
    /// Of a Switch Transformer.
    Switch(SwitchConfig),
}

impl AnyConfig {
    /// Reads the `config.json` of a folder.
    ///
    /// # Errors
    /// [`ExpertsError::File`] or [`ExpertsError::Content`], naming an architecture that is not supported.
    pub fn read(folder: &Path) -> Result<Self, ExpertsError> {
        let (family, fields) = read_family(&folder.join("config.json"))?;
        Ok(match family {
            Family::SwitchTransformers => Self::Switch(SwitchConfig::read(&fields)?),
            _ => Self::Decoder(read_decoder(family, &fields)?),
        })
    }

    /// The family.
    pub fn family(&self) -> Family {
        match self {
            Self::Decoder(config) => config.family,
            Self::Switch(_) => Family::SwitchTransformers,
        }
    }

    /// The modules that an adapter can train.
    pub fn sites(&self) -> Vec<SiteShape> {
        match self {
            Self::Decoder(config) => config.sites(),
            Self::Switch(config) => config.sites(),
        }
    }

    /// The experts of sparse layers.
    pub fn moe(&self) -> Option<&MoeConfig> {
        match self {
            Self::Decoder(config) => config.moe.as_ref(),
            Self::Switch(config) => Some(&config.moe),
        }
    }

    /// All layers, and those that have experts.
    pub fn layers(&self) -> (usize, usize) {
        match self {
            Self::Decoder(config) => (config.layers.len(), config.sparse_layers().len()),
            Self::Switch(config) => {
                let all = [config.encoder.as_slice(), &config.decoder].concat();
                (all.len(), all.iter().filter(|&&sparse| sparse).count())
            }
        }
    }

    /// Hidden width, and rows of the embedding.
    fn widths(&self) -> (usize, usize) {
        match self {
            Self::Decoder(config) => (config.hidden, config.vocabulary),
            Self::Switch(config) => (config.hidden, config.vocabulary),
        }
    }
}

/// What a model folder holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Overview {
    /// The family.
    pub family: &'static str,
    /// Layers, those of the encoder and the decoder together.
    pub layers: usize,
    /// Layers with experts.
    pub sparse_layers: usize,
    /// Experts of such a layer, 0 where there are none.
    pub experts: usize,
    /// Experts that a token uses.
    pub experts_per_token: usize,
    /// Numbers in all tensors.
    pub parameters: usize,
    /// Numbers that the adapter trains.
    pub trained: usize,
    /// Blocks of a round.
    pub blocks: usize,
    /// What training takes, in bytes.
    pub memory: MemoryEstimate,
}

/// Memory that training takes, in bytes; an estimate to within about a third, on the side of too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MemoryEstimate {
    /// The model's frozen weights.
    pub weights: usize,
    /// Masters, gradients and the optimizer's two moments of what is trained.
    pub trained: usize,
    /// What the backward pass keeps of one batch.
    pub activations: usize,
}

impl MemoryEstimate {
    /// All together.
    pub fn total(&self) -> usize {
        self.weights + self.trained + self.activations
    }
}

/// Looks at a folder's configuration and at the headers of its weights.
///
/// # Errors
/// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Settings`] when the adapter's settings do not
/// fit the model.
pub fn overview(
    folder: &Path,
    settings: &AdapterSettings,
    precision: Precision,
    tokens: usize,
) -> Result<Overview, ExpertsError> {
    let config = AnyConfig::read(folder)?;
    let parameters = Checkpoint::open(folder)?.parameters();
    let (blocks, trained) = match config.moe().is_none() && settings.modules.is_empty() {
        true => (0, 0),
        false => blocks_and_numbers(&AdapterBlocks::new(&config.sites(), settings)?),
    };
    let (layers, sparse_layers) = config.layers();
    let memory = MemoryEstimate {
        weights: parameters * precision.bytes(),
        trained: trained * 16,
        activations: activations(&config, precision, tokens),
    };
    Ok(Overview {
        family: config.family().name(),
        layers,
        sparse_layers,
        experts: config.moe().map_or(0, |moe| moe.experts),
        experts_per_token: config.moe().map_or(0, |moe| moe.chosen),
        parameters,
        trained,
        blocks,
        memory,
    })
}

fn blocks_and_numbers(table: &AdapterBlocks) -> (usize, usize) {
    let pieces = table.blocks().iter().flat_map(|block| &block.pieces);
    (table.blocks().len(), pieces.map(|piece| piece.shape.iter().product::<usize>()).sum())
}

/// What the backward pass needs of a batch of this many tokens.
///
/// A layer keeps about 12 values of the hidden width a token (norms, attention, residuals), and for each expert of a
/// token its input, output, and four values of the intermediate width; logits and their softmax are 32-bit floats.
fn activations(config: &AnyConfig, precision: Precision, tokens: usize) -> usize {
    let (hidden, vocabulary) = config.widths();
    let (layers, sparse) = config.layers();
    let experts = config.moe().map_or(0, |moe| moe.chosen * (2 * hidden + 4 * moe.intermediate));
    tokens * ((layers * 12 * hidden + sparse * experts) * precision.bytes() + 3 * vocabulary * 4)
}
