//! Rounds behind masks: the protocol's own state machines and the service's own bytes, in this process.

use std::collections::BTreeMap;

use cloister_alignment::score::UNIT;
use cloister_cluster::Cluster;
use cloister_cluster::consortium::large_consortium;
use cloister_crypto::hash::projection_seed;
use cloister_params::block::{BlockKind, BlockShape, region_blocks};
use cloister_params::fixed::{RingWidth, Scale, power_of_two};
use cloister_params::floors::Floors;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{
    Deadlines, Fallback, LateSketchMode, PlannedBlock, RoundSettings, ScoringRule, SketchForm, SketchPlan,
    TrainingPlan,
};
use cloister_protocol::contribution::Contribution;
use cloister_protocol::model::Model;
use cloister_wire::codec::encode;
use cloister_wire::statement::{AnnouncedSketch, CohortChoice};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::accounts::Accounts;
use crate::config::{Config, ScoringConfig};
use crate::error::LabError;
use crate::published_rounds::PublishedRounds;
use crate::seeds::{Purpose, seed_for};
use crate::withheld_scores::{WithheldScores, groups_of};

/// A consortium whose members never drop out, and the model that it trains.
#[derive(Debug)]
pub struct Masked {
    cluster: Cluster,
    settings: RoundSettings,
    accounts: Accounts,
    model: Vec<Vec<f32>>,
    /// What members compare themselves with, if sketches are withheld.
    published: PublishedRounds,
    members: usize,
    seed: u64,
    rounds: usize,
}

/// The result of a round behind masks. All of it is public.
#[derive(Clone, PartialEq, Debug)]
pub struct MaskedRound {
    /// The model after the round, by block: the one before, plus the opened means.
    pub model: PerBlock<Vec<f32>>,
    /// The members of each cohort that was chosen, from 0, by block: of experts, and of the head if it follows them. A
    /// block that was summed over everyone is missing.
    pub aligned: BTreeMap<BlockId, Vec<usize>>,
    /// The consensus of each member on each expert (`ALIGN-06`), a sum of cosines; from noised sketches.
    pub consensus: BTreeMap<BlockId, Vec<Option<f64>>>,
    /// Bytes of masked blocks that the coordinator received.
    pub masked_bytes: u64,
    /// Bytes of all members' sketches and token counts, as announcements encode them. Keys and shares, which no
    /// setting of the lab changes, are not counted.
    pub announced_bytes: u64,
}

impl Masked {
    /// A consortium of `members` that starts from `model`, without regions. Everything random follows `seed`.
    ///
    /// # Errors
    /// [`LabError::Plan`] when the settings admit no round.
    pub fn new(
        members: usize,
        settings: RoundSettings,
        model: Vec<Vec<f32>>,
        seed: u64,
    ) -> Result<Self, LabError> {
        let published = PublishedRounds::start(&settings);
        Self::going_on(members, settings, (model, published), seed)
    }

    /// The same after rounds that published something.
    pub(crate) fn going_on(
        members: usize,
        settings: RoundSettings,
        (model, published): (Vec<Vec<f32>>, PublishedRounds),
        seed: u64,
    ) -> Result<Self, LabError> {
        settings.check(large_consortium(&vec![1; members]).epoch.consortium())?;
        let cluster = cluster(members, &settings, &published.with_regions(&model), seed);
        let accounts = Accounts::open(members)?;
        Ok(Self { cluster, settings, accounts, model, published, members, seed, rounds: 0 })
    }

    /// What the rounds so far published for scores.
    pub(crate) fn published(&self) -> &PublishedRounds {
        &self.published
    }

    /// Takes what the last round made of the model, the server's own step included.
    pub(crate) fn close_round(&mut self, before: &[Vec<f32>], after: &[Vec<f32>], outcome: &MaskedRound) {
        let regions = outcome.model.values()[before.len()..].to_vec();
        self.published.close_round(before, after, regions);
    }

    /// Sets the model that the next round starts from. If it is not the one that the last round made, because
    /// the server took a step of its own, a new consortium starts from it: a consortium's model changes by
    /// its rounds alone.
    pub(crate) fn start_from(&mut self, model: &[Vec<f32>]) {
        if self.model != model {
            self.model = model.to_vec();
            let seed = seed_for(self.seed, Purpose::RestartedConsortium { rounds: self.rounds });
            // The members' ledgers stay: what was charged does not depend on the consortium.
            self.cluster = cluster(self.members, &self.settings, &self.published.with_regions(model), seed);
        }
    }

