//! The configurations of decoders. Families differ only in these values; the code that computes them is the
//! same.

pub(crate) mod fields;
pub(crate) mod limits;
pub(crate) mod names;
pub(crate) mod read;
pub mod switch;

use serde::Serialize;

use crate::families::config::limits::Limits;

/// A model family, by the `model_type` of its `config.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Llama and models of its architecture (SmolLM2). They have no experts; upcycling adds them.
    Llama,
    /// OLMoE (Muennighoff et al. 2024).
    Olmoe,
    /// Mixtral (Jiang et al. 2024).
    Mixtral,
    /// Qwen2-MoE, Qwen1.5-MoE.
    #[serde(rename = "qwen2_moe")]
    Qwen2Moe,
    /// Qwen3-MoE.
    #[serde(rename = "qwen3_moe")]
    Qwen3Moe,
    /// DeepSeek-V2 (DeepSeek-AI 2024).
    #[serde(rename = "deepseek_v2")]
    DeepseekV2,
    /// DeepSeek-V3 (DeepSeek-AI 2024).
    #[serde(rename = "deepseek_v3")]
    DeepseekV3,
    /// Switch Transformers (Fedus et al. 2022): T5 with top-1 experts.
    SwitchTransformers,
}

impl Family {
    /// All families that can be read.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Olmoe,
        Self::Mixtral,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
        Self::DeepseekV2,
        Self::DeepseekV3,
        Self::SwitchTransformers,
    ];

    /// Its `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Olmoe => "olmoe",
            Self::Mixtral => "mixtral",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Qwen3Moe => "qwen3_moe",
            Self::DeepseekV2 => "deepseek_v2",
            Self::DeepseekV3 => "deepseek_v3",
            Self::SwitchTransformers => "switch_transformers",
        }
    }

    /// The family with this `model_type`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A decoder-only model with pre-normalised layers and rotary positions.
#[derive(Clone, PartialEq, Debug)]
pub struct DecoderConfig {
    /// The family.
    pub family: Family,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of hidden states.
    pub hidden: usize,
    /// How many heads of queries attention has.
    pub heads: usize,
    /// Longest text that the model was made for, in tokens. If releases of transformers disagree in which layers
    /// have a sliding window (Qwen2-MoE), at most that window, because no shorter text is affected by it.
    pub positions: usize,
    /// Added to the mean square in normalisations, so that rows of 0 do not divide by 0.
    pub norm_epsilon: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// How tokens attend to each other.
    pub attention: AttentionConfig,
    /// Rotary positions.
    pub rope: RopeConfig,
    /// The feed-forward network of each layer.
    pub layers: Vec<FeedForwardConfig>,
    /// The experts of all sparse layers; `None` without sparse layers.
    pub moe: Option<MoeConfig>,
}

/// A layer's feed-forward network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedForwardConfig {
    /// One gated network of this intermediate width.
    Dense(usize),
    /// Experts behind a router.
    Sparse,
}

/// How queries and keys are normalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryNorm {
    /// Not at all.
    None,
    /// Over the values of all heads together (OLMoE).
    Whole,
    /// Over each head alone, with one weight that all heads share (Qwen3).
    PerHead,
}

/// The two kinds of attention.
#[derive(Clone, PartialEq, Debug)]
pub enum AttentionConfig {
    /// Several query heads share a head of keys and values (Ainslie et al. 2023).
    Grouped {
        /// Heads of keys and values.
        key_value_heads: usize,
        /// Width of a head.
        head: usize,
        /// Normalisation of queries and keys.
        norm: QueryNorm,
        /// Whether queries, keys and values have a bias.
        bias: bool,
        /// Whether the output has a bias.
        output_bias: bool,
        /// Queries, keys and values are clamped to this magnitude, after their normalisation (OLMoE).
        clip: Option<f64>,
        /// Sliding window: how many tokens each token attends to, itself included. `None` for all before it.
        window: Option<usize>,
    },
    /// Multi-head latent attention (DeepSeek-V2, section 2.1).
    Latent {
        /// Width that queries are squeezed through; `None` if they are not (DeepSeek-V2-Lite).
        query_rank: Option<usize>,
        /// Width that keys and values are squeezed through.
        key_value_rank: usize,
        /// Width of a head's part that has positions.
        rotary: usize,
        /// Width of a head's part that has none.
        plain: usize,
        /// Width of a head's values.
        value: usize,
        /// Whether the squeezing maps and the output have a bias.
        bias: bool,
    },
}

