//! What a local training yields.

use cloister_params::block::BlockKind;

use crate::{BlockVectors, RecordAverages};

/// The tokens that one expert was responsible for in the last pass of a training. Private training, which
/// draws its notes, has a pass of its own for this after the last step.
#[derive(Clone, PartialEq)]
pub struct ExpertRegion {
    /// Index of the MoE layer, from 0.
    pub layer: u16,
    /// Index of the expert in its layer.
    pub expert: u16,
    /// Mean of the router's inputs over the tokens routed to the expert, as many values as hidden states
    /// have; 0 where there are no tokens.
    pub mean_hidden: Vec<f32>,
    /// How many of the member's tokens are routed to the expert.
    pub tokens: u64,
}

impl ExpertRegion {
    /// The kind of the expert's block.
    pub fn kind(&self) -> BlockKind {
        BlockKind::Expert { layer: self.layer, expert: self.expert }
    }
}

/// The mean and the count reveal something about the member's notes, so they are never printed.
impl std::fmt::Debug for ExpertRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExpertRegion(layer {}, expert {})", self.layer, self.expert)
    }
}

/// What a local training yields. It reveals something about the member's notes: only what a round's plan
/// names may leave.
#[derive(Clone, PartialEq)]
pub struct LocalResult {
    /// Trained minus initial parameters; the reserved coordinate of each router is 0; each routing block is
    /// the mean softmax routing distribution over the member's tokens.
    pub updates: BlockVectors,
    /// One for each layer and expert, in the order of the block table.
    pub regions: Vec<ExpertRegion>,
    /// For each layer and expert the mean decision margin of the tokens routed to it: the probability of the
    /// chosen expert minus that of the best expert not chosen.
    pub margins: Vec<Vec<f32>>,
    /// Mean loss of the task over the first quarter of the steps, in nats.
    pub loss_first: f64,
    /// Mean loss of the task over the last quarter of the steps, in the same unit.
    pub loss_last: f64,
    /// Notes that were truncated.
    pub truncated: usize,
    /// Notes trained on.
    pub notes: usize,
    /// Averages that no record moves far, which stand for regions and routing blocks in rounds with private
    /// training. `None` in other rounds.
    pub by_record: Option<RecordAverages>,
}

/// It holds the unmasked update, so it is never printed.
impl std::fmt::Debug for LocalResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalResult({} regions)", self.regions.len())
    }
}

/// Counts over a private training. They are not covered by its noise, so they stay with the member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrivateReport {
    /// Steps taken.
    pub steps: usize,
    /// Records drawn in all steps.
    pub drawn: usize,
    /// Those whose gradient was clipped.
    pub clipped: usize,
    /// Those whose gradient was not finite, and counted as 0.
    pub not_finite: usize,
}
