//! Training results for tests.

use cloister_params::plan::{PrivateTrainingPlan, RoundSettings};
use cloister_updates::{BlockVectors, ExpertRegion, LocalResult, RecordAverages};

/// Private training that averages over at least four records.
pub(crate) const PRIVATE: PrivateTrainingPlan = PrivateTrainingPlan {
    clipping_norm_milli: 1000,
    noise_multiplier_milli: 1000,
    sampling_probability_micro: 500_000,
    minimum_records: 4,
};

/// Values that are not 0, another row of them for each `place`.
pub(crate) fn made(length: usize, place: usize) -> Vec<f64> {
    (0..length).map(|at| ((at * 7 + place * 13) as f64 * 0.37).sin() + 0.01).collect()
}

/// The same in 32 bits.
pub(crate) fn singles(length: usize, place: usize) -> Vec<f32> {
    made(length, place).into_iter().map(|value| value as f32).collect()
}

/// A result for these settings of one layer with four experts, of which no token used the last. Updates have the places of
/// their blocks, regions those from 20 on, and averages over records those from 30 on.
pub(crate) fn result(settings: &RoundSettings) -> LocalResult {
    let table: Vec<_> = settings.blocks.iter().map(|block| block.shape).collect();
    let values = table.iter().map(|shape| singles(shape.length as usize, shape.id.0 as usize)).collect();
    let mut regions = Vec::new();
    for expert in 0..4u16 {
        let (mean_hidden, tokens) = (singles(12, 20 + usize::from(expert)), if expert == 3 { 0 } else { 40 });
        regions.push(ExpertRegion { layer: 0, expert, mean_hidden, tokens });
    }
    let averages = (0..4).map(|expert| made(8, 30 + expert)).collect();
    let by_record = RecordAverages { regions: vec![averages], routing: Vec::new() };
    LocalResult {
        updates: BlockVectors::new(table, values).expect("it fits its table"),
        regions,
        margins: Vec::new(),
        loss_first: 1.0,
        loss_last: 1.0,
        truncated: 0,
        notes: 10,
        by_record: settings.training.private.map(|_| by_record),
    }
}
