//! Routers that stay with their members, in whole or in part. PFL-MoE, LocalRouters and FedAlign-MoE's local
//! gate use them.

use cloister_experts::BlockVectors;
use cloister_params::block::{BlockKind, BlockShape};

use super::{MemberUpdates, Strategy, StrategyMemory};

/// FedAvg of everything but the routers: a member's router is a mean of the router that it trained last and the common
/// one. Routers that are wholly personal enter no sum.
pub(super) struct PersonalRouters {
    /// The weight of the member's trained router in that mean, from 0 to 1; the rest is the common router's.
    personal_part: f32,
    /// The router that each member trained last, by member and block.
    routers: StrategyMemory,
}

impl PersonalRouters {
    pub(super) fn with_personal_part(personal_part: f32) -> Self {
        Self { personal_part, routers: StrategyMemory::new() }
    }

    /// The mean of a trained router and the common one.
    fn mixed(&self, trained: &[f64], common: &[f32]) -> Vec<f32> {
        let pairs = trained.iter().zip(common);
        pairs
            .map(|(trained, common)| {
                *trained as f32 * self.personal_part + common * (1.0 - self.personal_part)
            })
            .collect()
    }
}

impl Strategy for PersonalRouters {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.routers.get(&(member, shape.id.0)) {
            Some(trained) => self.mixed(trained, values),
            None => values.to_vec(),
        })
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        for ((shape, values), update) in start.iter().zip(updates.values()) {
            if matches!(shape.kind, BlockKind::Router { .. }) {
                self.routers.insert((member, shape.id.0), added(values, update));
            }
        }
    }

    fn memory(&self) -> StrategyMemory {
        self.routers.clone()
    }

    fn recall(&mut self, memory: StrategyMemory) {
        self.routers = memory;
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn keeps_routers(&self) -> bool {
        self.personal_part == 1.0
    }

    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        match block.kind {
            // A router that is mixed still needs a common part, so it is summed.
            BlockKind::Router { .. } if self.keeps_routers() => updates.none(),
            _ => updates.by_texts(),
        }
    }
}

/// Parameters after training. They are added in 32 bits, as the trainer adds them: a sum in 64 bits would
/// differ from the model that the member really has.
pub(super) fn added(values: &[f32], update: &[f32]) -> Vec<f64> {
    values.iter().zip(update).map(|(value, change)| f64::from(value + change)).collect()
}
