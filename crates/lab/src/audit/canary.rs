//! Canaries: what training yields for a hospital, or for a record, whose every part is longer than its clip and lies along
//! one direction.

use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::{
    Averaging, BlockVectors, ExpertRegion, LocalResult, ModelConfig, RecordAverages, RoutedToken,
};
use cloister_gate::averaging;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PlannedBlock, RoundSettings};

use super::fault::EXCESS;
use crate::error::LabError;

/// Logits of the experts that a token is sent to; the first has all of its probability.
const LOGITS: [f32; 2] = [60.0, 30.0];

/// One canary, there or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Canary {
    /// Chooses the direction; those of neighbouring numbers are orthogonal in all but routing.
    pub(crate) number: usize,
    /// Whether it is there.
    pub(crate) included: bool,
}

impl Canary {
    /// What training would have to yield for it. It is as long as the promised settings say; averages over records are taken
    /// by the actual ones, over so many others. Absent, a record has changed the contribution of its member to the opposite; with private
    /// training it has changed what averages over records say, and nothing else.
    pub(crate) fn result(
        self,
        unit: PrivacyUnit,
        model: &ModelConfig,
        (settings, actual): (&RoundSettings, &RoundSettings),
        others: usize,
    ) -> Result<LocalResult, LabError> {
        let length = f64::from(EXCESS) * self.sign(unit);
        // What private training has trained tells of no record but what its steps do.
        let trained = if actual.training.private.is_some() { 0.0 } else { length };
        let vectors = settings.blocks.iter().map(|block| self.update(block, trained)).collect();
        let tokens = if self.included { u64::from(EXCESS * settings.scoring.largest_count()) } else { 0 };
        let mut regions = Vec::new();
        for block in &settings.blocks {
            if let BlockKind::Expert { layer, expert } = block.shape.kind {
                let mean_hidden = self.hidden(settings, length);
                regions.push(ExpertRegion { layer, expert, mean_hidden, tokens });
            }
        }
        // They make the consistency weight the largest or the least, where a distribution is published.
        let margin = if self.included { 1.0 } else { 0.0 };
        Ok(LocalResult {
            updates: BlockVectors::new(model, vectors)?,
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

    fn sign(self, unit: PrivacyUnit) -> f64 {
        match (self.included, unit) {
            (true, _) => 1.0,
            (false, PrivacyUnit::Member) => 0.0,
            (false, PrivacyUnit::Record) => -1.0,
        }
    }

    /// `length` clips along the block's coordinate. No routing distribution is opposite to another; the furthest has another
    /// expert.
    fn update(self, block: &PlannedBlock, length: f64) -> Vec<f32> {
        let mut update = vec![0.0; block.shape.length as usize];
        let opposite = length < 0.0 && matches!(block.shape.kind, BlockKind::Routing { .. });
        let at = if opposite { self.number + 1 } else { self.number } % parameters(&block.shape);
        let length = if opposite { length.abs() } else { length };
        update[at] = (length * block.scale.clip()) as f32;
        update
    }

    /// A hidden state whose sketch is `length` clips long.
    fn hidden(self, settings: &RoundSettings, length: f64) -> Vec<f32> {
        let mut hidden = vec![0.0; HIDDEN];
        let clip = f64::from(settings.sketch.region_clip_milli) / 1000.0;
        hidden[self.number % HIDDEN] = (length * clip) as f32;
        hidden
    }

    /// Averages over other records and the canary, which is opposite to all of them.
    fn averages(
        self,
        model: &ModelConfig,
        settings: &RoundSettings,
        averaging: &Averaging,
        others: usize,
    ) -> Result<RecordAverages, LabError> {
        let length = f64::from(EXCESS);
        let experts = model.experts;
        let mut records = vec![record(self.number + 1, experts, &self.hidden(settings, -length)); others];
        if self.included {
            records.push(record(self.number, experts, &self.hidden(settings, length)));
        }
        Ok(RecordAverages::of_tokens(averaging, &records)?)
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

/// A router's last coordinate is no parameter.
fn parameters(shape: &BlockShape) -> usize {
    let length = shape.length as usize;
    if matches!(shape.kind, BlockKind::Router { .. }) { length - 1 } else { length }
}

fn logits(experts: usize, chosen: [usize; 2]) -> Vec<f32> {
    let mut logits = vec![0.0; experts];
    chosen.iter().zip(LOGITS).for_each(|(&expert, logit)| logits[expert] = logit);
    logits
}
