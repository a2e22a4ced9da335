//! Rounds behind masks against the float reference: the same cohorts, and aggregates up to the quantisation step.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cloister_alignment::cohort::MemberSketches;
use cloister_alignment::consistency;
use cloister_alignment::reference::{
    ExpertScores, Gate, TrainedExpert, align_by_scores, common_direction, majority, mean, score, score_signs,
};
use cloister_alignment::score::{ExpertSketch, UNIT};
use cloister_experts::synthetic::{self, Style};
use cloister_experts::{
    BlockVectors, Device, Encoder, ExpertRegion, LocalResult, LocalTraining, ModelConfig, Trainer,
    block_table, block_vectors, initial_blocks,
};
use cloister_gate::{LocalWork, prepare};
use cloister_lab::Config;
use cloister_lab::accounts::Accounts;
use cloister_lab::masked::{Masked, MaskedRound, training_settings};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{RoundPlan, RoundSettings, ScoringRule, SketchForm, SketchValues};
use cloister_protocol::model::Model;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRng, TestRunner};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const MEMBERS: usize = 8;
/// The cohort floor of eight members that are all custodians.
const FLOOR: usize = 5;
/// By how much integer rounding can move a consensus, as `crates/alignment/tests/reference.rs` derives it.
const ROUNDING: f64 = 8.0 * 8.0 / 16384.0;

fn config(form: SketchForm) -> Config {
    let text = "dataset = \"random\"\n[data]\ntrain = [\"none\"]\n[partition]\nmembers = 8\n[scoring]\n\
                coordinates = 16\nconsensus_fraction = 0.4\nshared_cohort = \"Majority\"\n[head]\nkind = \"none\"\n\
                [strategy]\nname = \"FedAlignMoE\"";
    let mut changes = vec![format!("scoring.sketches={form:?}")];
    if form == SketchForm::Withheld {
        changes.extend(["scoring.groups=2".to_owned(), "scoring.score_noise=0.05".to_owned()]);
    }
    Config::parse(text, "the test", &changes).expect("a configuration")
}

fn model() -> ModelConfig {
    let classes = synthetic::CLASSES.map(str::to_owned).to_vec();
    ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) }
}

/// One round, both ways: what each member announced and would have uploaded, and the result behind masks.
struct Both {
    settings: RoundSettings,
    global: BlockVectors,
    results: Vec<LocalResult>,
    sketches: Vec<MemberSketches>,
    masked: MaskedRound,
}

/// What the rounds before published.
struct Published {
    global: BlockVectors,
    /// The model before it changed last.
    before: Option<BlockVectors>,
    /// The blocks of regions; none in a first round.
    regions: Vec<Vec<f32>>,
}

impl Published {
    fn first(global: BlockVectors) -> Self {
        Self { global, before: None, regions: Vec::new() }
    }

    /// A model with the regions that a plan has behind its blocks.
    fn with_regions(&self, blocks: &BlockVectors, settings: &RoundSettings) -> Model {
        let mut values = blocks.values().to_vec();
        let planned = settings.blocks[values.len()..].iter();
        let zeros = planned.map(|block| vec![0.0; block.shape.length as usize]).collect();
        values.extend(if self.regions.is_empty() { zeros } else { self.regions.clone() });
        Model::new(values)
    }
}

