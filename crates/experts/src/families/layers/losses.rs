//! The losses that model families define for their routers, over all sparse layers of a model. The
//! regulariser of FedAlign-MoE is in `regularizer.rs`.

use tch::{Kind, Tensor};

use crate::families::layers::router::Routing;
use crate::training::regularizer::Over;

/// Sums over all sparse layers, from which one layer's share of a loss over all layers follows. They have no
/// gradient, so a layer's share can be computed, and differentiated, without the other layers (gradient
/// checkpointing).
pub struct Totals {
    /// Assignments to each expert over all layers, `[groups, experts]`. A group is all tokens, or those of
    /// one example.
    assigned: Tensor,
    /// Tokens over all layers, `[groups, 1]`.
    tokens: Tensor,
    layers: usize,
    /// How many examples there are, if each has a loss of its own.
    examples: Option<i64>,
}

impl Totals {
    /// Over all sparse layers of a model and all tokens together; `None` without sparse layers.
    pub fn from_tokens(routings: &[Routing]) -> Option<Self> {
        Self::over_groups(routings, None)
    }

    /// For losses that are the sum of the examples' losses, each computed as if the example were alone.
    pub(crate) fn from_examples(routings: &[Routing], examples: i64) -> Option<Self> {
        Self::over_groups(routings, Some(examples))
    }

    fn over_groups(routings: &[Routing], examples: Option<i64>) -> Option<Self> {
        let layers = routings.iter().map(|routing| layer_counts(routing, examples));
        let sums = layers.reduce(|sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        sums.map(|(assigned, tokens)| Self { assigned, tokens, layers: routings.len(), examples })
    }

    /// The groups of tokens over which a layer's losses are means.
    pub(crate) fn over<'a>(&self, routing: &'a Routing) -> Over<'a> {
        over(routing, self.examples)
    }
}

/// How often each expert was chosen in one layer, `[groups, experts]`, and how many tokens there are,
/// `[groups, 1]`.
fn layer_counts(routing: &Routing, examples: Option<i64>) -> (Tensor, Tensor) {
    let none = routing.probabilities.detach().zeros_like();
    let over = over(routing, examples);
    // Packed rows hold no padding, which transformers must mask here.
    (over.sum(&none.scatter_value(1, &routing.chosen, 1.0)), over.count(&none))
}

/// All tokens together, or those of each example.
fn over(routing: &Routing, examples: Option<i64>) -> Over<'_> {
    examples.map_or(Over::Batch, |examples| Over::Examples { owners: &routing.owners, examples })
}

/// A layer's share of the load-balance loss, a scalar that grows with how unevenly tokens use experts. If all
/// experts are used alike, all shares together are the number of experts that a token uses; otherwise they
/// are more.
///
/// The loss is `experts · sum of f(e) · P(e)`, with `f` the assignments to an expert and `P` its probability,
/// both as means over all tokens of all layers together, as in `load_balancing_loss_func` of transformers
/// (Switch Transformers, equations 4 to 6, with more than one expert a token). For a Switch Transformer,
/// transformers adds the losses of encoder and decoder, each over its own layers. Here one mean is over all
/// layers.
pub fn balance(routing: &Routing, totals: &Totals) -> Tensor {
    let probability = totals.over(routing).sum(&routing.probabilities);
    let experts = totals.assigned.size()[1] as f64;
    // The tokens divide twice: once for `f` and once for `P`.
    (&totals.assigned * probability / totals.tokens.square()).sum(Kind::Float) * experts
}

/// A layer's share of the z loss, a scalar: the mean square of the routers' log-partition functions. It keeps
/// logits small (ST-MoE, Zoph et al. 2022, equation 5).
pub fn z(routing: &Routing, totals: &Totals) -> Tensor {
    let squares = routing.logits.logsumexp(-1, true).square();
    totals.over(routing).mean(&squares).sum(Kind::Float) / totals.layers as f64
}
