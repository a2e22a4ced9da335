//! Applies opened sums to the model. The coordinator, custodians and members all compute it, and their
//! digests must be equal, so every operation is the same bit for bit.

use cloister_params::fixed::CohortTotal;
use cloister_params::plan::CheckedPlan;

use crate::fault::Misbehaviour;
use crate::model::Model;
use crate::opening::OpenedSum;

impl Model {
    /// The model after a round: each opened sum applied to its block, every other block unchanged
    /// (`ROUND-21`).
    ///
    /// # Errors
    /// A sum for a block that the model lacks.
    pub fn after(&self, plan: &CheckedPlan, sums: &[OpenedSum]) -> Result<Self, Misbehaviour> {
        let mut next = self.clone();
        for opened in sums {
            let parameters = next.blocks_mut().get_mut(opened.block());
            if parameters.and_then(|parameters| apply(plan, opened, parameters)).is_none() {
                let why = "the model has no such block".into();
                return Err(Misbehaviour::Sum { block: opened.block(), why });
            }
        }
        Ok(next)
    }
}

/// Applies an opened sum to its block's parameters; a router whose sum of consistency weights is out of range
/// keeps them (`ALIGN-12`). `None` when the plan has no such block.
pub(crate) fn apply(plan: &CheckedPlan, opened: &OpenedSum, parameters: &mut [f32]) -> Option<()> {
    let planned = plan.block(opened.block())?;
    let lifted: Vec<i64> = opened.words().iter().map(|word| plan.settings.ring.lift(*word)).collect();
    let total = CohortTotal {
        weight: u64::from(opened.weight()),
        max_weight: plan.settings.max_weight,
        noise_steps: planned.noise_steps,
    };
    // The only error says that the block keeps its parameters. It follows from the sum alone, so it is the
    // same for everybody.
    let _ = planned.scale.apply(planned.shape.kind, parameters, &lifted, total);
    Some(())
}
