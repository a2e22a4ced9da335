//! Members that train in rounds.

use cloister_experts::{BlockVectors, ExpertsError, LocalResult, LocalTraining};
use cloister_gate::{LocalWork, prepare};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::{Digest, Round as RoundNumber};
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_protocol::model::Model;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::charges::SeedCharges;
use crate::checkpoint::Checkpoints;
use crate::cohort_record::CohortRecord;
use crate::config::{Config, StrategyConfig};
use crate::error::LabError;
use crate::head::LinearHead;
use crate::learners::{Learners, ModelScore, POOLED_NORM};
use crate::masked::{Masked, MaskedRound, training_settings};
use crate::progress::RunProgress;
use crate::published_rounds::PublishedRounds;
use crate::results::MeasuredRound;
use crate::seeds::{Purpose, seed_for};
use crate::statistics::Statistics;
use crate::strategy::{MemberUpdates, RunScoring, Strategy, StrategyMemory};
use crate::totals::total_statistics;
use crate::trained::{SentBytes, TrainedRounds, mean_accuracy};

/// The members of a run and the model that they share.
pub(crate) struct Federation<'a> {
    pub(crate) config: &'a Config,
    pub(crate) learners: Box<dyn Learners + 'a>,
    /// Texts of each member, divided by the mean over members.
    pub(crate) sizes: Vec<f64>,
    /// Texts of each member.
    pub(crate) texts: Vec<usize>,
    pub(crate) global: BlockVectors,
    pub(crate) seed: u64,
}

/// The outcome of one round.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RoundOutcome {
    /// Mean loss over the last quarter of the members' steps, in nats a text.
    pub(crate) loss: f64,
    /// Which members each block was summed over.
    pub(crate) chosen: CohortRecord,
    /// What members sent; `None` in the clear.
    pub(crate) bytes: Option<SentBytes>,
}

/// Each member's number of texts, divided by the mean over members.
pub(crate) fn relative_sizes(sizes: &[usize]) -> Vec<f64> {
    let mean = sizes.iter().sum::<usize>() as f64 / sizes.len() as f64;
    sizes.iter().map(|&size| size as f64 / mean).collect()
}

