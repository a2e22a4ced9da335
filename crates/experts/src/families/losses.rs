//! What training adds for the routers' sake, over all sparse layers of a model.
//!
//! The regulariser of FedAlign-MoE is in `regularizer.rs`; these are the losses that families define for themselves.

use tch::{Kind, Tensor};

use crate::families::router::Routing;

/// How unevenly tokens use experts, a scalar: the number of experts a token uses where all are used alike.
///
/// `experts · sum of f(e) · P(e)`, with `f` the assignments to an expert and `P` its probability, both as means over
/// all tokens of all layers together, as `load_balancing_loss_func` of transformers has it (Switch Transformers,
/// equations 4 to 6, with more than one expert a token). Nothing where there are no routers.
pub fn balance(routings: &[Routing]) -> Option<Tensor> {
    let first = routings.first()?;
    let experts = first.logits.size()[1];
    let mut assigned = Tensor::zeros([experts], (Kind::Float, first.logits.device()));
    let mut probability = assigned.zeros_like();
    let mut tokens = 0;
    for routing in routings {
        let chosen = routing.chosen.flatten(0, 1);
        let ones = chosen.ones_like().to_kind(Kind::Float);
        assigned = assigned.scatter_add(0, &chosen, &ones);
        probability += routing.probabilities.sum_dim_intlist(0, false, Kind::Float);
        tokens += routing.logits.size()[0];
    }
    let scale = experts as f64 / (tokens as f64).powi(2);
    Some((assigned * probability).sum(Kind::Float) * scale)
}

/// The mean square of the routers' log-partition functions, a scalar: keeps logits small (ST-MoE, Zoph et al. 2022,
/// equation 5). Nothing where there are no routers.
pub fn z(routings: &[Routing]) -> Option<Tensor> {
    let layers: Vec<Tensor> = routings
        .iter()
        .map(|routing| routing.logits.logsumexp(-1, false).square().mean(Kind::Float))
        .collect();
    if layers.is_empty() { None } else { Some(Tensor::stack(&layers, 0).mean(Kind::Float)) }
}
