//! What a member announces and publishes if sketches are withheld: scores of groups of experts, and mean regions.

use std::collections::{BTreeMap, BTreeSet};

use cloister_alignment::cohort::MemberSketches;
use cloister_alignment::score::ExpertSketch;
use cloister_alignment::scores::{cosine, expert_score, group_score, region_values};
use cloister_alignment::signs::centred_means;
use cloister_alignment::sketch::{SketchSubject, unit_direction};
use cloister_params::block::BlockKind;
use cloister_params::id::BlockId;
use cloister_params::plan::{PlannedBlock, RoundSettings, SketchValues};
use cloister_privacy::discrete_gaussian::sample;
use cloister_protocol::model::Model;
use cloister_updates::{ExpertRegion, LocalResult};
use rand_core::CryptoRng;

use crate::error::PrepareError;
use crate::sketches::region_plan;

/// What a member compares itself with (`ALIGN-16`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreReference<'a> {
    /// The model that the round starts from. It has the published regions.
    pub(crate) global: &'a Model,
    /// Each block's parameters before the last closing that changed them.
    pub(crate) before_last_changes: &'a Model,
}

/// The noised score of each group of experts; no score for any without a reference.
pub(crate) fn announced(
    settings: &RoundSettings,
    local: &LocalResult,
    reference: Option<ScoreReference<'_>>,
    random: &mut impl CryptoRng,
) -> Result<MemberSketches, PrepareError> {
    let mut directions = BTreeMap::new();
    if settings.publishes_regions() {
        let layers: BTreeSet<u16> = settings.blocks.iter().filter_map(experts_layer).collect();
        directions.extend(layers.into_iter().flat_map(|layer| layer_directions(settings, layer, local)));
    }
    let mut announced = MemberSketches::new();
    for group in settings.announced_groups() {
        let mut score = None;
        if let Some(reference) = reference {
            let mut experts = Vec::new();
            for block in &group {
                experts.extend(compared(settings, *block, local, &directions, reference)?);
            }
            let noise = sample(u32::from(settings.scoring.score_noise), random);
            let noised = i64::from(group_score(&experts)) + noise;
            score = Some(noised.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
        }
        announced.insert(group[0], ExpertSketch { values: SketchValues::Score(score), tokens: 0 });
    }
    Ok(announced)
}

/// The score of one expert; `None` if it does not count in its group.
fn compared(
    settings: &RoundSettings,
    block: BlockId,
    local: &LocalResult,
    directions: &BTreeMap<BlockKind, Vec<f64>>,
    reference: ScoreReference<'_>,
) -> Result<Option<f64>, PrepareError> {
    let Some(kind) = settings.block(block).map(|planned| planned.shape.kind) else { return Ok(None) };
    let is_private = settings.training.private.is_some();
    // With private training exact counts must not decide anything that leaves without noise.
    if !is_private && !directions.contains_key(&kind) {
        return Ok(None);
    }
    let trained = local.updates.get(kind).ok_or(PrepareError::MissingBlock(kind))?;
    let (Some(now), Some(before)) =
        (reference.global.blocks().get(block), reference.before_last_changes.blocks().get(block))
    else {
        return Err(PrepareError::MissingBlock(kind));
    };
    let published = now.iter().zip(before).map(|(now, before)| f64::from(*now) - f64::from(*before));
    let updates = cosine(trained.iter().map(|value| f64::from(*value)).zip(published));
    if is_private {
        return Ok(Some(expert_score(updates, None)));
    }
    let published = published_region(settings, kind, reference.global);
    let regions = directions[&kind].iter().copied().zip(published.iter().map(|value| f64::from(*value)));
    Ok(Some(expert_score(updates, Some(cosine(regions)))))
}

/// The part of a layer's published regions that belongs to an expert.
fn published_region<'a>(settings: &RoundSettings, kind: BlockKind, global: &'a Model) -> &'a [f32] {
    let BlockKind::Expert { layer, .. } = kind else { return &[] };
    let block = settings.blocks.iter().find(|block| block.shape.kind == BlockKind::Regions { layer });
    let published =
        block.and_then(|block| global.blocks().get(block.shape.id)).map_or(&[][..], Vec::as_slice);
    let place = experts(settings, layer).position(|block| block.shape.kind == kind).unwrap_or_default();
    let size = usize::from(settings.sketch.coordinates);
    published.chunks(size).nth(place).unwrap_or_default()
}

