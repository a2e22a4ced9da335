//! From the result of local training to what enters the protocol: clipped integers and noised sketches.

use std::borrow::Cow;

use crate::error::PrepareError;
use crate::scores::{self, ScoreReference};
use crate::sketches::{self, region_clip, region_plan};
use cloister_alignment::consistency;
use cloister_alignment::sketch::{self, SketchSubject};
use cloister_params::block::BlockKind;
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{RoundPlan, RoundSettings, SketchForm};
use cloister_params::router::RouterUpdate;
use cloister_privacy::discrete_gaussian::sample;
use cloister_privacy::ledger::ReleasePermit;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::model::Model;
use cloister_updates::{Averaging, LocalResult, RecordScore};
use rand_core::CryptoRng;

/// What a hospital's data yields in a round, before anything of it may leave.
#[derive(Clone, Copy, Debug)]
pub struct LocalWork<'a> {
    /// The result of training.
    pub trained: &'a LocalResult,
    /// The score of the round's model on held-out records. None counts as no records, for plans that evaluate.
    pub score: Option<RecordScore>,
    /// Each block's parameters before the last closing that changed them, for plans with withheld sketches. Without them
    /// no score of any expert is announced (`ALIGN-16`).
    pub before_last_changes: Option<&'a Model>,
}

impl<'a> From<&'a LocalResult> for LocalWork<'a> {
    fn from(trained: &'a LocalResult) -> Self {
        Self { trained, score: None, before_last_changes: None }
    }
}

/// Clips, quantises, sketches and noises a training result. Returns the contribution, and how many blocks were clipped.
///
/// There is no other way from a training result to something that leaves a hospital, and it uses up the permit that the
/// ledger gave for it (`PRIV-05`). `global` is the model that the round starts from. `random` must be unpredictable for
/// everyone else: a party that knows the noise can subtract it.
///
/// # Errors
/// See [`PrepareError`].
pub fn prepare<'a>(
    plan: &RoundPlan,
    global: &Model,
    work: impl Into<LocalWork<'a>>,
    permit: ReleasePermit,
    random: &mut impl CryptoRng,
) -> Result<(Contribution, usize), PrepareError> {
    // Before anything else: a permit is used up also if what follows fails, because the charge is spent.
    let (charged, round) = (permit.redeem(), plan.round);
    if charged != round {
        return Err(PrepareError::Permit { charged, round });
    }
    let work = work.into();
    let local = work.trained;
    check_lengths(plan, global, work)?;
    let mut integers = Vec::with_capacity(plan.settings.blocks.len());
    let mut clipped = 0;
    for block in &plan.settings.blocks {
        let kind = block.shape.kind;
        let mut update = released_values(plan, work, kind)?.into_owned();
        // A router's update is scaled by the consistency weight, which is summed as its last coordinate, so that the sum can be
        // divided by the sum of weights.
        if let BlockKind::Router { layer } = kind
            && let Some(router) = RouterUpdate::split(&update)
        {
            let weight = consistency_weight(layer, plan, global, local)?;
            // Scaled before the clip, which then bounds what is sent, the weight included.
            let scaled = router.parameters.iter().map(|value| value * weight).collect();
            update = RouterUpdate::join(scaled, weight);
        }
        let quantised = block.scale.quantise(kind, &update)?;
        clipped += usize::from(quantised.clipped);
        // Noise on integers, after the clip: the last bits of a noised float could tell noise from signal.
        integers.push(noised(quantised.integers, block.noise_steps, random));
    }
    let sketches = match plan.settings.scoring.sketches {
        SketchForm::Pairs | SketchForm::Signs => sketches::announced(&plan.settings, local, random)?,
        SketchForm::Withheld => {
            let before = work.before_last_changes;
            let reference = before.map(|before_last_changes| ScoreReference { global, before_last_changes });
            scores::announced(&plan.settings, local, reference, random)?
        }
    };
    Ok((Contribution { integers: PerBlock::in_table_order(integers), sketches }, clipped))
}

/// Checks that the training result and the model have the plan's blocks, each with its length. A router or a
/// distribution that is too short would otherwise be weighed as if the rest of it were 0.
fn check_lengths(plan: &RoundPlan, global: &Model, work: LocalWork<'_>) -> Result<(), PrepareError> {
    for block in &plan.settings.blocks {
        let (kind, expected) = (block.shape.kind, block.shape.length);
        let trained = released_values(plan, work, kind)?.len();
        let started = global.blocks().get(block.shape.id).map_or(0, Vec::len);
        for (what, got) in [("local training", trained), ("the round's model", started)] {
            if got as u64 != expected {
                return Err(PrepareError::Length { what, kind, got, expected });
            }
        }
    }
    Ok(())
}