    /// The members' ledgers.
    pub(crate) fn accounts(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// The settings of every round.
    pub fn settings(&self) -> &RoundSettings {
        &self.settings
    }

    /// Runs one round over the members' contributions, in their order.
    ///
    /// # Errors
    /// [`LabError::NoSum`].
    pub fn round(&mut self, contributions: Vec<Contribution>) -> Result<MaskedRound, LabError> {
        self.rounds += 1;
        let announced_bytes = contributions.iter().map(announced_bytes).sum();
        self.cluster.contributions = (1..).map(PartyId).zip(contributions).collect();
        let report = self.cluster.run_round().ok_or(LabError::NoSum { round: self.rounds })?;
        let aligned = report.cohorts.iter().filter(|cohort| cohort.choice == CohortChoice::Aligned);
        let experts = self.settings.blocks.iter().zip(&report.cohorts);
        let experts = experts.filter(|(block, _)| block.shape.kind.is_scored());
        // Without the regions, which follow the model's blocks.
        self.model = report.model.blocks().values()[..self.model.len()].to_vec();
        Ok(MaskedRound {
            model: report.model.blocks().clone(),
            consensus: experts.map(|(_, cohort)| (cohort.block, cosines(&cohort.consensus))).collect(),
            aligned: aligned
                .map(|cohort| {
                    let members = cohort.members.iter().map(|member| member.member.0 as usize - 1);
                    (cohort.block, members.collect())
                })
                .collect(),
            masked_bytes: report.masked_bytes,
            announced_bytes,
        })
    }
}

fn cluster(members: usize, settings: &RoundSettings, model: &[Vec<f32>], seed: u64) -> Cluster {
    let (consortium, start) = (large_consortium(&vec![1; members]), Model::new(model.to_vec()));
    let random = ChaCha20Rng::seed_from_u64(seed);
    let mut cluster = Cluster::with_model(consortium, settings.clone(), start, random);
    // The coordinator's received messages are for tests that look at them; in many rounds they would fill the
    // memory.
    cluster.keeps_received = false;
    cluster
}

/// Bytes of one member's sketches and token counts in its announcement.
fn announced_bytes(contribution: &Contribution) -> u64 {
    let mut announced = Vec::with_capacity(contribution.sketches.len());
    for (block, sketch) in &contribution.sketches {
        announced.push(AnnouncedSketch {
            block: *block,
            values: sketch.values.clone(),
            tokens: sketch.tokens,
        });
    }
    encode(&announced).len() as u64
}

fn cosines(consensus: &[Option<u32>]) -> Vec<Option<f64>> {
    consensus.iter().map(|sum| sum.map(|sum| f64::from(sum) / UNIT as f64)).collect()
}

/// The settings of the rounds that train a model.
pub fn training_settings(config: &Config, table: &[BlockShape], everyone: bool, seed: u64) -> RoundSettings {
    let mut table = table.to_vec();
    if config.scoring.sketches == SketchForm::Withheld {
        for (kind, length) in region_blocks(table.iter().map(|shape| shape.kind), config.scoring.coordinates)
        {
            table.push(BlockShape { id: BlockId(table.len() as u32), kind, length });
        }
    }
    let blocks =
        table.iter().map(|shape| training_block(*shape, config.strategy.training.expert_clip)).collect();
    settings(config, blocks, everyone, seed)
}

/// Clips leave room for members with several times the mean number of texts, because their updates are scaled
/// by it.
fn training_block(shape: BlockShape, expert_clip: f64) -> PlannedBlock {
    let (step_log2, clip, noise_steps) = match shape.kind {
        BlockKind::Expert { .. } => (-18, expert_clip, 0),
        BlockKind::Router { .. } => (-18, 8.0, 0),
        BlockKind::Shared => (-17, 32.0, 0),
        // A distribution's norm is at most 1, so this clip cuts nothing.
        BlockKind::Routing { .. } => (-16, 1.0, 64),
        BlockKind::Regions { .. } => (-14, 1.0, 256),
        // The lab evaluates by itself, so its tasks have none.
        BlockKind::Evaluation => (-4, 1024.0, 256),
    };
    block(shape, step_log2, clip, noise_steps)
}

fn block(shape: BlockShape, step_log2: i8, clip: f64, noise_steps: u32) -> PlannedBlock {
    let clip_steps = (clip / power_of_two(step_log2)) as u32;
    PlannedBlock { shape, scale: Scale { step_log2, clip_steps }, noise_steps }
}

/// Why no number of a configuration is too large for its place in a plan.
const CHECKED: &str = "a configuration is checked when it is read";

/// The settings of rounds over these blocks.
pub(crate) fn settings(
    config: &Config,
    blocks: Vec<PlannedBlock>,
    everyone: bool,
    seed: u64,
) -> RoundSettings {
    let members = config.partition.members;
    let floor = Floors::for_roster(members, members.min(16)).map_or(members, |floors| floors.cohort) as u16;
    let ScoringConfig { coordinates, noise_steps, threshold, minimum_tokens, .. } = config.scoring;
    let task = task_of_run(seed);
    let experts = blocks.iter().filter(|block| block.shape.kind.is_scored()).count();
    let WithheldScores { groups, noise } = config.scoring.withheld();
    // Sums without experts, such as those of a head, have nothing to group.
    let sketches = if experts > 0 { config.scoring.sketches } else { SketchForm::Pairs };
    let (groups, score_noise) = match sketches {
        SketchForm::Withheld => (groups_of(groups, experts) as u16, (noise * UNIT as f64).round() as u16),
        SketchForm::Pairs | SketchForm::Signs => (0, 0),
    };
    let training = &config.strategy.training;
    let local = config.strategy.kind.settings().training(training);
    RoundSettings {
        late_sketches: LateSketchMode::Off,
        rehearsal: false,
        task,
        ring: RingWidth::new(32).expect("32 is a supported width"),
        max_weight: 1,
        cohort_floor: floor,
        sketch: SketchPlan {
            seed: projection_seed(task),
            coordinates,
            noise_steps,
            region_clip_milli: 10_000,
            count_noise: 4,
        },
        scoring: ScoringRule {
            sketches,
            groups,
            score_noise,
            threshold,
            spread_factor: (config.scoring.beta * 256.0) as u16,
            consensus_fraction: (config.scoring.consensus_fraction * 256.0) as u16,
            minimum_tokens,
            // With more than all members to spare, every cohort falls back to everyone.
            slack: if everyone { u16::MAX - floor } else { 0 },
            fallback: Fallback::Everyone,
            shared_cohort: config.scoring.shared_cohort,
        },
        training: TrainingPlan {
            local_epochs: u16::try_from(training.local_epochs).expect(CHECKED),
            batch_size: u16::try_from(training.batch_size).expect(CHECKED),
            learning_rate_micro: (training.learning_rate * 1e6) as u32,
            routing_penalty_milli: (local.routing_penalty * 1e3) as u32,
            private: None,
        },
        deadlines: Deadlines { announce: 600_000, seal: 60_000, upload: 120_000, reveal: 60_000 },
        blocks,
    }
}

/// Stands for a task file's digest: each run's sketches have projections of their own (`PLAN-15`).
fn task_of_run(seed: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of a head have no experts, so that scores of none are planned.
    #[test]
    fn sums_without_experts_are_planned_in_every_form() {
        let text = "dataset = \"random\"\nsecure = true\n[data]\ntrain = [\"none\"]\n[partition]\nmembers = 8\n[strategy]\nname = \"FedAlignMoE\"";
        let changes = ["scoring.sketches=Withheld".to_owned(), "scoring.score_noise=0.1".to_owned()];
        let config = Config::parse(text, "the test", &changes).expect("a configuration");
        let shape = BlockShape { id: BlockId(0), kind: BlockKind::Shared, length: 10 };
        let floors = Floors::for_roster(8, 8).expect("eight members");
        let settings = settings(&config, vec![block(shape, -16, 1.0, 0)], true, 1);
        assert_eq!(settings.check_for(&floors, 8), Ok(()));
    }
}
