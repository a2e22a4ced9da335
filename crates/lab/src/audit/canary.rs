//! Canaries: training results of a hospital, or of a record, every part of which is longer than its clip and
//! lies along
//! one direction.

use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::{
    Averaging, ExpertRegion, LocalResult, ModelConfig, RecordAverages, RoutedToken, block_vectors,
    planted_averages,
};
use cloister_gate::averaging;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PlannedBlock, RoundSettings};

use super::DIRECTIONS;
use super::fault::EXCESS;
use crate::error::LabError;

/// Logits of the two experts that a token is sent to. They are so far apart that the first has a probability
/// of 1 in 32 bits, which moves averages of routing as far as a record can.
const LOGITS: [f32; 2] = [60.0, 30.0];

/// One canary, included or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Canary {
    /// Chooses the direction; those of neighbouring numbers are orthogonal in all but routing.
    pub(crate) number: usize,
    /// Whether it takes part in the round.
    pub(crate) included: bool,
}

impl Canary {
    /// The training result that stands for it. It is as long as the promised settings say; averages over
    /// records follow the actual settings, over `others` more records. For unit `record` an absent canary
    /// makes its member's contribution the opposite one, the furthest that group privacy over the member has
    /// to cover; with private training it changes averages over records alone.
    pub(crate) fn result(
        self,
        unit: PrivacyUnit,
        model: &ModelConfig,
        (settings, actual): (&RoundSettings, &RoundSettings),
        others: usize,
    ) -> Result<LocalResult, LabError> {
        let length = f64::from(EXCESS) * self.sign(unit);
        // Private training's updates reveal a record through their steps alone, which are audited separately.
        let trained = if actual.training.private.is_some() { 0.0 } else { length };
        let vectors = settings.blocks.iter().map(|block| self.update(block, trained)).collect();
        let tokens = if self.included { u64::from(EXCESS * settings.scoring.largest_count()) } else { 0 };
        let mut regions = Vec::new();
        for block in &settings.blocks {
            if let BlockKind::Expert { layer, expert } = block.shape.kind {
                let mean_hidden = self.hidden(settings, length, expert);
                regions.push(ExpertRegion { layer, expert, mean_hidden, tokens });
            }
        }
        // Margins of 1 and 0 give the largest and the smallest consistency weight, if a distribution is
        // published.
        let margin = if self.included { 1.0 } else { 0.0 };
        Ok(LocalResult {
            updates: block_vectors(model, vectors)?,
            regions,
            margins: vec![vec![margin; model.experts]; model.moe_layers],
            loss_first: 0.0,
            loss_last: 0.0,
            truncated: 0,
            notes: 1,
            by_record: averaging(actual, HIDDEN)
                .map(|averaging| self.averages(model, actual, &averaging, others))
                .transpose()?,
        })
    }

    /// 1 if it is included. Otherwise 0, or for unit `record` −1.
    pub(super) fn sign(self, unit: PrivacyUnit) -> f64 {
        match (self.included, unit) {
            (true, _) => 1.0,
            (false, PrivacyUnit::Member) => 0.0,
            (false, PrivacyUnit::Record) => -1.0,
        }
    }

    /// `length` clips along the block's coordinate. A routing distribution has no negative coordinates, so
    /// the furthest from one that is all in one expert is all in another.
    pub(super) fn update(self, block: &PlannedBlock, length: f64) -> Vec<f32> {
        let mut update = vec![0.0; block.shape.length as usize];
        let opposite = length < 0.0 && matches!(block.shape.kind, BlockKind::Routing { .. });
        let at = if opposite { self.number + 1 } else { self.number } % parameters(&block.shape);
        let length = if opposite { length.abs() } else { length };
        update[at] = (length * block.scale.clip()) as f32;
        update
    }

    /// A hidden state whose sketch is `length` clips long, another one for each expert: what all have in common is
    /// subtracted from signs.
    fn hidden(self, settings: &RoundSettings, length: f64, expert: u16) -> Vec<f32> {
        let mut hidden = vec![0.0; HIDDEN];
        let clip = f64::from(settings.sketch.region_clip_milli) / 1000.0;
        hidden[(self.number + DIRECTIONS * usize::from(expert)) % HIDDEN] = (length * clip) as f32;
        hidden
    }

    /// Averages over other records and the canary, which is opposite to all of them: the largest change that
    /// one record makes to a mean.
    fn averages(
        self,
        model: &ModelConfig,
        settings: &RoundSettings,
        averaging: &Averaging,
        others: usize,
    ) -> Result<RecordAverages, LabError> {
        let length = f64::from(EXCESS);
        let experts = model.experts;
        let mut records = vec![record(self.number + 1, experts, &self.hidden(settings, -length, 0)); others];
        if self.included {
            records.push(record(self.number, experts, &self.hidden(settings, length, 0)));
        }
        Ok(planted_averages(averaging, &records)?)
    }
}

/// The tokens of a record, all in one hidden state: each goes to the record's expert, and to another expert as second.
fn record(number: usize, experts: usize, hidden: &[f32]) -> Vec<RoutedToken> {
    let expert = number % experts;
    let mut tokens = Vec::with_capacity(experts - 1);
    for second in (0..experts).filter(|&second| second != expert) {
        tokens.push(RoutedToken { hidden: hidden.to_vec(), logits: logits(experts, [expert, second]) });
    }
    tokens
}

/// A router's last coordinate is its consistency weight and not a parameter: a canary cannot choose it.
fn parameters(shape: &BlockShape) -> usize {
    let length = shape.length as usize;
    if matches!(shape.kind, BlockKind::Router { .. }) { length - 1 } else { length }
}

fn logits(experts: usize, chosen: [usize; 2]) -> Vec<f32> {
    let mut logits = vec![0.0; experts];
    chosen.iter().zip(LOGITS).for_each(|(&expert, logit)| logits[expert] = logit);
    logits
}
