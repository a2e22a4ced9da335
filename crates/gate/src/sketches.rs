//! What a member announces of its experts, unless sketches are withheld: noised sketches, of pairs or as signs.

use std::collections::BTreeMap;

use cloister_alignment::cohort::MemberSketches;
use cloister_alignment::score::ExpertSketch;
use cloister_alignment::signs::{centred, centred_means, signs};
use cloister_alignment::sketch::{self, SketchSubject, direction, sketch};
use cloister_params::block::BlockKind;
use cloister_params::id::BlockId;
use cloister_params::plan::{PlannedBlock, RoundSettings, SketchForm, SketchPlan, SketchValues};
use cloister_privacy::discrete_gaussian::sample;
use cloister_updates::{ExpertRegion, LocalResult};
use rand_core::CryptoRng;

use crate::error::PrepareError;

/// The noised sketches of all experts of a plan.
///
/// Every coordinate and every count of tokens has noise, also if the member routed no token to the expert: otherwise zeros
/// would show that.
pub(crate) fn announced(
    settings: &RoundSettings,
    local: &LocalResult,
    random: &mut impl CryptoRng,
) -> Result<MemberSketches, PrepareError> {
    let mut experts = Vec::new();
    for block in settings.blocks.iter().filter(|block| block.shape.kind.is_scored()) {
        experts.push(Expert::new(settings, block, local, random)?);
    }
    let by_signs = settings.scoring.sketches == SketchForm::Signs;
    let regions = match by_signs {
        false => noised_regions(settings, &experts, |expert| expert.region(settings), random),
        true => centred_regions(settings, &experts, random),
    };
    let mut sketches = MemberSketches::new();
    for (expert, region) in experts.iter().zip(regions) {
        let update = noised(expert.update(settings), &settings.sketch, random);
        let values = match by_signs {
            false => SketchValues::Projections { region: clamped(region), update: clamped(update) },
            true => SketchValues::Signs(signs(&update, &region, || random.next_u32() & 1 == 1)),
        };
        sketches.insert(expert.block.shape.id, ExpertSketch { values, tokens: expert.tokens });
    }
    Ok(sketches)
}

/// One expert of the member.
struct Expert<'a> {
    block: &'a PlannedBlock,
    layer: u16,
    trained: &'a [f32],
    /// `None` for an expert that no token used: its region is 0 before noise, and as long as others.
    used: Option<&'a ExpertRegion>,
    /// In rounds with private training, the average over records that stands for the region (`PRIV-11`).
    average: Option<&'a [f64]>,
    /// The noised count of tokens.
    tokens: u32,
}

impl<'a> Expert<'a> {
    fn new(
        settings: &RoundSettings,
        block: &'a PlannedBlock,
        local: &'a LocalResult,
        random: &mut impl CryptoRng,
    ) -> Result<Self, PrepareError> {
        let kind = block.shape.kind;
        let missing = PrepareError::MissingBlock(kind);
        let BlockKind::Expert { layer, .. } = kind else { return Err(missing) };
        let used = local.regions.iter().find(|region| region.kind() == kind);
        let average = match (settings.training.private, &local.by_record) {
            (None, _) => None,
            (Some(_), averages) => {
                let average = averages.as_ref().and_then(|averages| averages.region(kind));
                Some(average.ok_or(missing.clone())?)
            }
        };
        let trained = local.updates.get(kind).ok_or(missing)?;
        Ok(Self { block, layer, trained, used, average, tokens: noised_count(settings, used, random) })
    }

    /// The sketch of the region, clipped and before noise.
    fn region(&self, settings: &RoundSettings) -> Vec<i16> {
        let plan = region_plan(settings);
        match self.average {
            // Clipped once more: the trainer is not trusted with the bound that the ledger charged.
            Some(average) => sketch::clipped(average, region_clip(&plan)),
            None => {
                let mean_hidden = self.used.map_or(&[][..], |region| &region.mean_hidden);
                sketch(&plan, SketchSubject::Region, mean_hidden, region_clip(&plan))
            }
        }
    }

