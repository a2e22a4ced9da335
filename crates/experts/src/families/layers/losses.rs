//! What training adds for the routers' sake, over all sparse layers of a model.
//!
//! The regulariser of FedAlign-MoE is in `regularizer.rs`; these are the losses that families define for themselves.

use tch::{Kind, Tensor};

use crate::families::layers::router::Routing;
use crate::training::regularizer::Over;

/// What a layer's share of a loss over all layers needs to know of the others.
pub struct Totals {
    /// Assignments to each expert over all layers, of all tokens together or of each example's, `[groups, experts]`.
    assigned: Tensor,
    /// Tokens over all layers, `[groups, 1]`.
    tokens: Tensor,
    layers: usize,
    /// How many examples there are, where each has a loss of its own.
    examples: Option<i64>,
}

impl Totals {
    /// Over all sparse layers of a model and all tokens together; nothing where there are none.
    pub fn of_tokens(routings: &[Routing]) -> Option<Self> {
        Self::over_groups(routings, None)
    }

    /// For losses that are the sum of the examples' own, each as if it were alone.
    pub(crate) fn of_examples(routings: &[Routing], examples: i64) -> Option<Self> {
        Self::over_groups(routings, Some(examples))
    }

    fn over_groups(routings: &[Routing], examples: Option<i64>) -> Option<Self> {
        let of_layer = |routing: &Routing| {
            let none = routing.probabilities.detach().zeros_like();
            let over = over(routing, examples);
            (over.sum(&none.scatter_value(1, &routing.chosen, 1.0)), over.count(&none))
        };
        let sums = routings.iter().map(of_layer).reduce(|sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        sums.map(|(assigned, tokens)| Self { assigned, tokens, layers: routings.len(), examples })
    }

    /// Whose tokens a layer's losses average over.
    pub(crate) fn over<'a>(&self, routing: &'a Routing) -> Over<'a> {
        over(routing, self.examples)
    }
}

fn over(routing: &Routing, examples: Option<i64>) -> Over<'_> {
    examples.map_or(Over::Batch, |examples| Over::Examples { owners: &routing.owners, examples })
}

/// A layer's share of how unevenly tokens use experts, a scalar. All shares together are the number of experts that a
/// token uses where all are used alike, and more where they are not.
///
/// `experts · sum of f(e) · P(e)`, with `f` the assignments to an expert and `P` its probability, both as means over
/// all tokens of all layers together, as `load_balancing_loss_func` of transformers has it (Switch Transformers,
/// equations 4 to 6, with more than one expert a token).
pub fn balance(routing: &Routing, totals: &Totals) -> Tensor {
    let probability = totals.over(routing).sum(&routing.probabilities);
    let experts = totals.assigned.size()[1] as f64;
    (&totals.assigned * probability / totals.tokens.square()).sum(Kind::Float) * experts
}

/// A layer's share of the mean square of the routers' log-partition functions, a scalar: keeps logits small (ST-MoE,
/// Zoph et al. 2022, equation 5).
pub fn z(routing: &Routing, totals: &Totals) -> Tensor {
    let squares = routing.logits.logsumexp(-1, true).square();
    totals.over(routing).mean(&squares).sum(Kind::Float) / totals.layers as f64
}
