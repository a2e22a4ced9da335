//! Which experts share what a member announces.

use super::{LARGEST_SCORE, RoundSettings, SKETCH_CLIP_STEPS, SketchForm};
use crate::id::BlockId;

impl RoundSettings {
    /// The expert blocks that share one announced sketch or score, in the order of the table: one by one, or if sketches
    /// are withheld, in the plan's groups (`ALIGN-16`). What a group shares is announced under its first block.
    pub fn announced_groups(&self) -> Vec<Vec<BlockId>> {
        let scored = self.blocks.iter().filter(|block| block.shape.kind.is_scored());
        let experts: Vec<BlockId> = scored.map(|block| block.shape.id).collect();
        let count = match self.scoring.sketches {
            SketchForm::Pairs | SketchForm::Signs => experts.len(),
            // Settings that nobody checked may have any number of groups.
            SketchForm::Withheld => usize::from(self.scoring.groups).clamp(1, experts.len().max(1)),
        };
        let mut groups = vec![Vec::new(); count];
        for (place, block) in experts.iter().enumerate() {
            groups[place * count / experts.len()].push(*block);
        }
        groups
    }

    /// Whether rounds with these settings publish mean regions, with which members compare theirs (`ALIGN-18`). With private
    /// training they do not: regions would leave for nothing.
    pub fn publishes_regions(&self) -> bool {
        self.scoring.sketches == SketchForm::Withheld && self.training.private.is_none()
    }

    /// The blocks under which members announce sketches or scores, ascending.
    pub fn announced_blocks(&self) -> Vec<BlockId> {
        self.announced_groups().into_iter().filter_map(|group| group.first().copied()).collect()
    }

    /// Standard deviation of the noise on what members announce of their experts, in steps of which a sketch is at most
    /// [`SKETCH_CLIP_STEPS`] long. A score is at most 2¹⁴, which count as as many steps.
    pub fn announced_noise(&self) -> u16 {
        match self.scoring.sketches {
            SketchForm::Pairs | SketchForm::Signs => self.sketch.noise_steps,
            SketchForm::Withheld => self.scoring.score_noise / (LARGEST_SCORE / SKETCH_CLIP_STEPS),
        }
    }

    /// How many numbers about its experts a member announces in a round by itself, outside of any sum: coordinates or
    /// bits of sketches with their token counts, or scores.
    pub fn announced_numbers(&self) -> u64 {
        let size = u64::from(self.sketch.coordinates);
        let of_each = match self.scoring.sketches {
            SketchForm::Pairs => 2 * size + 1,
            SketchForm::Signs => size + 1,
            SketchForm::Withheld => 1,
        };
        self.announced_groups().len() as u64 * of_each
    }
}