impl Federation<'_> {
    /// Runs all rounds of the configuration, with `before` as round 0. Rounds of a checkpoint are not run again.
    pub(crate) fn rounds(
        &mut self,
        before: MeasuredRound,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<TrainedRounds, LabError> {
        let mut strategy = self.strategy();
        let mut scores = None;
        let mut memory = StrategyMemory::new();
        let mut rounds = match checkpoints.read() {
            Some(earlier) => {
                memory = earlier.memory;
                self.restore(earlier.model)?;
                earlier.rounds
            }
            None => vec![self.with_head(before, &*strategy)?],
        };
        rounds.iter().for_each(|round| progress(RunProgress::Measured(round.clone())));
        let mut masked = self.masked(&*strategy, &mut memory)?;
        strategy.recall(memory);
        // Round 0 is before training, so the number of measured rounds is the next round's number.
        for round in rounds.len()..=self.config.strategy.training.num_rounds {
            let trained = self.round(&mut *strategy, masked.as_mut(), round, progress)?;
            // Before accuracy is measured: the head belongs to this round's model.
            self.estimate_head(round)?;
            let measured = self.scores(&*strategy)?;
            let accuracy = mean_accuracy(&measured);
            scores = Some(measured);
            let RoundOutcome { loss, chosen, bytes } = trained;
            let measured = MeasuredRound {
                round,
                loss: Some(loss),
                masked_bytes: bytes.map(|bytes| bytes.masked),
                announced_bytes: bytes.map(|bytes| bytes.announced),
                ..MeasuredRound::before(Some(accuracy))
            };
            let scores_members = self.config.strategy.kind.settings().scores_members();
            rounds.push(if scores_members { chosen.into_round(measured) } else { measured });
            let mut memory = strategy.memory();
            memory.extend(masked.iter().flat_map(|masked| masked.published().memory()));
            checkpoints.write(&rounds, &self.global, memory)?;
            progress(RunProgress::Measured(rounds[round].clone()));
        }
        let scores = match scores {
            Some(scores) => scores,
            // A checkpoint had all rounds.
            None => self.scores(&*strategy)?,
        };
        Ok(TrainedRounds { rounds, scores })
    }

    /// What each member releases in all rounds behind masks; `None` in the clear.
    pub(crate) fn charges(&self) -> Result<Option<SeedCharges>, LabError> {
        if !self.config.secure {
            return Ok(None);
        }
        SeedCharges::from_rounds(self.config, &self.settings(true), &self.texts).map(Some)
    }

    /// Goes on from a checkpoint's model.
    fn restore(&mut self, model: Vec<Vec<f32>>) -> Result<(), LabError> {
        self.global = self.global.with_values(model).map_err(ExpertsError::from)?;
        Ok(())
    }

    /// What is measured before training, where the model's own head is estimated from sums first.
    fn with_head(
        &mut self,
        before: MeasuredRound,
        strategy: &dyn Strategy,
    ) -> Result<MeasuredRound, LabError> {
        if !self.estimate_head(0)? {
            return Ok(before);
        }
        Ok(MeasuredRound { accuracy: Some(mean_accuracy(&self.scores(strategy)?)), ..before })
    }

    /// Replaces the model's head by linear discriminants, if the configuration asks for it after this round.
    /// Their sums are of the features that the present model computes from the members' texts. Returns
    /// whether it did.
    fn estimate_head(&mut self, round: usize) -> Result<bool, LabError> {
        let due = self.config.strategy.training.head_every.is_some_and(|every| round.is_multiple_of(every));
        if !due {
            return Ok(false);
        }
        let mut members = Vec::with_capacity(self.sizes.len());
        for member in 0..self.sizes.len() {
            members.extend(self.learners.statistics(member, &self.global)?);
        }
        let total = match self.config.secure {
            true => total_statistics(self.config, &members, self.seed, round)?.map(|total| total.statistics),
            false => Statistics::total(&members),
        };
        let Some(total) = total else {
            return Ok(false);
        };
        // Statistics are of features divided by `POOLED_NORM`, and the model's head sees them undivided.
        let head = LinearHead::lda(&total, self.config.head.shrinkage)?.to_values(1.0 / POOLED_NORM);
        self.global = self.global.map(|shape, values| match shape.kind {
            BlockKind::Shared => head.clone(),
            _ => values.to_vec(),
        });
        Ok(true)
    }

    /// The configured strategy, at its start.
    pub(crate) fn strategy(&self) -> Box<dyn Strategy> {
        self.config.strategy.kind.settings().start(&self.scoring(), self.seed)
    }

    /// How members are scored.
    fn scoring(&self) -> RunScoring {
        let RoundSettings { scoring, sketch, .. } = self.settings(false);
        RunScoring { rule: scoring, sketch, withheld: self.config.scoring.withheld() }
    }

    /// The settings of a round behind masks.
    pub(crate) fn settings(&self, everyone: bool) -> RoundSettings {
        training_settings(self.config, self.global.table(), everyone, self.seed)
    }

    /// Rounds behind masks, which take their part of a checkpoint's memory; `None` in the clear.
    fn masked(
        &self,
        strategy: &dyn Strategy,
        memory: &mut StrategyMemory,
    ) -> Result<Option<Masked>, LabError> {
        if !self.config.secure {
            return Ok(None);
        }
        let settings = self.settings(!strategy.aligns());
        let (members, model) = (self.learners.members(), self.global.values().to_vec());
        let published = PublishedRounds::start(&settings).recalled(memory);
        let seed = seed_for(self.seed, Purpose::Consortium);
        Masked::going_on(members, settings, (model, published), seed).map(Some)
    }

    /// How the common model classifies, or each member's.
    fn scores(&mut self, strategy: &dyn Strategy) -> Result<Vec<ModelScore>, LabError> {
        // Without models of their own all members have the common one, and measuring it once is enough.
        let measured = if strategy.is_personal() { self.learners.members() } else { 1 };
        let mut scores = Vec::with_capacity(measured);
        for member in 0..measured {
            scores.push(self.learners.score(member, &strategy.start(member, &self.global))?);
        }
        Ok(scores)
    }

    /// Trains every member and makes the next model of their updates.
    pub(crate) fn round(
        &mut self,
        strategy: &mut dyn Strategy,
        masked: Option<&mut Masked>,
        round: usize,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<RoundOutcome, LabError> {
        let results = self.train(strategy, round, progress)?;
        let loss = results.iter().map(|result| result.loss_last).sum::<f64>() / results.len() as f64;
        let (chosen, bytes) = match masked {
            Some(masked) => {
                let (chosen, bytes) = self.sum_masked(strategy, masked, &results, round, progress)?;
                (chosen, Some(bytes))
            }
            None => (self.sum_plain(strategy, &results, round)?, None),
        };
        Ok(RoundOutcome { loss, chosen, bytes })
    }

    /// Trains every member, from the model that the strategy gives it.
    pub(crate) fn train(
        &mut self,
        strategy: &mut dyn Strategy,
        round: usize,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Vec<LocalResult>, LabError> {
        let members = self.learners.members();
        let StrategyConfig { kind, training } = &self.config.strategy;
        let training = kind.settings().training(training);
        let mut results = Vec::with_capacity(members);
        for member in 0..members {
            let start = strategy.start(member, &self.global);
            let seed = seed_for(self.seed, Purpose::Training { member, round });
            let settings = LocalTraining { seed, ..training.clone() };
            let result = self.learners.train(member, &start, &settings)?;
            strategy.keep(member, &start, &result.updates);
            progress(RunProgress::Training { round, member: member + 1, members });
            results.push(result);
        }
        Ok(results)
    }

    /// Updates by their shares, in floats. Routing distributions are averaged, not added.
    pub(crate) fn sum_plain(
        &mut self,
        strategy: &mut dyn Strategy,
        results: &[LocalResult],
        round: usize,
    ) -> Result<CohortRecord, LabError> {
        let updates = MemberUpdates { global: &self.global, sizes: &self.sizes, results, round };
        let mut chosen = CohortRecord::new(results.len());
        let next = self.global.map(|shape, before| {
            let shares = strategy.shares(shape, &updates);
            let consensus = strategy.consensus(shape, &updates);
            chosen.note(shape.kind, |member| shares[member] != 0.0, &consensus);
            let sum = weighted_sum(shape, results, &shares);
            match shape.kind {
                BlockKind::Routing { .. } => distribution(shape, results),
                _ => moved(before, &strategy.step(shape, sum)),
            }
        });
        strategy.close_round(&self.global, &next, &updates);
        self.global = next;
        Ok(chosen)
    }

    /// Updates through the protocol. Each is scaled by its member's texts before it is clipped, so that the mean over
    /// members is the mean over texts.
    fn sum_masked(
        &mut self,
        strategy: &mut dyn Strategy,
        masked: &mut Masked,
        results: &[LocalResult],
        round: usize,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<(CohortRecord, SentBytes), LabError> {
        masked.start_from(self.global.values());
        let published = self.published(strategy, masked.published());
        let plan = plan(masked.settings(), &published, round);
        let before_last_changes = masked.published().before_last_changes();
        let noise_seed = seed_for(self.seed, Purpose::ContributionNoise { round });
        // One generator for all members, one after another: their noise is independent, and a run can be
        // repeated.
        let mut random = ChaCha20Rng::seed_from_u64(noise_seed);
        let mut contributions = Vec::with_capacity(results.len());
        let mut clipped = 0;
        for (member, (result, size)) in results.iter().zip(&self.sizes).enumerate() {
            // Scaled before it is clipped, as a hospital would: only integers within the clip enter the sum.
            let updates = scaled(&result.updates, *size as f32, strategy.keeps_routers());
            let scaled = LocalResult { updates, ..result.clone() };
            let permit = masked.accounts().permit(member, &plan)?;
            let before_last_changes = before_last_changes.as_ref();
            let work = LocalWork { before_last_changes, ..LocalWork::from(&scaled) };
            let (contribution, clipped_blocks) = prepare(&plan, &published, work, permit, &mut random)?;
            contributions.push(contribution);
            clipped += clipped_blocks;
        }
        if clipped > 0 {
            progress(RunProgress::Clipped {
                round,
                blocks: clipped,
                all: results.len() * plan.settings.blocks.len(),
            });
        }
        let outcome = masked.round(contributions)?;
        let mut chosen = CohortRecord::new(results.len());
        for shape in self.global.table() {
            let cohort = outcome.aligned.get(&shape.id);
            // A block that has no cohort of its own was summed over everyone.
            let is_in = |member| cohort.is_none_or(|members| members.contains(&member));
            let consensus = outcome.consensus.get(&shape.id).map_or(&[][..], Vec::as_slice);
            chosen.note(shape.kind, is_in, consensus);
        }
        let next = stepped(strategy, &self.global, &outcome);
        masked.close_round(self.global.values(), next.values(), &outcome);
        self.global = next;
        Ok((chosen, SentBytes { masked: outcome.masked_bytes, announced: outcome.announced_bytes }))
    }

    /// The model from which consistency weights are computed. Without published distributions all weights are
    /// 1, which switches them off without a change to the protocol.
    fn published(&self, strategy: &dyn Strategy, published: &PublishedRounds) -> Model {
        let weighs = strategy.weighs_consistency();
        let seen = self.global.map(|shape, values| match shape.kind {
            BlockKind::Routing { .. } if !weighs => vec![0.0; values.len()],
            _ => values.to_vec(),
        });
        Model::new(published.with_regions(seen.values()))
    }
}

/// The parts of a round plan that preparing a contribution reads; the others are empty.
pub(crate) fn plan(settings: &RoundSettings, global: &Model, round: usize) -> RoundPlan {
    let parameters = global.block_digests();
    RoundPlan {
        epoch: Digest::default(),
        round: RoundNumber(round as u64),
        previous: Digest::default(),
        model: Model::digest_of(&parameters),
        parameters,
        custodians: Vec::new(),
        barred: Vec::new(),
        settings: settings.clone(),
    }
}

/// The model after the server's own step, whose input are the means that a round behind masks opened.
/// FedAvg's step leaves the round's own model.
fn stepped(strategy: &mut dyn Strategy, global: &BlockVectors, outcome: &MaskedRound) -> BlockVectors {
    global.map(|shape, before| {
        let after = &outcome.model[shape.id];
        if matches!(shape.kind, BlockKind::Routing { .. }) {
            return after.clone();
        }
        let pairs = before.iter().zip(after);
        // In 64 bits, so that a strategy without a step of its own arrives at the round's model again.
        let opened = pairs.map(|(before, after)| f64::from(*after) - f64::from(*before)).collect();
        moved(before, &strategy.step(shape, opened))
    })
}

/// Updates before they are prepared. Routers that stay with their members are sent as zeros, because a
/// contribution must have every block. Routing distributions are not scaled: they are averages, not changes.
fn scaled(updates: &BlockVectors, factor: f32, keeps_routers: bool) -> BlockVectors {
    updates.map(|shape, values| match shape.kind {
        BlockKind::Routing { .. } => values.to_vec(),
        BlockKind::Router { .. } if keeps_routers => vec![0.0; values.len()],
        _ => values.iter().map(|value| value * factor).collect(),
    })
}

fn weighted_sum(shape: &BlockShape, results: &[LocalResult], shares: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; shape.length as usize];
    // A share of 0 is skipped and not multiplied: an update that is not finite must not reach a sum that left
    // it out.
    for (result, share) in results.iter().zip(shares).filter(|(_, share)| **share != 0.0) {
        let update = &result.updates[shape.id];
        sum.iter_mut().zip(update).for_each(|(sum, value)| *sum += f64::from(*value) * share);
    }
    sum
}

fn distribution(shape: &BlockShape, results: &[LocalResult]) -> Vec<f32> {
    let share = 1.0 / results.len() as f64;
    let mean = weighted_sum(shape, results, &vec![share; results.len()]);
    mean.into_iter().map(|value| value as f32).collect()
}

fn moved(before: &[f32], step: &[f64]) -> Vec<f32> {
    before.iter().zip(step).map(|(value, change)| (f64::from(*value) + change) as f32).collect()
}
