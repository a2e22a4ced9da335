//! The integer scoring against the float reference, which is the oracle.

use std::cell::Cell;
use std::collections::BTreeMap;

use cloister_alignment::cohort::{Choice, Cohort, MemberSketches, choose};
use cloister_alignment::reference::{
    ExpertScores, Gate, TrainedExpert, common_direction, majority, score, soft_weights,
};
use cloister_alignment::score::ExpertSketch;
use cloister_cluster::consortium::{TestConsortium, consortium};
use cloister_cluster::plan::template;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, ReceivingKeyEntry, RoundPlan, SharedCohort, Threshold};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const MEMBERS: usize = 9;
const FLOOR: usize = 5;
const EXPERTS: usize = 3;
/// Its number, after those of the experts and their router.
const SHARED: usize = EXPERTS + 1;
const COORDINATES: usize = 16;
/// What rounding can move: unit vectors by 2⁻¹⁴ a coordinate, so cosines by about `2·sqrt(16)·2⁻¹⁴`,
/// thresholds by twice that, and a consensus of eight agreements by eight times that.
const ROUNDING: f64 = 8.0 * 8.0 / 16384.0;

fn plan(consortium: &TestConsortium, threshold: Threshold, fraction: u16) -> CheckedPlan {
    let mut settings = template(EXPERTS as u16, FLOOR, 15);
    settings.scoring.shared_cohort = SharedCohort::Majority;
    settings.scoring.threshold = threshold;
    settings.scoring.consensus_fraction = fraction;
    let custodians = consortium.epoch.consortium().custodians();
    let plan = RoundPlan {
        epoch: consortium.epoch.digest(),
        round: Round::FIRST,
        previous: Digest::default(),
        model: Digest::default(),
        parameters: PerBlock::from_table(&settings.blocks, |_| Digest::default()),
        custodians: custodians.map(|custodian| ReceivingKeyEntry { custodian, key: [0; 32] }).collect(),
        barred: Vec::new(),
        settings,
    };
    CheckedPlan::check(plan, consortium.epoch.consortium(), consortium.epoch.digest()).expect("a valid plan")
}

fn vector() -> impl Strategy<Value = Vec<i16>> {
    prop::collection::vec(-2000i16..2000, COORDINATES)
}

/// Members whose expert follows one of two roles, more or less.
fn expert() -> impl Strategy<Value = Vec<ExpertSketch>> {
    let member = (0..2usize, vector(), vector(), 0u32..60);
    ((vector(), vector()), (vector(), vector()), prop::collection::vec(member, MEMBERS)).prop_map(
        |(first, second, members)| {
            let mixed =
                |role: &[i16], noise: &[i16]| role.iter().zip(noise).map(|(a, b)| a + b / 3).collect();
            let sketch = |(role, region, update, tokens): (usize, Vec<i16>, Vec<i16>, u32)| {
                let role = if role == 0 { &first } else { &second };
                ExpertSketch::projections(mixed(&role.0, &region), mixed(&role.1, &update), tokens)
            };
            members.into_iter().map(sketch).collect()
        },
    )
}

fn role(sketch: &ExpertSketch) -> TrainedExpert {
    let floats = |vector: &[i16]| vector.iter().map(|value| f64::from(*value)).collect();
    TrainedExpert {
        region: floats(sketch.region()),
        update: floats(sketch.update()),
        tokens: f64::from(sketch.tokens),
    }
}

/// The scores of every expert of a layer.
fn reference(layer: &[Vec<ExpertSketch>], plan: &CheckedPlan) -> Vec<ExpertScores> {
    let layer: Vec<Vec<TrainedExpert>> =
        layer.iter().map(|expert| expert.iter().map(role).collect()).collect();
    let common = common_direction(layer.iter().flatten(), &plan.settings.scoring);
    layer.iter().map(|expert| score(expert, &common, &plan.settings.scoring, Gate::Both)).collect()
}

fn announced(layer: &[Vec<ExpertSketch>]) -> BTreeMap<PartyId, MemberSketches> {
    let mut announced = BTreeMap::new();
    for member in 0..MEMBERS {
        let experts = layer.iter().enumerate();
        let sketches = experts.map(|(block, expert)| (BlockId(block as u32), expert[member].clone()));
        announced.insert(PartyId(member as u32 + 1), sketches.collect());
    }
    announced
}