/// Rotary positions (Su et al. 2021).
#[derive(Clone, PartialEq, Debug)]
pub struct RopeConfig {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Width that is rotated in each head: all of it, or the rotary part of latent attention.
    pub width: usize,
    /// Whether coordinates 2i and 2i + 1 form a pair (DeepSeek), rather than i and i + width / 2.
    pub interleaved: bool,
    /// How wavelengths are stretched to longer texts.
    pub scaling: RopeScaling,
}

/// How rotary positions are stretched.
#[derive(Clone, PartialEq, Debug)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All wavelengths by this factor (Chen et al. 2023).
    Linear(f64),
    /// Long wavelengths more than short ones (YaRN, Peng et al. 2023, section 3).
    Yarn {
        /// The largest stretch.
        factor: f64,
        /// Tokens of the original model.
        original_positions: f64,
        /// Wavelengths that fit in more often than this are not stretched.
        beta_fast: f64,
        /// Wavelengths that fit in less often than this are stretched in full.
        beta_slow: f64,
        /// Whether the range of pairs over which the stretch grows is rounded outwards to whole pairs.
        truncated: bool,
        /// Factor of the rotated vectors.
        magnitude: f64,
        /// Factor of the attention scores, where the family has one.
        score_magnitude: f64,
    },
    /// Long wavelengths by a factor, short ones not, and those between by a part of it (Llama 3.1).
    Llama3 {
        /// The stretch of long wavelengths.
        factor: f64,
        /// Tokens of the original model.
        original_positions: f64,
        /// Wavelengths that fit in less often than this are stretched in full.
        low: f64,
        /// Wavelengths that fit in more often than this are not stretched.
        high: f64,
    },
}

/// How a router turns logits into scores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scoring {
    /// Over all experts together.
    Softmax,
    /// For each expert alone (DeepSeek-V3).
    Sigmoid,
}

/// How a group of experts is scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupScore {
    /// By its best expert (DeepSeek-V2).
    Best,
    /// By its two best experts together (DeepSeek-V3).
    BestTwo,
}

/// A router first chooses groups of experts (DeepSeek-V2, section 2.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// How many groups of equal size the experts form.
    pub groups: usize,
    /// From how many of the best groups a token's experts are chosen, at most `groups`.
    pub chosen: usize,
    /// How the groups are ranked.
    pub score: GroupScore,
}

/// Experts that every token uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedConfig {
    /// Intermediate width of all of them together: checkpoints store them as one network.
    pub intermediate: usize,
    /// Whether a gate weighs their output (Qwen2-MoE).
    pub gated: bool,
}

/// The experts of a layer and their router.
#[derive(Clone, PartialEq, Debug)]
pub struct MoeConfig {
    /// How many routed experts a sparse layer has.
    pub experts: usize,
    /// How many of them each token uses, from 1 to `experts`.
    pub chosen: usize,
    /// Intermediate width of an expert.
    pub intermediate: usize,
    /// How logits become scores.
    pub scoring: Scoring,
    /// Whether the chosen scores are made to sum to 1.
    pub normalised: bool,
    /// Factor of the chosen scores, after they are normalised. 1 outside of DeepSeek.
    pub scale: f64,
    /// Groups, where a token may use only some of them.
    pub groups: Option<GroupConfig>,
    /// Whether the checkpoint has a bias that takes part in the choice, but not in the weights of the chosen
    /// experts. DeepSeek-V3 balances its experts with it instead of with a loss (section 2.1.2).
    pub correction: bool,
    /// Experts that every token uses.
    pub shared: Option<SharedConfig>,
    /// Weight of the load-balance loss in training; `None` for DeepSeek, for which transformers has no such
    /// loss.
    pub balance: Option<f64>,
}

impl DecoderConfig {
    /// The limits of its models' inputs, with a head over so many classes (0 without a head).
    pub(crate) fn limits(&self, classes: usize) -> Limits {
        Limits { vocabulary: self.vocabulary, positions: Some(self.positions), has_encoder: false, classes }
    }

    /// Indices of the layers that have experts.
    pub fn sparse_layers(&self) -> Vec<usize> {
        (0..self.layers.len()).filter(|&index| self.layers[index] == FeedForwardConfig::Sparse).collect()
    }
}
