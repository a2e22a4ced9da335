//! Settings of fine-tuning.

use serde::{Deserialize, Serialize};

use crate::error::ExpertsError;
use crate::training::optimizer::{Decay, Plan, Rule};
use crate::training::regularizer::RoutingForm;
use crate::training::settings::LocalTraining;

/// How an adapter of a published model is trained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuning {
    /// Passes over the examples, at least 1.
    pub epochs: usize,
    /// How many examples pass through the model together, at least 1.
    pub batch_size: usize,
    /// How many batches' gradients make one step, at least 1. A step then has `batch_size · accumulate`
    /// examples in the memory of `batch_size`.
    pub accumulate: usize,
    /// Learning rate after the warm-up. Positive.
    pub learning_rate: f64,
    /// How gradients become steps.
    pub rule: Rule,
    /// How the learning rate falls after the warm-up.
    pub decay: Decay,
    /// Share of the steps over which the learning rate rises linearly, 0 to 1.
    pub warm_up: f64,
    /// Gradients with a larger norm over all parameters are scaled down to it. Positive.
    pub max_gradient_norm: f64,
    /// Decoupled weight decay, at least 0.
    pub weight_decay: f64,
    /// Weight of the load-balance loss, at least 0; `None` for the weight in the model's configuration.
    pub balance: Option<f64>,
    /// Weight of the routers' z loss, at least 0.
    pub z: f64,
    /// Weight `lambda` of the routing regulariser, at least 0. It acts only if a routing distribution is
    /// published. The default, 0.1, is that of the FedAlign-MoE paper.
    pub routing_penalty: f64,
    /// What the routing regulariser compares, and how strongly for each expert.
    pub routing_form: RoutingForm,
    /// Weight `mu` of the proximal term `mu / 2 · |w − w_0|²`, at least 0. It holds parameters near their
    /// initial values (FedProx, Li et al. 2020).
    pub proximal: f64,
    /// Whether the routers of the adapter are not trained: they stay as they were loaded.
    pub freeze_routers: bool,
    /// Probability with which each input of a low-rank addition is left out, below 1.
    pub dropout: f64,
    /// The experts of each layer that are trained, counted from 0; if empty, all.
    pub experts: Vec<usize>,
    /// Whether the first halves of low-rank additions are trained too. If they are not (FFA-LoRA, Sun et al.
    /// 2024), the average of several members' additions is the addition of their averaged halves.
    pub first_halves: bool,
    /// Whether only the input of each layer is held for the backward pass, and the rest recomputed. It takes
    /// less memory and about a third more time. Only for decoders, and only without dropout.
    pub recompute_layers: bool,
    /// Seed of the order of the examples and of dropout.
    pub seed: u64,
}

impl Default for FineTuning {
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 8,
            accumulate: 1,
            learning_rate: 1e-4,
            rule: Rule::AdamW,
            decay: Decay::Cosine,
            warm_up: 0.03,
            max_gradient_norm: 1.0,
            weight_decay: 0.0,
            balance: None,
            z: 0.0,
            routing_penalty: 0.1,
            routing_form: RoutingForm::default(),
            proximal: 0.0,
            freeze_routers: false,
            dropout: 0.0,
            experts: vec![],
            first_halves: true,
            recompute_layers: false,
            seed: 0,
        }
    }
}

impl FineTuning {
    /// Checks that all values are within their ranges.
    pub(crate) fn check(&self) -> Result<(), ExpertsError> {
        match self.fault() {
            Some(reason) => Err(ExpertsError::Settings(reason.to_owned())),
            None => Ok(()),
        }
    }

    /// What is wrong with the settings, if anything.
    fn fault(&self) -> Option<&'static str> {
        if self.epochs == 0 || self.batch_size == 0 || self.accumulate == 0 {
            return Some("epochs, batch_size and accumulate must be at least 1");
        }
        let positive = [self.learning_rate, self.max_gradient_norm];
        if !positive.iter().all(|value| value.is_finite() && *value > 0.0) {
            return Some("learning_rate and max_gradient_norm must be positive numbers");
        }
        let balance = self.balance.unwrap_or(0.0);
        let weights = [self.weight_decay, balance, self.z, self.routing_penalty, self.proximal];
        if !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
            return Some(
                "weight_decay, balance, z, routing_penalty and proximal must be numbers of at least 0",
            );
        }
        if !((0.0..=1.0).contains(&self.warm_up) && (0.0..1.0).contains(&self.dropout)) {
            return Some("warm_up must be from 0 to 1, and dropout at least 0 and below 1");
        }
        if self.recompute_layers && self.dropout > 0.0 {
            return Some(
                "recompute_layers and dropout exclude each other, because recomputing a layer would leave \
                 out other inputs; turn one of them off",
            );
        }
        None
    }

    /// How the optimizer takes steps.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            rule: self.rule,
            decay: self.decay,
            warm_up: self.warm_up,
            max_norm: Some(self.max_gradient_norm),
        }
    }
}

/// The settings of a round. First halves are not trained: otherwise the average of members' adapters would
/// not be the adapter of their average.
impl From<&LocalTraining> for FineTuning {
    fn from(local: &LocalTraining) -> Self {
        Self {
            epochs: local.epochs,
            batch_size: local.batch_size,
            learning_rate: local.learning_rate,
            balance: Some(local.load_balance),
            routing_penalty: local.routing_penalty,
            routing_form: local.routing_form,
            proximal: local.proximal,
            freeze_routers: local.frozen.routers,
            first_halves: false,
            seed: local.seed,
            ..Self::default()
        }
    }
}
