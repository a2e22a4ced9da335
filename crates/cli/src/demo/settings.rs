//! The demo's round settings.

use cloister_params::block::BlockShape;
use cloister_params::floors::Floors;
use cloister_params::plan::{LateSketchMode, PrivateTrainingPlan, RoundSettings, TrainingPlan};
use cloister_privacy::planning::sampling_probability_micro;

use super::DemoArguments;
use crate::failure::Failure;
use crate::round_settings::{Agreement, round_settings};

/// Notes in a batch.
const BATCH_SIZE: u16 = 8;

/// Learning rate of MiniLM's experts, in millionths.
const CLASSIFIER_RATE: u32 = 4_000;
/// Learning rate of a published model's adapter, in millionths.
const ADAPTER_RATE: u32 = 1_000;

/// The demo's settings.
pub(super) fn settings(
    arguments: &DemoArguments,
    table: &[BlockShape],
    task: &str,
    floors: &Floors,
) -> Result<RoundSettings, Failure> {
    let private = arguments.noise_multiplier.map(|noise| private(noise, arguments.notes_per_member));
    let training = TrainingPlan {
        local_epochs: 1,
        batch_size: BATCH_SIZE,
        learning_rate_micro: if arguments.base_model.is_some() { ADAPTER_RATE } else { CLASSIFIER_RATE },
        // With private training the published routing is mostly noise, and routers should not be pulled
        // towards it.
        routing_penalty_milli: if private.is_some() { 0 } else { 100 },
        private: private.transpose()?,
    };
    let late_sketches = if arguments.late_sketches { LateSketchMode::Required } else { LateSketchMode::Off };
    round_settings(&Agreement {
        task,
        floors,
        table,
        training,
        late_sketches,
        sketches: arguments.sketches.into(),
        noise_of_sums_milli: None,
        held_out_records: 0,
    })
}

/// Private training in which a step draws a batch in expectation, at a hospital with the usual number of
/// notes.
fn private(noise_multiplier: f64, notes_per_member: usize) -> Result<PrivateTrainingPlan, Failure> {
    let notes = u32::try_from(notes_per_member).map_err(Failure::error)?;
    // With fewer notes than a batch, the probability would be above 1.
    let batch = u32::from(BATCH_SIZE).min(notes);
    Ok(PrivateTrainingPlan {
        clipping_norm_milli: 1000,
        noise_multiplier_milli: (noise_multiplier * 1e3).round() as u32,
        sampling_probability_micro: sampling_probability_micro(batch, notes).map_err(Failure::error)?,
        minimum_records: (notes / 4).max(1),
    })
}
