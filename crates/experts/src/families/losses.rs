//! What training adds for the routers' sake, over all sparse layers of a model.
//!
//! The regulariser of FedAlign-MoE is in `regularizer.rs`; these are the losses that families define for themselves.

use tch::{Kind, Tensor};

use crate::families::router::Routing;

/// What a layer's share of a loss over all layers needs to know of the others.
pub struct Totals {
    /// Assignments to each expert over all layers, `[experts]`.
    assigned: Tensor,
    tokens: i64,
    layers: usize,
}

impl Totals {
    /// Over all sparse layers of a model; nothing where there are none.
    pub fn of(routings: &[Routing]) -> Option<Self> {
        let first = routings.first()?;
        let mut assigned = Tensor::zeros([first.logits.size()[1]], (Kind::Float, first.logits.device()));
        for routing in routings {
            let chosen = routing.chosen.flatten(0, 1);
            let ones = chosen.ones_like().to_kind(Kind::Float);
            assigned = assigned.scatter_add(0, &chosen, &ones);
        }
        let tokens = routings.iter().map(|routing| routing.logits.size()[0]).sum();
        Some(Self { assigned, tokens, layers: routings.len() })
    }
}

/// A layer's share of how unevenly tokens use experts, a scalar. All shares together are the number of experts that a
/// token uses where all are used alike, and more where they are not.
///
/// `experts · sum of f(e) · P(e)`, with `f` the assignments to an expert and `P` its probability, both as means over
/// all tokens of all layers together, as `load_balancing_loss_func` of transformers has it (Switch Transformers,
/// equations 4 to 6, with more than one expert a token).
pub fn balance(routing: &Routing, totals: &Totals) -> Tensor {
    let probability = routing.probabilities.sum_dim_intlist(0, false, Kind::Float);
    let scale = totals.assigned.numel() as f64 / (totals.tokens as f64).powi(2);
    (&totals.assigned * probability).sum(Kind::Float) * scale
}

/// A layer's share of the mean square of the routers' log-partition functions, a scalar: keeps logits small (ST-MoE,
/// Zoph et al. 2022, equation 5).
pub fn z(routing: &Routing, totals: &Totals) -> Tensor {
    routing.logits.logsumexp(-1, false).square().mean(Kind::Float) / totals.layers as f64
}
