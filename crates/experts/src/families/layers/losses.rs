//! The losses that model families define for their routers, over all sparse layers of a model. The
//! regulariser of FedAlign-MoE is in `regularizer.rs`.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::families::layers::router::Routing;
use crate::training::regularizer::Over;

/// Sums over all sparse layers, from which one layer's share of a loss over all layers follows. They have no
/// gradient, so a layer's share can be computed, and differentiated, without the other layers (gradient
/// checkpointing).
pub struct Totals {
    /// Of each stack of layers: the encoder and the decoder of a Switch Transformer have losses of their own,
    /// which are added.
    stacks: BTreeMap<usize, StackTotals>,
    /// How many examples there are, if each has a loss of its own.
    examples: Option<i64>,
}

/// Sums over the sparse layers of one stack.
struct StackTotals {
    /// Assignments to each expert over all layers, `[groups, experts]`. A group is all tokens, or those of
    /// one example.
    assigned: Tensor,
    /// Tokens over all layers, `[groups, 1]`.
    tokens: Tensor,
    layers: usize,
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
        let mut stacks: BTreeMap<usize, StackTotals> = BTreeMap::new();
        for routing in routings {
            let (assigned, tokens) = layer_counts(routing, examples);
            let sums = match stacks.remove(&routing.stack) {
                Some(StackTotals { assigned: before, tokens: tokens_before, layers }) => StackTotals {
                    assigned: before + assigned,
                    tokens: tokens_before + tokens,
                    layers: layers + 1,
                },
                None => StackTotals { assigned, tokens, layers: 1 },
            };
            stacks.insert(routing.stack, sums);
        }
        (!stacks.is_empty()).then_some(Self { stacks, examples })
    }

    fn stack(&self, routing: &Routing) -> &StackTotals {
        self.stacks.get(&routing.stack).expect("totals are of all routings of the model")
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
/// experts are used alike, all shares of a stack together are the number of experts that a token uses; otherwise
/// they are more.
///
/// The loss is `experts · sum of f(e) · P(e)`, with `f` the assignments to an expert and `P` its probability,
/// both as means over all tokens of all layers together, as in `load_balancing_loss_func` of transformers
/// (Switch Transformers, equations 4 to 6, with more than one expert a token). For a Switch Transformer it is
/// the sum of the losses of encoder and decoder, each over its own layers, as in transformers, which also takes
/// the means text by text and averages the products.
pub fn balance(routing: &Routing, totals: &Totals) -> Tensor {
    let probability = totals.over(routing).sum(&routing.probabilities);
    let StackTotals { assigned, tokens, .. } = totals.stack(routing);
    let experts = assigned.size()[1] as f64;
    // The tokens divide twice: once for `f` and once for `P`.
    (assigned * probability / tokens.square()).sum(Kind::Float) * experts
}

/// A layer's share of the z loss, a scalar: the mean square of the routers' log-partition functions. It keeps
/// logits small (ST-MoE, Zoph et al. 2022, equation 5). As with [`balance`], a Switch Transformer's encoder and
/// decoder have one each.
pub fn z(routing: &Routing, totals: &Totals) -> Tensor {
    let squares = routing.logits.logsumexp(-1, true).square();
    totals.over(routing).mean(&squares).sum(Kind::Float) / totals.stack(routing).layers as f64
}