/// A member's values for a layer's block of regions (`ALIGN-18`).
pub(crate) fn regions(settings: &RoundSettings, layer: u16, local: &LocalResult) -> Vec<f32> {
    let kinds: Vec<BlockKind> = experts(settings, layer).map(|block| block.shape.kind).collect();
    let directions = layer_directions(settings, layer, local);
    let zeros = vec![0.0; usize::from(settings.sketch.coordinates)];
    let all: Vec<Vec<f64>> =
        kinds.iter().map(|kind| directions.get(kind).unwrap_or(&zeros).clone()).collect();
    region_values(&all)
}

fn experts(settings: &RoundSettings, layer: u16) -> impl Iterator<Item = &PlannedBlock> {
    settings.blocks.iter().filter(move |block| experts_layer(block) == Some(layer))
}

/// The layer of an expert's block.
fn experts_layer(block: &PlannedBlock) -> Option<u16> {
    match block.shape.kind {
        BlockKind::Expert { layer, .. } => Some(layer),
        _ => None,
    }
}

/// The direction of each expert's region less the mean of the member's regions in the layer, for the experts that any
/// token used (`ALIGN-18`).
fn layer_directions(
    settings: &RoundSettings,
    layer: u16,
    local: &LocalResult,
) -> BTreeMap<BlockKind, Vec<f64>> {
    let plan = region_plan(settings);
    let mut used: Vec<&ExpertRegion> = Vec::new();
    for block in experts(settings, layer) {
        let mut regions = local.regions.iter().filter(|region| region.tokens > 0);
        used.extend(regions.find(|region| region.kind() == block.shape.kind));
    }
    let hidden: Vec<&[f32]> = used.iter().map(|region| region.mean_hidden.as_slice()).collect();
    let centred = centred_means(&hidden, &vec![true; hidden.len()]);
    let mut directions = BTreeMap::new();
    for (region, centred) in used.iter().zip(centred) {
        let direction = unit_direction(&plan, SketchSubject::Region, &centred);
        directions.insert(region.kind(), direction);
    }
    directions
}

#[cfg(test)]
mod tests {
    use cloister_cluster::plan::{model, template, with_withheld_sketches};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::samples::{PRIVATE, result, singles};

    /// Settings in two groups without noise, and a result in which no token used the last of four experts.
    fn trained() -> (RoundSettings, LocalResult) {
        let mut settings = with_withheld_sketches(template(4, 5, 1));
        settings.scoring.score_noise = 0;
        let result = result(&settings);
        (settings, result)
    }

    /// A model, and what its blocks were before they moved by what another member trained.
    fn reference(settings: &RoundSettings) -> (Model, Model) {
        let before = model(settings);
        let mut blocks = before.blocks().clone();
        for block in &settings.blocks {
            let kind = block.shape.kind;
            if kind.is_scored() || matches!(kind, BlockKind::Regions { .. }) {
                blocks[block.shape.id] = singles(block.shape.length as usize, 50 + block.shape.id.0 as usize);
            }
        }
        (Model::new(blocks.into_values()), before)
    }