fn run(
    model: &ModelConfig,
    published: Published,
    results: Vec<LocalResult>,
    (form, seed): (SketchForm, u64),
) -> Both {
    let settings = training_settings(&config(form), &block_table(model), false, seed);
    let plan = RoundPlan {
        epoch: Digest::default(),
        round: Round::FIRST,
        previous: Digest::default(),
        model: Digest::default(),
        parameters: PerBlock::from_table(&settings.blocks, |_| Digest::default()),
        custodians: Vec::new(),
        barred: Vec::new(),
        settings: settings.clone(),
    };
    let start = published.with_regions(&published.global, &settings);
    let before = published.before.as_ref().map(|before| published.with_regions(before, &settings));
    let global = published.global;
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut accounts = Accounts::open(results.len()).expect("a temporary folder");
    let contributions: Vec<_> = results
        .iter()
        .enumerate()
        .map(|(member, result)| {
            let permit = accounts.permit(member, &plan).expect("a ledger without a budget");
            let work = LocalWork { before_last_changes: before.as_ref(), ..LocalWork::from(result) };
            prepare(&plan, &start, work, permit, &mut random).expect("finite updates").0
        })
        .collect();
    let sketches = contributions.iter().map(|contribution| contribution.sketches.clone()).collect();
    let mut masked =
        Masked::new(MEMBERS, settings.clone(), global.values().to_vec(), seed).expect("a valid plan");
    let masked = masked.round(contributions).expect("nobody is lost");
    Both { settings, global, results, sketches, masked }
}

/// An announced score as a cosine.
fn announced_score(sketch: &ExpertSketch) -> Option<f64> {
    let SketchValues::Score(score) = sketch.values else { panic!("the plan has scores") };
    score.map(|score| f64::from(score) / UNIT as f64)
}

/// A sketch in place of what it was made from.
fn role(sketch: &ExpertSketch) -> TrainedExpert {
    TrainedExpert {
        region: sketch.region().iter().map(|value| f64::from(*value)).collect(),
        update: sketch.update().iter().map(|value| f64::from(*value)).collect(),
        tokens: f64::from(sketch.tokens),
    }
}

/// A sketch's signs; `None` for too few tokens.
fn signs(sketch: &ExpertSketch, rule: &ScoringRule) -> Option<Vec<f64>> {
    let SketchValues::Signs(bits) = &sketch.values else { panic!("the plan has signs") };
    let signs = (0..8 * bits.len()).map(|at| f64::from(2 * (bits[at / 8] >> (at % 8) & 1)) - 1.0).collect();
    (sketch.tokens >= rule.minimum_tokens).then_some(signs)
}

impl Both {
    /// The reference's scores of an expert; `None` if rounding could turn one of its decisions.
    fn scores(&self, block: BlockId) -> Option<ExpertScores> {
        let rule = &self.settings.scoring;
        let groups = self.settings.announced_groups();
        let group = groups.iter().find(|group| group.contains(&block)).expect("each expert has a group");
        let announced = self.sketches.iter().map(|sketches| &sketches[&group[0]]);
        let scores = match rule.sketches {
            SketchForm::Pairs => {
                let layer: Vec<TrainedExpert> =
                    self.sketches.iter().flat_map(BTreeMap::values).map(role).collect();
                let common = common_direction(layer.iter(), rule);
                score(&announced.map(role).collect::<Vec<_>>(), &common, rule, Gate::Both)
            }
            SketchForm::Signs => {
                score_signs(&announced.map(|sketch| signs(sketch, rule)).collect::<Vec<_>>(), rule)
            }
            SketchForm::Withheld => align_by_scores(announced.map(announced_score).collect(), rule),
        };
        (scores.margin >= ROUNDING).then_some(scores)
    }

    /// The reference's cohort of a block; `None` if rounding could turn one of its decisions.
    fn cohort(&self, shape: &BlockShape) -> Option<Vec<usize>> {
        let chosen = match shape.kind {
            BlockKind::Expert { .. } => self.scores(shape.id)?.aligned,
            BlockKind::Shared => {
                let table = self.global.table().iter();
                let experts = table.filter(|shape| matches!(shape.kind, BlockKind::Expert { .. }));
                majority(&experts.map(|shape| self.scores(shape.id)).collect::<Option<Vec<_>>>()?)
            }
            _ => vec![true; MEMBERS],
        };
        let members: Vec<usize> = (0..MEMBERS).filter(|member| chosen[*member]).collect();
        Some(if members.len() >= FLOOR { members } else { (0..MEMBERS).collect() })
    }

