//! Shares and memories of the strategies.

use cloister_experts::{ExpertRegion, ModelConfig, block_table, initial_blocks};
use cloister_params::block::BlockKind;
use cloister_params::plan::{RoundSettings, ScoringRule, SharedCohort, SketchForm};

use super::personal_routers::PersonalRouters;
use super::*;
use crate::config::Config;
use crate::masked::training_settings;

const MEMBERS: usize = 6;

fn model() -> ModelConfig {
    let classes = vec!["a".to_owned(), "b".to_owned()];
    ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) }
}

/// The result of a member, which moves all parameters of `initial` alike.
fn member_result(initial: &BlockVectors, member: usize) -> LocalResult {
    let sign = if member == MEMBERS - 1 { -1.0 } else { 1.0 };
    let wiggle = |at: usize| sign * (1.0 + ((at * (member + 3)) % 7) as f32 / 20.0);
    LocalResult {
        updates: initial.map(|_, values| (0..values.len()).map(wiggle).collect()),
        regions: (0..3)
            .map(|expert| ExpertRegion {
                layer: 0,
                expert,
                mean_hidden: (0..384).map(wiggle).collect(),
                tokens: 100 * (member as u64 + 1),
            })
            .collect(),
        margins: vec![vec![0.5; 3]],
        loss_first: 1.0,
        loss_last: 1.0,
        truncated: 0,
        notes: 10,
        by_record: None,
    }
}

/// Results of members that agree, except for the last, whose experts have the opposite role.
fn results() -> Vec<LocalResult> {
    let initial = initial_blocks(&model());
    (0..MEMBERS).map(|member| member_result(&initial, member)).collect()
}

/// The strategy of these settings, before its first round.
fn started(settings: &dyn StrategySettings, shared_cohort: SharedCohort) -> Box<dyn Strategy> {
    let RoundSettings { scoring, sketch, .. } = rounds();
    let rule = ScoringRule { shared_cohort, sketches: SketchForm::Pairs, ..scoring };
    settings.start(&RunScoring { rule, sketch, withheld: WithheldScores::default() }, 0)
}

fn shares(settings: &dyn StrategySettings, kind: BlockKind) -> Vec<f64> {
    shares_with(SharedCohort::Everyone, settings, kind)
}

fn shares_with(shared_cohort: SharedCohort, settings: &dyn StrategySettings, kind: BlockKind) -> Vec<f64> {
    let (global, results) = (initial_blocks(&model()), results());
    // They add up to the number of members, as relative sizes do.
    let sizes = [0.5, 1.5, 1.0, 1.0, 1.0, 1.0];
    let updates = MemberUpdates { global: &global, sizes: &sizes, results: &results, round: 1 };
    let block = global.table().iter().find(|shape| shape.kind == kind).expect("the block is there");
    started(settings, shared_cohort).shares(block, &updates)
}

fn rounds() -> RoundSettings {
    let text = "dataset = \"x\"\n[data]\ntrain = [\"x\"]";
    let config = Config::parse(text, "the test", &[]).expect("a configuration");
    training_settings(&config, &block_table(&model()), false, 0)
}

const EXPERT: BlockKind = BlockKind::Expert { layer: 0, expert: 1 };

fn align(cohorts: CohortRule) -> FedAlignMoE {
    FedAlignMoE { cohorts, ..FedAlignMoE::default() }
}

#[test]
fn averages_follow_texts_or_tokens() {
    let sum = |shares: &[f64]| shares.iter().sum::<f64>();
    let by_texts = shares(&fedavg::FedAvg::default(), EXPERT);
    assert!((sum(&by_texts) - 1.0).abs() < 1e-9 && by_texts[1] == 3.0 * by_texts[0]);
    let by_tokens = shares(&fedmoe::FedMoE::default(), EXPERT);
    assert!((sum(&by_tokens) - 1.0).abs() < 1e-9 && (by_tokens[5] - 6.0 * by_tokens[0]).abs() < 1e-9);
    assert_eq!(shares(&fedmoe::FedMoE::default(), BlockKind::Shared), by_texts);
}

#[test]
fn an_expert_of_another_role_is_left_out_and_the_controls_are_not_that() {
    let aligned = shares(&align(CohortRule::Aligned), EXPERT);
    assert!(aligned[5] == 0.0 && aligned[..5].iter().all(|share| *share > 0.0), "{aligned:?}");
    assert_eq!(aligned[1], 1.5 / 5.0);
    let random = shares(&align(CohortRule::Random), EXPERT);
    assert_eq!(random.iter().filter(|share| **share > 0.0).count(), 5);
    let complementary = shares(&align(CohortRule::Complementary), EXPERT);
    assert_eq!(complementary.iter().filter(|share| **share > 0.0).count(), 5);
    assert!(complementary[5] > 0.0, "who agrees least is in: {complementary:?}");
    let soft = shares(&align(CohortRule::Soft), EXPERT);
    assert!((soft.iter().sum::<f64>() - 1.0).abs() < 1e-9 && soft[5] == 0.0, "{soft:?}");
    assert!(shares(&align(CohortRule::Everyone), EXPERT).iter().all(|share| *share > 0.0));
}

