//! Settings of fine-tuning.

use serde::{Deserialize, Serialize};

use crate::error::ExpertsError;
use crate::training::optimizer::{Decay, Plan, Rule};
use crate::training::regularizer::RoutingForm;
use crate::training::settings::LocalTraining;

/// How a family's model is fine-tuned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuning {
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples that pass through the model together.
    pub batch_size: usize,
    /// Batches whose gradients make one step.
    pub accumulate: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// How gradients become steps.
    pub rule: Rule,
    /// What becomes of the learning rate after the warm-up.
    pub decay: Decay,
    /// Part of the steps over which the learning rate rises linearly, 0 to 1.
    pub warm_up: f64,
    /// Gradients are scaled down to this norm over all parameters.
    pub max_gradient_norm: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Weight of the load balance; nothing takes the family's own.
    pub balance: Option<f64>,
    /// Weight of the routers' z loss.
    pub z: f64,
    /// Weight `lambda` of the routing regulariser, which acts only when a routing distribution is published.
    pub routing_penalty: f64,
    /// What the routing regulariser compares, and how strongly for each expert.
    pub routing_form: RoutingForm,
    /// Weight `mu` of the proximal term `mu / 2 · |w − w_0|²`, which holds what is trained near where it started
    /// (FedProx, Li et al. 2020).
    pub proximal: f64,
    /// Whether routers stay as they were loaded, where the adapter has them.
    pub freeze_routers: bool,
    /// Probability with which each input of an adapter is left out.
    pub dropout: f64,
    /// The experts of each layer that are trained; none named means all.
    pub experts: Vec<usize>,
    /// Whether the first halves of low-rank additions are trained too. Where they are not (FFA-LoRA, Sun et al. 2024),
    /// the average of several members' adapters is the adapter of their average.
    pub first_halves: bool,
    /// Whether only what enters each layer is kept for the backward pass, and the rest computed once more: less memory
    /// for about a third more time. For decoders, without dropout.
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
    pub(crate) fn check(&self) -> Result<(), ExpertsError> {
        let fail = |reason: &str| Err(ExpertsError::Settings(reason.to_owned()));
        if self.epochs == 0 || self.batch_size == 0 || self.accumulate == 0 {
            return fail("epochs, batch_size and accumulate must be at least 1");
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !(positive(self.learning_rate) && positive(self.max_gradient_norm)) {
            return fail("learning_rate and max_gradient_norm must be positive numbers");
        }
        let balance = self.balance.unwrap_or(0.0);
        let weights = [self.weight_decay, balance, self.z, self.routing_penalty, self.proximal];
        if weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            return fail(
                "weight_decay, balance, z, routing_penalty and proximal must be numbers of at least 0",
            );
        }
        if !((0.0..=1.0).contains(&self.warm_up) && (0.0..1.0).contains(&self.dropout)) {
            return fail("warm_up must lie between 0 and 1, and dropout too, but below 1");
        }
        if self.recompute_layers && self.dropout > 0.0 {
            return fail(
                "recompute_layers and dropout exclude each other: the second pass would leave out others",
            );
        }
        Ok(())
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            rule: self.rule,
            decay: self.decay,
            warm_up: self.warm_up,
            max_norm: Some(self.max_gradient_norm),
        }
    }
}

/// Adapters' first halves stay as they are, as averages of members' adapters need.
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