    /// The weighted mean of a cohort's vectors, in floats.
    fn plain(&self, shape: &BlockShape, members: &[usize], weights: &[f64]) -> Vec<f64> {
        let vectors: Vec<Vec<f64>> = members
            .iter()
            .map(|member| {
                let update = &self.results[*member].updates[shape.id];
                update.iter().map(|value| f64::from(*value)).collect()
            })
            .collect();
        mean(vectors.iter().map(Vec::as_slice).zip(weights.iter().copied()))
    }

    /// Compares every block. Returns how many experts had clear decisions.
    fn compare(&self) -> usize {
        let mut clear = 0;
        let everyone: Vec<usize> = (0..MEMBERS).collect();
        for (shape, before) in self.global.iter() {
            let Some(members) = self.cohort(shape) else { continue };
            let mut weights = vec![1.0; members.len()];
            let chosen = self.masked.aligned.get(&shape.id).unwrap_or(&everyone);
            assert_eq!(*chosen, members, "{}", shape.kind);
            clear += usize::from(matches!(shape.kind, BlockKind::Expert { .. }));
            if let BlockKind::Router { layer } = shape.kind {
                weights = self.results.iter().map(|result| self.omega(result, layer)).collect();
            }
            self.compare_block(shape, before, &self.plain(shape, &members, &weights));
        }
        clear
    }

    fn omega(&self, result: &LocalResult, layer: u16) -> f64 {
        let routing = BlockKind::Routing { layer };
        let distribution = result.updates.get(routing).expect("the block is there");
        let published = self.global.get(routing).expect("the block is there");
        f64::from(consistency::weight(distribution, published, &result.margins[usize::from(layer)]))
    }

    /// A mean of rounded values is within half a step of the mean; a router is divided by rounded weights of at
    /// least a quarter, so within four times that; a routing distribution carries noise of 64 steps a member.
    fn compare_block(&self, shape: &BlockShape, before: &[f32], plain: &[f64]) {
        let after = &self.masked.model[shape.id];
        let step = self.settings.block(shape.id).expect("the block is in the plan").scale.step();
        let (start, tolerance) = match shape.kind {
            BlockKind::Routing { .. } => (vec![0.0; before.len()], 12.0 * 64.0 * step),
            BlockKind::Router { .. } => (before.to_vec(), 4.0 * step),
            _ => (before.to_vec(), 0.5 * step),
        };
        let length = before.len() - usize::from(matches!(shape.kind, BlockKind::Router { .. }));
        for at in 0..length {
            let expected = f64::from(start[at]) + plain[at];
            let difference = (f64::from(after[at]) - expected).abs();
            // The parameters themselves are 32-bit floats.
            assert!(difference <= tolerance + 1e-6, "{}, coordinate {at}: {difference}", shape.kind);
        }
    }
}

/// Training results of members whose experts have one of two roles, with some noise.
fn random_results(model: &ModelConfig, seed: u64) -> Vec<LocalResult> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut uniform = move || {
        use rand_core::Rng;
        (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.02
    };
    let table = initial_blocks(model);
    let roles: Vec<BlockVectors> =
        (0..2).map(|_| table.map(|_, values| values.iter().map(|_| uniform()).collect())).collect();
    let regions: Vec<Vec<f32>> = (0..2).map(|_| (0..384).map(|_| uniform() * 100.0).collect()).collect();
    (0..MEMBERS)
        .map(|member| {
            let role = usize::from(member >= 6 || uniform() > 0.008);
            let updates = table.map(|shape, values| match shape.kind {
                BlockKind::Routing { .. } => vec![1.0 / values.len() as f32; values.len()],
                _ => roles[role][shape.id].iter().map(|value| value + uniform() / 2.0).collect(),
            });
            let region = |expert| ExpertRegion {
                layer: 0,
                expert,
                mean_hidden: regions[role].iter().map(|value| value + uniform() * 40.0).collect(),
                tokens: 500,
            };
            LocalResult {
                updates,
                regions: (0..model.experts as u16).map(region).collect(),
                margins: vec![vec![0.3; model.experts]],
                loss_first: 1.0,
                loss_last: 1.0,
                truncated: 0,
                notes: 10,
                by_record: None,
            }
        })
        .collect()
}

