//! The result of a demo run as one value, from which the closing table, the JSON object and the report are
//! written.

use std::path::Path;

use cloister_params::plan::SketchForm;
use serde::Serialize;

/// A whole run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct DemoResult {
    /// Where the notes came from, in a few words: "synthetic notes, seed 1", or a file's name.
    pub(crate) text: String,
    /// The classes that notes are sorted into.
    pub(crate) classes: Vec<String>,
    /// What hospitals announced of their experts.
    pub(crate) sketches: SketchForm,
    /// Notes that no hospital trained on and every accuracy is measured on.
    pub(crate) held_out: usize,
    /// The hospitals, by number.
    pub(crate) members: Vec<MemberResult>,
    /// The rounds, in order.
    pub(crate) rounds: Vec<RoundResult>,
    /// Seconds from the first process to the end.
    pub(crate) wall_s: f64,
    /// The files that the run wrote, each with a description.
    pub(crate) files: Vec<WrittenFile>,
}

/// One hospital.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct MemberResult {
    /// Its number.
    pub(crate) party: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its house style, for synthetic notes.
    pub(crate) style: Option<String>,
    /// Its notes by class, in the order of the classes.
    pub(crate) notes_by_class: Vec<usize>,
    /// Held-out accuracy of a model trained on its own notes alone, for as many epochs; none if it was lost.
    pub(crate) local_accuracy: Option<f64>,
    /// Held-out accuracy of the federated model, as this hospital holds it; none if it was lost.
    pub(crate) federated_accuracy: Option<f64>,
    /// The round in which the demo killed it; none if it did not.
    pub(crate) killed_in: Option<u64>,
}

/// One round.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct RoundResult {
    /// Its number, from 1.
    pub(crate) round: u64,
    /// Whether it closed with sums; otherwise it was aborted.
    pub(crate) closed: bool,
    /// Members that announced.
    pub(crate) announced: Vec<u32>,
    /// Members whose uploads arrived whole.
    pub(crate) uploaded: Vec<u32>,
    /// Held-out accuracy of the model after the round; none until every hospital that is alive has evaluated
    /// its part.
    pub(crate) accuracy: Option<f64>,
    /// Bytes of masked blocks that the coordinator received.
    pub(crate) bytes_up: u64,
    /// Seconds of the round, training included.
    pub(crate) seconds: f64,
    /// The experts of all layers, by layer and expert.
    pub(crate) experts: Vec<ExpertResult>,
}

/// One expert in one round.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct ExpertResult {
    /// The MoE layer, from 0.
    pub(crate) layer: u16,
    /// The expert in its layer, from 0.
    pub(crate) expert: u16,
    /// How its cohort was chosen: `aligned`, `fallback` (too few aligned, so everyone), or `void`.
    pub(crate) choice: String,
    /// The hospitals of the cohort, whether or not their uploads arrived.
    pub(crate) members: Vec<u32>,
    /// Consensus of each member that announced, in the order of `announced`: how many other members' experts agree with its
    /// own; or if sketches are withheld, its score. None for a member that routed too few tokens to the expert, or has no score.
    pub(crate) consensus: Vec<Option<f64>>,
    /// Whether its sum was opened. If not, the expert stays as it was.
    pub(crate) opened: bool,
}

/// A file that the run wrote.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct WrittenFile {
    /// A description in a few words.
    pub(crate) what: String,
    /// Its path, as it would be given on the command line.
    pub(crate) path: String,
}

impl WrittenFile {
    pub(crate) fn new(what: &str, path: &Path) -> Self {
        Self { what: what.to_owned(), path: path.display().to_string() }
    }
}
