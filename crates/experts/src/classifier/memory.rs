//! What training the classifier takes, before anything is loaded.

use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig, TOP_K};
use crate::texts::Windows;
use crate::training::memory::MemoryEstimate;

/// Numbers in MiniLM's tensors.
const MINILM_PARAMETERS: usize = 22_713_216;

/// Estimates training MiniLM with experts on `notes` notes, all as long as the model reads.
pub fn classifier_memory(
    config: &ModelConfig,
    notes: usize,
    windows: Windows,
    batch_size: usize,
) -> MemoryEstimate {
    // Numbers that are trained: second halves of adapters, routers, head.
    let experts = config.moe_layers * config.experts * config.rank * (HIDDEN + INTERMEDIATE);
    let rest = config.moe_layers * config.experts * HIDDEN + config.classes.len() * (HIDDEN + 1);
    let trained = experts + rest;
    let tokens = windows.most * config.max_tokens;
    // Encoded notes are there twice while they are put together.
    let features = 2 * notes * tokens * HIDDEN * 4;
    let a_token = config.moe_layers * (20 * HIDDEN + TOP_K * (4 * HIDDEN + 6 * INTERMEDIATE));
    MemoryEstimate {
        // The frozen halves of the adapters have as many numbers as the trained ones.
        weights: 4 * (MINILM_PARAMETERS + experts),
        adapter: 4 * trained,
        gradients: 4 * trained,
        optimizer: 8 * trained,
        activations: features + 4 * batch_size * tokens * a_token,
        logits: 3 * 4 * batch_size * config.classes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_notes_and_longer_ones_take_more() {
        let config = ModelConfig::new(vec!["a".to_owned(), "b".to_owned()]);
        let total = |notes, most| classifier_memory(&config, notes, Windows { most, overlap: 0 }, 8).total();
        assert!(total(2_000, 1) > total(1_000, 1) && total(1_000, 4) > total(1_000, 1));
    }
}