    /// The sketch of the update before noise.
    fn update(&self, settings: &RoundSettings) -> Vec<i16> {
        let subject = SketchSubject::Update(self.block.shape.id);
        match settings.scoring.sketches == SketchForm::Signs {
            false => sketch(&settings.sketch, subject, self.trained, self.block.scale.clip()),
            true => direction(&settings.sketch, subject, self.trained),
        }
    }
}

/// The plan of region sketches, which may be shorter than those of updates.
pub(crate) fn region_plan(settings: &RoundSettings) -> SketchPlan {
    let SketchPlan { coordinates, .. } = settings.sketch;
    let coordinates = settings.scoring.sketches.region_coordinates(coordinates);
    SketchPlan { coordinates, ..settings.sketch }
}

/// The L2 norm that sketches of regions are clipped to.
pub(crate) fn region_clip(plan: &SketchPlan) -> f64 {
    f64::from(plan.region_clip_milli) / 1000.0
}

/// The noised regions, centred by the member itself (`ALIGN-14`).
fn centred_regions(
    settings: &RoundSettings,
    experts: &[Expert<'_>],
    random: &mut impl CryptoRng,
) -> Vec<Vec<i64>> {
    if settings.training.private.is_none() {
        let means = own_directions(settings, experts);
        return noised_regions(settings, experts, |expert| means[&expert.block.shape.id].clone(), random);
    }
    // The bound on what a record moves is that of each clipped average (PRIV-11), so noise comes before centring.
    let noised = noised_regions(settings, experts, |expert| expert.region(settings), random);
    let minimum = settings.scoring.minimum_tokens;
    let mut counted: BTreeMap<u16, Vec<&[i64]>> = BTreeMap::new();
    for (expert, region) in experts.iter().zip(&noised) {
        let regions = counted.entry(expert.layer).or_default();
        if expert.tokens >= minimum {
            regions.push(region);
        }
    }
    experts.iter().zip(&noised).map(|(expert, region)| centred(region, &counted[&expert.layer])).collect()
}

/// The direction of each expert's region less the mean over the member's experts of its layer that have enough tokens.
fn own_directions(settings: &RoundSettings, experts: &[Expert<'_>]) -> BTreeMap<BlockId, Vec<i16>> {
    let plan = region_plan(settings);
    let minimum = settings.scoring.minimum_tokens;
    let mut layers: BTreeMap<u16, Vec<&Expert<'_>>> = BTreeMap::new();
    experts.iter().for_each(|expert| layers.entry(expert.layer).or_default().push(expert));
    let mut directions = BTreeMap::new();
    for layer in layers.values() {
        let regions: Vec<&[f32]> =
            layer.iter().map(|expert| expert.used.map_or(&[][..], |used| &used.mean_hidden)).collect();
        let counted: Vec<bool> = layer.iter().map(|expert| expert.tokens >= minimum).collect();
        for (expert, region) in layer.iter().zip(centred_means(&regions, &counted)) {
            directions.insert(expert.block.shape.id, direction(&plan, SketchSubject::Region, &region));
        }
    }
    directions
}

/// A sketch of each expert's region with noise.
fn noised_regions(
    settings: &RoundSettings,
    experts: &[Expert<'_>],
    region: impl Fn(&Expert<'_>) -> Vec<i16>,
    random: &mut impl CryptoRng,
) -> Vec<Vec<i64>> {
    experts.iter().map(|expert| noised(region(expert), &settings.sketch, random)).collect()
}

/// The count with noise, cut at the largest one that scoring uses, so that one member changes it by no more than the ledger
/// charges (`PRIV-04`).
fn noised_count(settings: &RoundSettings, region: Option<&ExpertRegion>, random: &mut impl CryptoRng) -> u32 {
    let most = settings.scoring.largest_count();
    // Cut before noise, so that the cut bounds the sensitivity. The clamp after noise is post-processing.
    let tokens = region.map_or(0, |region| u32::try_from(region.tokens).unwrap_or(most).min(most));
    let sum = i64::from(tokens) + sample(u32::from(settings.sketch.count_noise), random);
    u32::try_from(sum.max(0)).unwrap_or(u32::MAX)
}

/// A sketch with noise on each coordinate.
fn noised(sketch: Vec<i16>, plan: &SketchPlan, random: &mut impl CryptoRng) -> Vec<i64> {
    let sigma = u32::from(plan.noise_steps);
    sketch.into_iter().map(|value| i64::from(value) + sample(sigma, random)).collect()
}

/// Limits coordinates to what an `i16` holds. This comes after the noise and needs nothing of the hospital's data, so it
/// costs no privacy.
fn clamped(values: Vec<i64>) -> Vec<i16> {
    values.into_iter().map(|value| value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16).collect()
}

#[cfg(test)]
mod tests {
    use cloister_alignment::sketch::widened;
    use cloister_cluster::plan::template;
    use cloister_params::plan::PrivateTrainingPlan;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::samples::{PRIVATE, made, result};

    /// Settings by signs without noise on projections, and a result in which three experts have enough tokens.
    fn trained(private: Option<PrivateTrainingPlan>) -> (RoundSettings, LocalResult) {
        let mut settings = template(4, 5, 1);
        settings.scoring.sketches = SketchForm::Signs;
        settings.training.private = private;
        let result = result(&settings);
        (settings, result)
    }

    /// The bits that follow from these regions.
    fn expected(settings: &RoundSettings, result: &LocalResult, regions: &[Vec<i64>]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (block, region) in settings.blocks.iter().zip(regions) {
            let subject = SketchSubject::Update(block.shape.id);
            let update = direction(&settings.sketch, subject, &result.updates[block.shape.id]);
            all.push(signs(&widened(&update), region, || panic!("nothing is 0")));
        }
        all
    }

    fn bits(settings: &RoundSettings, result: &LocalResult) -> Vec<Vec<u8>> {
        let random = &mut ChaCha20Rng::seed_from_u64(3);
        let sketches = announced(settings, result, random).expect("it has all blocks");
        let values = sketches.into_values().map(|sketch| sketch.values);
        values
            .map(|values| if let SketchValues::Signs(bits) = values { bits } else { panic!("signs") })
            .collect()
    }

    /// ALIGN-14: means over the experts with enough tokens are subtracted before the projection.
    #[test]
    fn regions_are_centred_by_the_experts_with_tokens() {
        let (settings, result) = trained(None);
        let hidden: Vec<&[f32]> = result.regions.iter().map(|region| region.mean_hidden.as_slice()).collect();
        let plan = region_plan(&settings);
        let centred = centred_means(&hidden, &[true, true, true, false]);
        let regions: Vec<Vec<i64>> =
            centred.iter().map(|region| widened(&direction(&plan, SketchSubject::Region, region))).collect();
        assert_eq!(bits(&settings, &result), expected(&settings, &result, &regions));
    }

    /// ALIGN-14, PRIV-16: in private training it is the clipped averages that are centred, after their noise.
    #[test]
    fn private_averages_are_centred_after_their_clip() {
        let (settings, result) = trained(Some(PRIVATE));
        let clip = region_clip(&settings.sketch);
        let clipped: Vec<Vec<i64>> =
            (0..4).map(|expert| widened(&sketch::clipped(&made(8, 30 + expert), clip))).collect();
        let counted: Vec<&[i64]> = clipped[..3].iter().map(Vec::as_slice).collect();
        let regions: Vec<Vec<i64>> = clipped.iter().map(|region| centred(region, &counted)).collect();
        assert_eq!(bits(&settings, &result), expected(&settings, &result, &regions));
        assert_ne!(regions[0], clipped[0], "control");
    }
}
