//! The configuration of the model, equal at every member.

use cloister_params::plan::SketchForm;
use serde::{Deserialize, Serialize};

use crate::error::ExpertsError;
use crate::files::notes::{check_differ, class_number};
use crate::files::rows::normal;

/// Numbers in one of MiniLM's hidden states.
pub const HIDDEN: usize = 384;
/// Width of MiniLM's feed-forward networks.
pub const INTERMEDIATE: usize = 1536;
/// Transformer layers of MiniLM.
pub const LAYERS: usize = 6;
/// Attention heads of a layer of MiniLM.
pub const HEADS: usize = 12;
/// Positions that MiniLM has embeddings for.
pub const POSITIONS: usize = 512;
/// Experts that each token is sent to.
pub const TOP_K: usize = 2;

/// What members must agree on to train one model together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// How many of the upper layers become MoE layers, 1 to 6.
    pub moe_layers: usize,
    /// Experts of each MoE layer, 3 to 256.
    pub experts: usize,
    /// Rank of the experts' adapters, 1 to 384.
    pub rank: usize,
    /// Scale of the adapters: an adapter adds `alpha / rank · B · A` to its weight.
    pub alpha: f64,
    /// Tokens after which a note is truncated, the two special tokens included, 3 to 512.
    pub max_tokens: usize,
    /// Names of the classes, in the order of the head's rows; at least two, all different.
    pub classes: Vec<String>,
    /// Seed of the frozen halves of the adapters and of the routers' initial values.
    pub seed: u64,
    /// Whether each round evaluates the model on members' held-out records (`PRIV-15`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation: bool,
    /// Coordinates of a sketch, if each layer has a block of regions for plans with withheld sketches (`ALIGN-18`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<u16>,
}

/// Checks that regions have the size of a sketch, if there are any.
pub(crate) fn check_regions(regions: Option<u16>) -> Result<(), ExpertsError> {
    let sizes = SketchForm::Withheld.sizes();
    match regions.filter(|size| !sizes.contains(size)) {
        Some(size) => Err(ExpertsError::Config(format!("regions must be one of {sizes:?}, not {size}"))),
        None => Ok(()),
    }
}

impl ModelConfig {
    /// The default model for these classes.
    pub fn new(classes: Vec<String>) -> Self {
        Self {
            moe_layers: 2,
            experts: 8,
            rank: 8,
            alpha: 16.0,
            max_tokens: 64,
            classes,
            seed: 0,
            evaluation: false,
            regions: None,
        }
    }

    /// Checks every limit that the fields' documentation names.
    ///
    /// # Errors
    /// [`ExpertsError::Config`] for the first field outside its limits.
    pub fn check(&self) -> Result<(), ExpertsError> {
        within("moe_layers", self.moe_layers, 1, LAYERS)?;
        check_regions(self.regions)?;
        // One more than a token is sent to: a margin compares the chosen experts with the best one not
        // chosen.
        within("experts", self.experts, TOP_K + 1, 256)?;
        within("rank", self.rank, 1, HIDDEN)?;
        within("max_tokens", self.max_tokens, 3, POSITIONS)?;
        within("the number of classes", self.classes.len(), 2, usize::from(u16::MAX))?;
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(ExpertsError::Config(format!("alpha must be a positive number, not {}", self.alpha)));
        }
        check_differ(&self.classes).map_err(ExpertsError::Config)
    }

    /// The class with this name, as a row of the head.
    pub fn class(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class == name)
    }

    /// The class with this name, or a sentence that says which there are.
    ///
    /// # Errors
    /// There is no such class.
    pub fn known_class(&self, name: &str) -> Result<usize, String> {
        class_number(&normal(name), &self.classes)
    }

    /// Index in MiniLM of the first MoE layer.
    pub(crate) fn first_moe_layer(&self) -> usize {
        LAYERS - self.moe_layers
    }
}

fn within(field: &str, value: usize, least: usize, most: usize) -> Result<(), ExpertsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ExpertsError::Config(format!("{field} must lie between {least} and {most}, not be {value}")))
}
