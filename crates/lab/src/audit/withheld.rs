//! Canaries of plans with withheld sketches: of scores, and of sums of regions (`PRIV-17`).
//!
//! A score is largest where update and region point to what was published. So the canaries of scores have references of
//! their own, which an attacker could have chosen: each is what its canary trains. Their regions are those that were
//! published whether a canary is included or not, because they decide about a score's size and not about its sign.

use cloister_experts::classifier::config::HIDDEN;
use cloister_experts::{BlockVectors, ExpertRegion, LocalResult, ModelConfig, block_vectors};
use cloister_params::block::BlockKind;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PlannedBlock, RoundSettings};
use cloister_privacy::release::Released;
use cloister_protocol::model::Model;

use super::DIRECTIONS;
use super::canary::Canary;
use super::fault::EXCESS;
use crate::error::LabError;

/// Tokens of each expert of a canary. Any number above 0 counts alike (`ALIGN-18`).
const TOKENS: u64 = 40;

/// The training result that stands for a canary of this kind of release.
pub(super) fn result(
    canary: Canary,
    audited: Released,
    unit: PrivacyUnit,
    model: &ModelConfig,
    settings: &RoundSettings,
) -> Result<LocalResult, LabError> {
    let sign = canary.sign(unit);
    let blocks = trained(settings);
    let vectors = blocks.map(|block| canary.update(block, f64::from(EXCESS) * sign)).collect();
    let mut regions = Vec::new();
    for block in &settings.blocks {
        let BlockKind::Expert { layer, expert } = block.shape.kind else { continue };
        let (number, sign) = if audited == Released::Score { (0, sign.abs()) } else { (canary.number, sign) };
        let mut mean_hidden = vec![0.0; HIDDEN];
        mean_hidden[(number + DIRECTIONS * usize::from(expert)) % HIDDEN] = sign as f32;
        let tokens = if sign == 0.0 { 0 } else { TOKENS };
        regions.push(ExpertRegion { layer, expert, mean_hidden, tokens });
    }
    Ok(LocalResult {
        updates: block_vectors(model, vectors)?,
        regions,
        margins: vec![vec![0.0; model.experts]; model.moe_layers],
        loss_first: 0.0,
        loss_last: 0.0,
        truncated: 0,
        notes: 1,
        by_record: None,
    })
}

/// What an attacker has a canary's scores compared with: the model before it moved as the canary trains.
pub(super) fn before_last_changes(canary: Canary, settings: &RoundSettings, start: &BlockVectors) -> Model {
    let included = Canary { included: true, ..canary };
    let moved = trained(settings).zip(start.values()).map(|(block, start)| {
        let update = included.update(block, 1.0);
        start.iter().zip(update).map(|(start, update)| start - update).collect()
    });
    let regions = settings.blocks[start.table().len()..].iter();
    Model::new(moved.chain(regions.map(|block| vec![0.0; block.shape.length as usize])).collect())
}

fn trained(settings: &RoundSettings) -> impl Iterator<Item = &PlannedBlock> {
    settings.blocks.iter().filter(|block| block.shape.kind.is_known_to_trainers())
}