/// The values of a block that are released: its update, regions, or the counts of an evaluation. For routing in private rounds it is the
/// average that no single record moves by much, because the plain distribution has no bound for a record.
fn released_values<'a>(
    plan: &RoundPlan,
    LocalWork { trained, score, .. }: LocalWork<'a>,
    kind: BlockKind,
) -> Result<Cow<'a, [f32]>, PrepareError> {
    let update = match (plan.settings.training.private, kind) {
        // PRIV-15
        (_, BlockKind::Evaluation) => return Ok(Cow::Owned(score.unwrap_or_default().counts())),
        // ALIGN-18
        (_, BlockKind::Regions { layer }) => {
            return Ok(Cow::Owned(scores::regions(&plan.settings, layer, trained)));
        }
        // PRIV-11
        (Some(_), BlockKind::Routing { .. }) => {
            trained.by_record.as_ref().and_then(|averages| averages.routing(kind))
        }
        _ => trained.updates.get(kind),
    };
    update.map(Cow::Borrowed).ok_or(PrepareError::MissingBlock(kind))
}

/// How a trainer must average over records in rounds with private training (`PRIV-11`), if its routers read hidden states of
/// this width. None if training is not private.
pub fn averaging(settings: &RoundSettings, width: usize) -> Option<Averaging> {
    let private = settings.training.private?;
    Some(Averaging {
        projection: sketch::projection(&region_plan(settings), SketchSubject::Region, width),
        clip: region_clip(&settings.sketch),
        minimum_records: private.minimum_records as usize,
    })
}

/// `omega`, by which a member scales its router update: how well its routing agrees with the published distribution. It is 1
/// if training is private, because a weight that follows from routing without noise would release that routing
/// (`PRIV-10`).
fn consistency_weight(
    layer: u16,
    plan: &RoundPlan,
    global: &Model,
    local: &LocalResult,
) -> Result<f32, PrepareError> {
    if plan.settings.training.private.is_some() {
        return Ok(1.0);
    }
    let routing = BlockKind::Routing { layer };
    let planned = plan.settings.blocks.iter().find(|block| block.shape.kind == routing);
    let published = planned.and_then(|block| global.blocks().get(block.shape.id));
    let (Some(published), Some(distribution), Some(margins)) =
        (published, local.updates.get(routing), local.margins.get(usize::from(layer)))
    else {
        return Err(PrepareError::MissingBlock(routing));
    };
    Ok(consistency::weight(distribution, published, margins))
}

/// A block's integers with discrete Gaussian noise of `sigma` steps on each.
fn noised(mut integers: Vec<i32>, sigma: u32, random: &mut impl CryptoRng) -> Vec<i32> {
    if sigma == 0 {
        return integers;
    }
    for value in &mut integers {
        // In 64 bits: noise has no largest value, and a sum that wrapped would be far from the value.
        let sum = i64::from(*value) + sample(sigma, random);
        *value = sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    }
    integers
}

#[cfg(test)]
mod tests {
    use cloister_cluster::plan::{model, template};
    use cloister_params::block::BlockShape;
    use cloister_params::id::{Digest, Round};
    use cloister_updates::BlockVectors;

    use super::*;

    /// A result of zeros for these blocks.
    fn result(table: Vec<BlockShape>) -> LocalResult {
        let values = table.iter().map(|shape| vec![0.0; shape.length as usize]).collect();
        LocalResult {
            updates: BlockVectors::new(table, values).expect("it fits its table"),
            regions: Vec::new(),
            margins: vec![vec![0.5; 2]],
            loss_first: 1.0,
            loss_last: 0.5,
            truncated: 0,
            notes: 10,
            by_record: None,
        }
    }

    #[test]
    fn a_block_of_another_length_is_refused() {
        let settings = template(2, 5, 1);
        let (table, global) =
            (settings.blocks.iter().map(|block| block.shape).collect::<Vec<_>>(), model(&settings));
        let plan = RoundPlan {
            epoch: Digest::default(),
            round: Round(1),
            previous: Digest::default(),
            model: global.digest(),
            parameters: global.block_digests(),
            custodians: vec![],
            barred: vec![],
            settings: settings.clone(),
        };
        assert_eq!(check_lengths(&plan, &global, (&result(table.clone())).into()), Ok(()), "control");
        for (place, shape) in table.iter().enumerate() {
            let (kind, expected, got) = (shape.kind, shape.length, shape.length as usize + 1);
            let mut longer = table.clone();
            longer[place].length += 1;
            let trained = check_lengths(&plan, &global, (&result(longer)).into());
            assert_eq!(trained, Err(PrepareError::Length { what: "local training", kind, got, expected }));
            let mut blocks = global.blocks().clone();
            blocks[shape.id].push(0.0);
            let started =
                check_lengths(&plan, &Model::new(blocks.into_values()), (&result(table.clone())).into());
            assert_eq!(started, Err(PrepareError::Length { what: "the round's model", kind, got, expected }));
        }
    }
}