    fn scores(settings: &RoundSettings, local: &LocalResult) -> Vec<(u32, Option<i32>)> {
        let (global, before_last_changes) = reference(settings);
        let reference = ScoreReference { global: &global, before_last_changes: &before_last_changes };
        let random = &mut ChaCha20Rng::seed_from_u64(1);
        let announced = announced(settings, local, Some(reference), random).expect("it has all blocks");
        let values = announced.into_iter().map(|(block, sketch)| (block.0, sketch));
        values
            .map(|(block, sketch)| match sketch.values {
                SketchValues::Score(score) if sketch.tokens == 0 => (block, score),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn cosine_of(one: &[f64], other: &[f64]) -> f64 {
        let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(x, y)| x * y).sum::<f64>();
        dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
    }

    fn doubles(values: &[f32]) -> Vec<f64> {
        values.iter().map(|value| f64::from(*value)).collect()
    }

    /// The cosine of an expert's update with the published one.
    fn updates_cosine(expert: usize) -> f64 {
        let length = 40 + expert;
        cosine_of(&doubles(&singles(length, expert)), &doubles(&singles(length, 50 + expert)))
    }

    fn units(score: f64) -> Option<i32> {
        Some((score * 16_384.0).round() as i32)
    }

    /// ALIGN-16: by the formula, written out for the experts that a token used.
    #[test]
    fn a_group_has_the_mean_score_of_the_experts_that_were_used() {
        let (settings, local) = trained();
        let (global, _) = reference(&settings);
        let published = &global.blocks()[BlockId(7)];
        let hidden: Vec<Vec<f32>> = (0..3).map(|expert| singles(12, 20 + expert)).collect();
        let centred = centred_means(&hidden.iter().map(Vec::as_slice).collect::<Vec<_>>(), &[true; 3]);
        let mut experts = Vec::new();
        for (expert, region) in centred.iter().enumerate() {
            let updates = updates_cosine(expert);
            let direction = unit_direction(&region_plan(&settings), SketchSubject::Region, region);
            let regions = cosine_of(&direction, &doubles(&published[16 * expert..16 * (expert + 1)]));
            experts.push(updates * (1.0 + regions) / 2.0);
        }
        let expected = [(0, units((experts[0] + experts[1]) / 2.0)), (2, units(experts[2]))];
        assert_eq!(scores(&settings, &local), expected);
    }

    /// ALIGN-16, PRIV-17: with private training neither counts of tokens nor regions change a score.
    #[test]
    fn with_private_training_updates_alone_are_compared() {
        let (mut settings, mut local) = trained();
        settings.training.private = Some(PRIVATE);
        let all: Vec<f64> = (0..4).map(updates_cosine).collect();
        let expected = [(0, units((all[0] + all[1]) / 2.0)), (2, units((all[2] + all[3]) / 2.0))];
        assert_eq!(scores(&settings, &local), expected);
        local.regions.clear();
        assert_eq!(scores(&settings, &local), expected);
    }

    /// ALIGN-16
    #[test]
    fn without_a_reference_there_is_no_score() {
        let (settings, local) = trained();
        let random = &mut ChaCha20Rng::seed_from_u64(1);
        let announced = announced(&settings, &local, None, random).expect("it needs nothing");
        let values: Vec<_> = announced.into_values().map(|sketch| sketch.values).collect();
        assert_eq!(values, [SketchValues::Score(None), SketchValues::Score(None)]);
    }

    /// ALIGN-16: a tenth of the largest score as noise moves scores, each by itself.
    #[test]
    fn scores_have_the_noise_of_the_plan() {
        let (mut settings, local) = trained();
        let bare = scores(&settings, &local);
        settings.scoring.score_noise = 1638;
        let noised = scores(&settings, &local);
        let moved: Vec<i32> = bare
            .iter()
            .zip(&noised)
            .map(|(bare, noised)| noised.1.unwrap_or_default() - bare.1.unwrap_or_default())
            .collect();
        assert!(
            moved[0] != moved[1] && moved.iter().all(|moved| (1..8 * 1638).contains(&moved.abs())),
            "{moved:?}"
        );
    }

    /// ALIGN-18
    #[test]
    fn blocks_of_regions_are_directions_of_the_experts_that_were_used() {
        let (settings, local) = trained();
        let values = regions(&settings, 0, &local);
        assert_eq!(values.len(), 4 * 16);
        for (expert, part) in values.chunks(16).enumerate() {
            let square: f32 = part.iter().map(|value| value * value).sum();
            let expected = if expert == 3 { 0.0 } else { 0.25 };
            assert!((square - expected).abs() < 1e-5, "expert {expert}: {square}");
        }
    }
}
