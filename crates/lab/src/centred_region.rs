//! A member's regions less what they have in common.

use cloister_alignment::signs::centred_means;
use cloister_experts::{ExpertRegion, LocalResult};
use cloister_params::block::{BlockKind, BlockShape};

/// Which of a member's experts count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CountedExperts {
    /// Those that any token used (`ALIGN-18`).
    Used,
    /// Those with the rule's minimum of tokens (`ALIGN-14`).
    WithMinimum(u32),
}

/// A member's region of an expert less the mean of its regions in the layer; `None` if it does not count.
pub(crate) fn centred_region(
    shape: &BlockShape,
    result: &LocalResult,
    counted: CountedExperts,
) -> Option<Vec<f32>> {
    let least = match counted {
        CountedExperts::Used => 1,
        CountedExperts::WithMinimum(tokens) => u64::from(tokens),
    };
    let BlockKind::Expert { layer, expert } = shape.kind else { return None };
    let in_layer: Vec<&ExpertRegion> = result.regions.iter().filter(|region| region.layer == layer).collect();
    let place = in_layer.iter().position(|region| region.expert == expert)?;
    let counted: Vec<bool> = in_layer.iter().map(|region| region.tokens >= least).collect();
    let regions: Vec<&[f32]> = in_layer.iter().map(|region| region.mean_hidden.as_slice()).collect();
    counted[place].then(|| centred_means(&regions, &counted).swap_remove(place))
}
