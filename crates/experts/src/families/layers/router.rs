//! Routers: which experts a token uses, and with which weight each of them counts.

use tch::{Kind, Tensor};

use crate::families::config::{GroupConfig, GroupScore, MoeConfig, Scoring};
use crate::families::layers::projection::Whole;
use crate::packing::Packing;
use crate::training::private::WeightPart;

/// A router's weight, trained whole or frozen.
pub(crate) struct Router {
    /// The checkpoint's weight, `[experts, hidden]`.
    pub(crate) frozen: Tensor,
    /// An adapter's weight in its place.
    pub(crate) trained: Option<Whole>,
    /// A bias that is added to the scores for the choice only, `[experts]`, f32 (DeepSeek-V3).
    pub(crate) correction: Option<Tensor>,
}

/// Where a router sends the tokens of a batch.
pub struct Routing {
    /// The hidden states that were routed, `[tokens, hidden]`.
    pub hidden: Tensor,
    /// Logits, `[tokens, experts]`, f32.
    pub logits: Tensor,
    /// Scores as a distribution over the experts, `[tokens, experts]`, f32: a softmax, or sigmoids that are
    /// made to sum to 1.
    pub probabilities: Tensor,
    /// The numbers of each token's experts, `[tokens, chosen]`.
    pub chosen: Tensor,
    /// The factor of each expert's output, `[tokens, chosen]`, f32.
    pub weights: Tensor,
    /// The text of each token, `[tokens]`.
    pub(crate) owners: Tensor,
    /// The stack that the layer is in: 1 for the decoder of a Switch Transformer, otherwise 0.
    pub(crate) stack: usize,
}

impl Router {
    /// Routes packed rows `[tokens, hidden]`.
    pub(crate) fn forward(&self, rows: &Tensor, config: &MoeConfig, packing: &Packing) -> Routing {
        let weight = self.trained.as_ref().map_or(&self.frozen, |trained| &trained.weight);
        // In 32-bit floats whatever the model computes in (Switch Transformers, section 2.4).
        let logits = rows.to_kind(Kind::Float).matmul(&weight.to_kind(Kind::Float).tr());
        let owners = packing.owners();
        if let Some(trained) = &self.trained {
            trained
                .recorder
                .record("weight", (rows, &logits), || (WeightPart::Whole, owners.shallow_clone()));
        }
        let scores = match config.scoring {
            Scoring::Softmax => logits.softmax(-1, Kind::Float),
            Scoring::Sigmoid => logits.sigmoid(),
        };
        // The choice has no gradient; the weights of the chosen experts have one.
        let chosen = tch::no_grad(|| self.choose(&scores, config));
        // Gathered from the scores without the bias: it moves the choice only.
        let mut weights = scores.gather(1, &chosen, false);
        if config.normalised {
            // DeepSeek-V3's sigmoids may all be 0, so transformers adds 1e-20.
            weights = &weights / (sum(&weights) + 1e-20);
        }
        Routing {
            hidden: rows.shallow_clone(),
            probabilities: match config.scoring {
                Scoring::Softmax => scores,
                // Statistics and the routing regulariser compare distributions, and sigmoids do not sum to 1.
                Scoring::Sigmoid => &scores / sum(&scores),
            },
            logits,
            owners,
            stack: 0,
            chosen,
            weights: if config.scale == 1.0 { weights } else { weights * config.scale },
        }
    }

    /// The numbers of each token's experts, `[tokens, chosen]`.
    fn choose(&self, scores: &Tensor, config: &MoeConfig) -> Tensor {
        let mut scores = match &self.correction {
            // Added before groups are ranked too, as in transformers.
            Some(bias) => scores + bias,
            None => scores.detach(),
        };
        if let Some(groups) = config.groups {
            // transformers masks DeepSeek-V2 with 0, which its softmax scores exceed. −∞ serves both
            // families: a biased score of DeepSeek-V3 may be negative.
            scores = scores.masked_fill(&outside(&scores, groups), f64::NEG_INFINITY);
        }
        scores.topk(config.chosen as i64, -1, true, true).1
    }
}

/// True for the experts whose group a token may not use, `[tokens, experts]`.
fn outside(scores: &Tensor, config: GroupConfig) -> Tensor {
    let grouped = scores.view([-1, config.groups as i64, scores.size()[1] / config.groups as i64]);
    let best = match config.score {
        GroupScore::Best => 1,
        // A group of one expert has no second best.
        GroupScore::BestTwo => 2.min(grouped.size()[2]),
    };
    let strength = grouped.topk(best, -1, true, true).0.sum_dim_intlist(-1, false, Kind::Float);
    let chosen = strength.topk(config.chosen as i64, -1, true, true).1;
    let open = strength.zeros_like().scatter_value(1, &chosen, 1.0).gt(0.0);
    open.logical_not().unsqueeze(-1).expand_as(&grouped).reshape(scores.size().as_slice())
}

/// The sum of each row, `[rows, 1]`.
fn sum(scores: &Tensor) -> Tensor {
    scores.sum_dim_intlist(-1, true, Kind::Float)
}
