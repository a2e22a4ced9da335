//! Sign sketches in the clear: as members would announce them, without noise.

use cloister_alignment::signs::{sign, signs};
use cloister_alignment::sketch::{SketchSubject, direction, widened};
use cloister_experts::LocalResult;
use cloister_params::block::BlockShape;
use cloister_params::plan::{ScoringRule, SketchForm, SketchPlan};

use crate::centred_region::{CountedExperts, centred_region};

/// A member's signs of an expert, 1 or −1; `None` for a member with too few tokens.
pub(super) fn signs_of(
    block: &BlockShape,
    result: &LocalResult,
    rule: &ScoringRule,
    plan: &SketchPlan,
) -> Option<Vec<f64>> {
    let region = centred_region(block, result, CountedExperts::WithMinimum(rule.minimum_tokens))?;
    let halved = SketchPlan { coordinates: SketchForm::Signs.region_coordinates(plan.coordinates), ..*plan };
    let region = direction(&halved, SketchSubject::Region, &region);
    let update = direction(plan, SketchSubject::Update(block.id), &result.updates[block.id]);
    let bits = signs(&widened(&update), &widened(&region), || true);
    Some((0..usize::from(plan.coordinates)).map(|at| sign(&bits, at) as f64).collect())
}