/// ALIGN-09
#[test]
fn the_head_follows_the_majority_where_the_rule_says_so_whatever_experts_are_summed_over() {
    for cohorts in [CohortRule::Aligned, CohortRule::Everyone] {
        let head = shares_with(SharedCohort::Majority, &align(cohorts), BlockKind::Shared);
        assert!(head[5] == 0.0 && head[1] == 1.5 / 5.0, "{head:?}");
        let router = shares_with(SharedCohort::Majority, &align(cohorts), BlockKind::Router { layer: 0 });
        assert!(router.iter().all(|share| *share > 0.0), "{router:?}");
        assert!(shares(&align(cohorts), BlockKind::Shared).iter().all(|share| *share > 0.0), "control");
    }
}

#[test]
fn a_local_gate_leaves_routers_with_their_members_and_experts_to_their_cohorts() {
    let settings = FedAlignMoE { routers: RouterRule::Local, ..align(CohortRule::Aligned) };
    assert_eq!(shares(&settings, EXPERT), shares(&align(CohortRule::Aligned), EXPERT));
    let initial = initial_blocks(&model());
    let updates = initial.map(|_, values| vec![2.0; values.len()]);
    let moved = |settings: &FedAlignMoE| {
        let mut strategy = started(settings, SharedCohort::Everyone);
        strategy.keep(3, &initial, &updates);
        let start = strategy.start(3, &initial);
        [BlockKind::Router { layer: 0 }, EXPERT].map(|kind| start.get(kind) != initial.get(kind))
    };
    assert_eq!((moved(&settings), moved(&align(CohortRule::Aligned))), ([true, false], [false, false]));
    let router = BlockKind::Router { layer: 0 };
    assert_eq!(shares(&settings, router), [0.0; MEMBERS], "they enter no sum");
    assert!(shares(&align(CohortRule::Aligned), router).iter().all(|share| *share > 0.0), "control");
}

#[test]
fn adam_at_the_server_bounds_its_steps_and_remembers() {
    let mut adam = fedadam::ServerAdam::new(0.1);
    let block = initial_blocks(&model()).table()[0];
    let first = adam.step(&block, vec![100.0, 0.0]);
    assert!(first[0] > 0.05 && first[0] < 0.2 && first[1] == 0.0, "{first:?}");
    assert!(adam.step(&block, vec![0.0, 0.0])[0] > 0.0);
}

#[test]
fn personal_routers_are_mixed_in_by_their_part() {
    let initial = initial_blocks(&model());
    let updates = initial.map(|_, values| vec![2.0; values.len()]);
    let router = |part| {
        let mut strategy = PersonalRouters::with_personal_part(part);
        strategy.keep(3, &initial, &updates);
        let zeros = initial.map(|_, values| vec![0.0; values.len()]);
        let first = |member| {
            strategy.start(member, &zeros).get(BlockKind::Router { layer: 0 }).map(|values| values[0])
        };
        (first(3).unwrap_or(f32::NAN), first(4))
    };
    let trained = initial.get(BlockKind::Router { layer: 0 }).expect("the block is there")[0] + 2.0;
    assert_eq!(router(1.0), (trained, Some(0.0)));
    assert_eq!(router(0.5), (trained / 2.0, Some(0.0)));
}

#[test]
fn consistency_may_count_overlap_or_margin_alone() {
    let (mut result, mut global) = (results().remove(0), initial_blocks(&model()));
    let routing = |values: &[f32]| {
        let values = values.to_vec();
        move |shape: &BlockShape, old: &[f32]| match shape.kind {
            BlockKind::Routing { .. } => values.clone(),
            _ => old.to_vec(),
        }
    };
    result.updates = result.updates.map(routing(&[0.1, 0.2, 0.7]));
    global = global.map(routing(&[0.7, 0.2, 0.1]));
    let weight = |what| fedalign::consistency_weight(&result, 0, &global, what);
    // The distributions differ, and the margins are all a half.
    let [both, overlap, margin] =
        [ConsistencyOf::Both, ConsistencyOf::Overlap, ConsistencyOf::Margin].map(weight);
    assert!((margin - (0.25 + 0.75 * 0.5)).abs() < 1e-6, "{margin}");
    assert!((overlap - (0.25 + 0.75 * 0.18 / 0.54)).abs() < 1e-6, "{overlap}");
    assert!(both < overlap.min(margin), "{both}");
}

#[test]
fn memories_are_handed_over_whole() {
    let initial = initial_blocks(&model());
    let updates = initial.map(|_, values| vec![0.3; values.len()]);
    let pairs: [(Box<dyn Strategy>, Box<dyn Strategy>); 2] = [
        (Box::new(local_only::LocalModels::default()), Box::new(local_only::LocalModels::default())),
        (
            Box::new(PersonalRouters::with_personal_part(0.5)),
            Box::new(PersonalRouters::with_personal_part(0.5)),
        ),
    ];
    for (mut one, mut other) in pairs {
        one.keep(2, &initial, &updates);
        assert_ne!(one.start(2, &initial), other.start(2, &initial));
        other.recall(one.memory());
        assert_eq!(one.start(2, &initial), other.start(2, &initial));
    }
    let (block, mut one, mut other) =
        (initial.table()[0], fedadam::ServerAdam::new(0.1), fedadam::ServerAdam::new(0.1));
    one.step(&block, vec![1.0, -2.0]);
    other.recall(one.memory());
    assert_eq!(one.step(&block, vec![0.5, 0.5]), other.step(&block, vec![0.5, 0.5]));
}
