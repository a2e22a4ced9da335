//! A member's regions less what they have in common.

use cloister_alignment::signs::centred_means;
use cloister_experts::{ExpertRegion, LocalResult};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::ScoringRule;

/// A member's region of an expert less the mean of its regions in the layer; `None` with too few tokens.
pub(crate) fn centred_region(
    shape: &BlockShape,
    result: &LocalResult,
    rule: &ScoringRule,
) -> Option<Vec<f32>> {
    let BlockKind::Expert { layer, expert } = shape.kind else { return None };
    let in_layer: Vec<&ExpertRegion> = result.regions.iter().filter(|region| region.layer == layer).collect();
    let place = in_layer.iter().position(|region| region.expert == expert)?;
    let counted: Vec<bool> =
        in_layer.iter().map(|region| region.tokens >= u64::from(rule.minimum_tokens)).collect();
    let regions: Vec<&[f32]> = in_layer.iter().map(|region| region.mean_hidden.as_slice()).collect();
    counted[place].then(|| centred_means(&regions, &counted).swap_remove(place))
}