/// ALIGN-07, ALIGN-09, ALIGN-11, ALIGN-12, ROUND-21: over random inputs.
#[test]
fn secure_and_plain_agree_over_random_updates() {
    agree_over_random_updates(SketchForm::Pairs);
}

/// ALIGN-07, ALIGN-09, ALIGN-15, ROUND-21: the same by signs.
#[test]
fn secure_and_plain_agree_over_random_updates_by_signs() {
    agree_over_random_updates(SketchForm::Signs);
}

/// ALIGN-07, ALIGN-09, ALIGN-17, ROUND-21: the same by scores.
#[test]
fn secure_and_plain_agree_over_random_updates_by_scores() {
    agree_over_random_updates(SketchForm::Withheld);
}

fn agree_over_random_updates(form: SketchForm) {
    let cases = Cases { cases: 12, ..Cases::default() };
    let rng = TestRng::deterministic_rng(cases.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(cases, rng);
    let clear = std::cell::Cell::new(0);
    let outcome = runner.run(&any::<u32>(), |seed| {
        let model = model();
        let results = random_results(&model, seed.into());
        let global = initial_blocks(&model);
        // What the last member trained was published.
        let last = &results[MEMBERS - 1].updates;
        let before = global.map(|shape, values| {
            values.iter().zip(&last[shape.id]).map(|(value, moved)| value - moved).collect()
        });
        let published = Published { before: Some(before), ..Published::first(global) };
        let both = run(&model, published, results, (form, seed.into()));
        clear.set(clear.get() + both.compare());
        Ok(())
    });
    outcome.expect("secure and plain agree");
    // A comparison that skips every expert as too close would pass, so half of them must be clear.
    assert!(clear.get() >= 18, "only {} of 36 experts had clear decisions", clear.get());
}

/// ALIGN-07, ALIGN-11, ALIGN-12, ROUND-21: over a real training, three rounds of it.
#[test]
fn secure_and_plain_agree_over_a_real_training() {
    agree_over_a_real_training(SketchForm::Pairs);
}

/// ALIGN-07, ALIGN-15, ROUND-21: the same by signs.
#[test]
fn secure_and_plain_agree_over_a_real_training_by_signs() {
    agree_over_a_real_training(SketchForm::Signs);
}

/// ALIGN-07, ALIGN-17, ROUND-21: the same by scores.
#[test]
fn secure_and_plain_agree_over_a_real_training_by_scores() {
    agree_over_a_real_training(SketchForm::Withheld);
}

fn agree_over_a_real_training(form: SketchForm) {
    let Some(folder) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return;
    };
    let model = ModelConfig { max_tokens: 32, ..model() };
    let encoder = Encoder::open(&folder, model.clone(), 1, Device::Cpu).expect("the weights are there");
    let mut trainers: Vec<Trainer> = (0..MEMBERS)
        .map(|member| {
            let mut mix = [1.0; 8];
            mix[member] = 8.0;
            let notes = synthetic::generate(16, &mix, Style::ALL[member % 4], member as u64);
            Trainer::new(&encoder, encoder.features(&notes).expect("the labels are known"))
        })
        .collect();
    let (mut published, mut clear) = (Published::first(initial_blocks(&model)), 0);
    for round in 0..3 {
        let train = |(member, trainer): (usize, &mut Trainer)| {
            trainer.load(&published.global).expect("the blocks fit");
            let settings = LocalTraining { seed: member as u64, ..LocalTraining::default() };
            trainer.train(&settings, &mut |_| ()).expect("training succeeds")
        };
        let results = trainers.iter_mut().enumerate().map(train).collect();
        let both = run(&model, published, results, (form, round));
        clear += both.compare();
        let mut values = both.masked.model.into_values();
        let regions = values.split_off(both.global.table().len());
        let global = block_vectors(&model, values).expect("the blocks fit");
        published = Published { global, before: Some(both.global), regions };
    }
    assert!(clear >= 4, "only {clear} of 9 experts had clear decisions");
}
