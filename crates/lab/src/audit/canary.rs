//! Canaries: contributions that are as large as their clips allow, each in a direction of its own.

use cloister_alignment::score::ExpertSketch;
use cloister_alignment::sketch::{Subject, sketch};
use cloister_experts::{BlockVectors, ExpertRegion, LocalResult, ModelConfig, initial_blocks};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PlannedBlock, RoundSettings};

use crate::error::LabError;

/// A contribution whose every part lies along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Canary {
    /// Chooses the axis; canaries of different numbers within a round do not overlap.
    pub(crate) number: usize,
    /// Whose data is protected, which says what the canary's absence is.
    pub(crate) unit: PrivacyUnit,
}

impl Canary {
    /// The coordinate of a block that the canary is in. A router's last one is no parameter.
    pub(crate) fn coordinate(self, shape: &BlockShape) -> usize {
        let parameters = match shape.kind {
            BlockKind::Router { .. } => shape.length - 1,
            _ => shape.length,
        };
        self.number % parameters as usize
    }

    /// How many clips long it is, along its axis. Absent, a member's contribution is zero, and a record has changed the
    /// contribution of its member to the opposite (`PRIV-01`).
    pub(crate) fn length(self, included: bool) -> f64 {
        match (included, self.unit) {
            (true, _) => 1.0,
            (false, PrivacyUnit::Member) => 0.0,
            (false, PrivacyUnit::Record) => -1.0,
        }
    }

    /// What training would have to yield for it.
    pub(crate) fn result(
        self,
        included: bool,
        model: &ModelConfig,
        settings: &RoundSettings,
    ) -> Result<LocalResult, LabError> {
        let length = self.length(included);
        let vectors = settings.blocks.iter().map(|block| self.update(block, length)).collect();
        let kinds = settings.blocks.iter().map(|block| block.shape.kind);
        Ok(LocalResult {
            updates: BlockVectors::new(model, vectors)?,
            regions: kinds.filter_map(|kind| self.region(kind, settings, included)).collect(),
            margins: vec![vec![0.0; model.experts]; model.moe_layers],
            loss_first: 0.0,
            loss_last: 0.0,
            truncated: 0,
            notes: 1,
            by_record: None,
        })
    }

    fn update(self, block: &PlannedBlock, length: f64) -> Vec<f32> {
        let mut update = vec![0.0; block.shape.length as usize];
        update[self.coordinate(&block.shape)] = (length * block.scale.clip()) as f32;
        update
    }

    fn region(self, kind: BlockKind, settings: &RoundSettings, included: bool) -> Option<ExpertRegion> {
        let BlockKind::Expert { layer, expert } = kind else {
            return None;
        };
        let tokens = if included { u64::from(settings.scoring.largest_count()) } else { 0 };
        Some(ExpertRegion { layer, expert, mean_hidden: self.hidden(settings, included), tokens })
    }

    fn hidden(self, settings: &RoundSettings, included: bool) -> Vec<f32> {
        let mut hidden = vec![0.0; cloister_experts::config::HIDDEN];
        let at = self.number % hidden.len();
        hidden[at] = (self.length(included) * region_clip(settings)) as f32;
        hidden
    }

    /// What it announces of an expert, before noise: included and absent.
    pub(crate) fn sketches(self, block: &PlannedBlock, settings: &RoundSettings) -> [ExpertSketch; 2] {
        let plan = &settings.sketch;
        let included = ExpertSketch {
            region: sketch(plan, Subject::Region, &self.hidden(settings, true), region_clip(settings)),
            update: sketch(
                plan,
                Subject::Update(block.shape.id),
                &self.update(block, 1.0),
                block.scale.clip(),
            ),
            tokens: settings.scoring.largest_count(),
        };
        // A projection is linear, and its rounding the same on both sides of 0.
        let other = |own: &[i16]| own.iter().map(|value| value * self.length(false) as i16).collect();
        let absent =
            ExpertSketch { region: other(&included.region), update: other(&included.update), tokens: 0 };
        [included, absent]
    }
}

fn region_clip(settings: &RoundSettings) -> f64 {
    f64::from(settings.sketch.region_clip_milli) / 1000.0
}

/// A model of zeros: nothing that a canary is measured against.
pub(crate) fn zeros(model: &ModelConfig) -> BlockVectors {
    initial_blocks(model).map(|_, values| vec![0.0; values.len()])
}