/// Whether a cohort is these members, or everyone where they are too few.
fn assert_chosen(cohort: &Cohort, chosen: &[bool]) {
    let members: Vec<usize> = (0..MEMBERS).filter(|member| chosen[*member]).collect();
    let got: Vec<usize> = cohort.members.iter().map(|member| member.party.0 as usize - 1).collect();
    if members.len() >= FLOOR {
        assert_eq!((cohort.choice, got), (Choice::Aligned, members));
    } else {
        assert_eq!((cohort.choice, got.len()), (Choice::Fallback, MEMBERS));
    }
}

/// Compares one expert; false when a decision is too close for rounding to be sure of it.
fn agrees(expected: &ExpertScores, cohort: &Cohort) -> bool {
    if expected.margin < ROUNDING {
        return false;
    }
    assert_chosen(cohort, &expected.aligned);
    for (integer, float) in cohort.consensus.iter().zip(&expected.consensus) {
        let integer = integer.map(|score| f64::from(score) / 16384.0);
        assert_eq!(integer.is_some(), float.is_some());
        let difference = integer.unwrap_or(0.0) - float.unwrap_or(0.0);
        assert!(difference.abs() < ROUNDING, "{integer:?} is not {float:?}");
    }
    true
}

/// ALIGN-02, ALIGN-03, ALIGN-04, ALIGN-05, ALIGN-06, ALIGN-07, ALIGN-08, ALIGN-09
#[test]
fn integers_choose_the_cohort_of_the_reference() {
    let consortium = consortium(&[1; MEMBERS]);
    let (compared, majorities) = (Cell::new(0), Cell::new(0));
    let inputs = (prop::collection::vec(expert(), EXPERTS), any::<bool>(), 64u16..220);
    let mut runner = TestRunner::deterministic();
    let outcome = runner.run(&inputs, |(layer, median, fraction)| {
        let threshold = if median { Threshold::MedianDeviation } else { Threshold::MeanDeviation };
        let plan = plan(&consortium, threshold, fraction);
        let cohorts = choose(&plan, consortium.epoch.consortium(), &announced(&layer));
        let expected = reference(&layer, &plan);
        let agreeing =
            expected.iter().zip(&cohorts).filter(|(scores, cohort)| agrees(scores, cohort)).count();
        compared.set(compared.get() + agreeing);
        if agreeing == EXPERTS {
            assert_chosen(&cohorts[SHARED], &majority(&expected));
            majorities.set(majorities.get() + usize::from(cohorts[SHARED].choice == Choice::Aligned));
        }
        Ok(())
    });
    outcome.expect("integers and floats agree");
    assert!(compared.get() > 300, "only {} of 768 experts had clear decisions", compared.get());
    assert!(majorities.get() > 20, "only {} majorities to compare", majorities.get());
}

fn plain_role(region: [f64; 2], update: [f64; 2]) -> TrainedExpert {
    TrainedExpert { region: region.to_vec(), update: update.to_vec(), tokens: 10.0 }
}

/// ALIGN-05: each signal alone sees less than both.
#[test]
fn the_gate_needs_both_signals() {
    let rule = template(1, 3, 1).scoring;
    let here = plain_role([1.0, 0.1], [1.0, 0.0]);
    let elsewhere = plain_role([-1.0, 0.1], [1.0, 0.0]);
    let against = plain_role([1.0, 0.1], [-1.0, 0.0]);
    let roles = [here.clone(), here.clone(), here, elsewhere, against];
    let consensus = |gate| score(&roles, &[0.0, 0.0], &rule, gate).consensus;
    assert_eq!(consensus(Gate::Both), [2.0, 2.0, 2.0, 0.0, 0.0].map(Some));
    assert_eq!(consensus(Gate::Directions), [3.0, 3.0, 3.0, 3.0, 0.0].map(Some));
    assert_eq!(consensus(Gate::Regions), [3.0, 3.0, 3.0, 0.0, 3.0].map(Some));
}

#[test]
fn soft_weights_follow_tokens_and_consensus() {
    let rule = template(1, 3, 1).scoring;
    let mut roles = vec![plain_role([1.0, 0.1], [1.0, 0.0]); 3];
    roles[0].tokens = 30.0;
    roles.push(plain_role([-1.0, 0.1], [0.0, 1.0]));
    let scores = score(&roles, &[0.0, 0.0], &rule, Gate::Both);
    assert_eq!(soft_weights(&roles, &scores), [0.6, 0.2, 0.2, 0.0]);
    let strangers = [plain_role([1.0, 0.0], [1.0, 0.0]), plain_role([0.0, 1.0], [0.0, 1.0])];
    let scores = score(&strangers, &[0.0, 0.0], &rule, Gate::Both);
    assert_eq!(soft_weights(&strangers, &scores), [0.5, 0.5]);
}
