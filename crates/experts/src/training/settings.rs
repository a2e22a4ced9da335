//! Settings of one local training.

use serde::{Deserialize, Serialize};

use crate::error::ExpertsError;
use crate::training::regularizer::RoutingForm;
use crate::training::statistics::RegionForm;

/// Settings of one local training.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalTraining {
    /// Passes over the member's notes, at least 1.
    pub epochs: usize,
    /// Notes of a batch, at least 1; working memory grows with it.
    pub batch_size: usize,
    /// Learning rate of experts and routers; the head's is
    /// [`HEAD_RATE_RATIO`](crate::classifier::trainer::HEAD_RATE_RATIO) times it.
    pub learning_rate: f64,
    /// Weight `lambda` of the routing regulariser, which acts only when a routing distribution is published.
    pub routing_penalty: f64,
    /// Weight of the load balance.
    pub load_balance: f64,
    /// What the routing regulariser compares, and how strongly for each expert.
    pub routing_form: RoutingForm,
    /// Weight `mu` of the proximal term `mu / 2 · |w − w_0|²`, which holds the parameters near those that
    /// training started from (FedProx, Li et al. 2020).
    pub proximal: f64,
    /// What stays as it was loaded.
    pub frozen: Frozen,
    /// How the experts' regions are described.
    pub region_form: RegionForm,
    /// Seed of the order of the notes. In a round the client draws it from the system and tells no other
    /// party: an order that others know would let them repeat the training.
    pub seed: u64,
}

/// Parameters that a training leaves as they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Frozen {
    /// The routers.
    pub routers: bool,
    /// The head.
    pub head: bool,
}

impl Default for LocalTraining {
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 8,
            learning_rate: 3e-3,
            routing_penalty: 0.1,
            load_balance: 0.01,
            routing_form: RoutingForm::default(),
            proximal: 0.0,
            frozen: Frozen::default(),
            region_form: RegionForm::default(),
            seed: 0,
        }
    }
}

impl LocalTraining {
    pub(crate) fn check(&self) -> Result<(), ExpertsError> {
        let fail = |reason: &str| Err(ExpertsError::Settings(reason.to_owned()));
        if self.epochs == 0 || self.batch_size == 0 {
            return fail("epochs and batch_size must be at least 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return fail("learning_rate must be a positive number");
        }
        let weights = [self.routing_penalty, self.load_balance, self.proximal];
        if !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
            return fail("routing_penalty, load_balance and proximal must be numbers of at least 0");
        }
        Ok(())
    }
}
