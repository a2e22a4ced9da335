//! What members compare themselves with behind masks, if sketches are withheld.

use cloister_params::block::BlockKind;
use cloister_params::plan::RoundSettings;
use cloister_protocol::model::Model;

use crate::strategy::StrategyMemory;

/// In a strategy's memory, the numbers of what rounds behind masks published. No member has them, and no score in the clear.
const BEFORE: usize = usize::MAX - 2;
const REGIONS: usize = usize::MAX - 3;

/// What rounds behind masks published for the scores of the next one.
#[derive(Clone, Default, Debug)]
pub(crate) struct PublishedRounds {
    /// Each block of the model before the last round that changed it; none before there was one.
    before: Vec<Vec<f32>>,
    /// The blocks of regions.
    regions: Vec<Vec<f32>>,
}

impl PublishedRounds {
    /// Before the first round with these settings.
    pub(crate) fn start(settings: &RoundSettings) -> Self {
        let blocks = settings.blocks.iter().map(|block| block.shape);
        let regions = blocks.filter(|shape| matches!(shape.kind, BlockKind::Regions { .. }));
        let regions = regions.map(|shape| vec![0.0; shape.length as usize]).collect();
        Self { before: Vec::new(), regions }
    }

    /// A model with the published regions behind its blocks.
    pub(crate) fn with_regions(&self, model: &[Vec<f32>]) -> Vec<Vec<f32>> {
        model.iter().chain(&self.regions).cloned().collect()
    }

    /// Each block of the model before the last round that changed it, with the regions.
    pub(crate) fn before_last_changes(&self) -> Option<Model> {
        (!self.before.is_empty()).then(|| Model::new(self.with_regions(&self.before)))
    }

    /// Takes what a round changed, and the regions that it published.
    pub(crate) fn close_round(&mut self, before: &[Vec<f32>], after: &[Vec<f32>], regions: Vec<Vec<f32>>) {
        if self.before.is_empty() && before != after {
            self.before = before.to_vec();
        }
        for ((kept, before), after) in self.before.iter_mut().zip(before).zip(after) {
            if before != after {
                kept.clone_from(before);
            }
        }
        self.regions = regions;
    }

    /// What a checkpoint keeps of it.
    pub(crate) fn memory(&self) -> StrategyMemory {
        let mut memory = StrategyMemory::new();
        for (number, blocks) in [(BEFORE, &self.before), (REGIONS, &self.regions)] {
            for (block, values) in (0u32..).zip(blocks) {
                memory.insert((number, block), values.iter().map(|value| f64::from(*value)).collect());
            }
        }
        memory
    }

    /// Takes what is its own out of a checkpoint.
    pub(crate) fn recalled(mut self, memory: &mut StrategyMemory) -> Self {
        self.before = take(memory, BEFORE);
        let regions = take(memory, REGIONS);
        // A checkpoint of a run in the clear has none.
        if !regions.is_empty() {
            self.regions = regions;
        }
        self
    }
}

/// Takes the vectors of this number out of a memory, in the order of their blocks.
fn take(memory: &mut StrategyMemory, number: usize) -> Vec<Vec<f32>> {
    let keys: Vec<(usize, u32)> =
        memory.range((number, 0)..=(number, u32::MAX)).map(|(key, _)| *key).collect();
    let vectors = keys.iter().filter_map(|key| memory.remove(key));
    vectors.map(|values| values.into_iter().map(|value| value as f32).collect()).collect()
}
