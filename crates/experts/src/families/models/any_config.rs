//! The configuration of a model of any family.

use std::path::Path;

use crate::error::ExpertsError;
use crate::families::config::limits::Limits;
use crate::families::config::read::{read_decoder, read_family};
use crate::families::config::switch::SwitchConfig;
use crate::families::config::{DecoderConfig, Family, MoeConfig};
use crate::families::models::sites::SiteShape;

/// The configuration of a decoder or of a Switch Transformer.
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
    /// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Unsupported`], which names the
    /// architecture or the setting that is not implemented.
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

    /// How many layers there are, and how many of them have experts.
    pub fn layers(&self) -> (usize, usize) {
        match self {
            Self::Decoder(config) => (config.layers.len(), config.sparse_layers().len()),
            Self::Switch(config) => {
                let all = [config.encoder.as_slice(), &config.decoder].concat();
                (all.len(), all.iter().filter(|&&sparse| sparse).count())
            }
        }
    }

    /// The most tokens of a text, if there is such a limit.
    pub fn positions(&self) -> Option<usize> {
        match self {
            Self::Decoder(config) => Some(config.positions),
            Self::Switch(_) => None,
        }
    }

    /// The limits of its models' inputs, with a head over so many classes (0 without a head).
    pub(crate) fn limits(&self, classes: usize) -> Limits {
        match self {
            Self::Decoder(config) => config.limits(classes),
            Self::Switch(config) => config.limits(classes),
        }
    }

    /// How many tokens there are: the rows of the embedding.
    pub fn vocabulary(&self) -> usize {
        self.widths().1
    }

    /// Hidden width, and rows of the embedding.
    pub(crate) fn widths(&self) -> (usize, usize) {
        match self {
            Self::Decoder(config) => (config.hidden, config.vocabulary),
            Self::Switch(config) => (config.hidden, config.vocabulary),
        }
    }
}
