//! Members that end with models of their own, or with parts of them.

use cloister_experts::BlockVectors;
use cloister_params::block::{BlockKind, BlockShape};

use super::{MemberUpdates, Strategy, StrategyMemory};

/// Each member for itself.
#[derive(Default)]
pub(super) struct Alone {
    models: StrategyMemory,
}

impl Strategy for Alone {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.models.get(&(member, shape.id.0)) {
            Some(own) => own.iter().map(|value| *value as f32).collect(),
            None => values.to_vec(),
        })
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        for ((shape, values), update) in start.iter().zip(updates.values()) {
            if !matches!(shape.kind, BlockKind::Routing { .. }) {
                self.models.insert((member, shape.id.0), added(values, update));
            }
        }
    }

    fn memory(&self) -> StrategyMemory {
        self.models.clone()
    }

    fn recall(&mut self, memory: StrategyMemory) {
        self.models = memory;
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.nobody()
    }
}

/// FedAvg of everything but the routers, of which each member keeps a part of its own. Of routers that are wholly their
/// members' nothing is summed.
pub(super) struct OwnRouters {
    /// How much of a member's router is its own; the rest is the common one.
    own_part: f32,
    routers: StrategyMemory,
}

impl OwnRouters {
    pub(super) fn keeping(own_part: f32) -> Self {
        Self { own_part, routers: StrategyMemory::new() }
    }
}

impl Strategy for OwnRouters {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.routers.get(&(member, shape.id.0)) {
            Some(own) => {
                let mix = |(own, common): (&f64, &f32)| {
                    *own as f32 * self.own_part + common * (1.0 - self.own_part)
                };
                own.iter().zip(values).map(mix).collect()
            }
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
        self.own_part == 1.0
    }

    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        match block.kind {
            BlockKind::Router { .. } if self.keeps_routers() => updates.nobody(),
            _ => updates.by_texts(),
        }
    }
}

fn added(values: &[f32], update: &[f32]) -> Vec<f64> {
    values.iter().zip(update).map(|(value, change)| f64::from(value + change)).collect()
}
