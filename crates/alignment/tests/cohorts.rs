//! Which members make up a cohort: aligned ones, everyone, or nobody.

use std::collections::BTreeMap;

use cloister_alignment::cohort::{Choice, Cohort, MemberSketches, choose};
use cloister_alignment::score::ExpertSketch;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::{CheckedPlan, Fallback, ReceivingKeyEntry, RoundPlan, RoundSettings};
use cloister_testkit::consortium::{TestConsortium, consortium};
use cloister_testkit::plan::template;

const EXPERT: BlockId = BlockId(0);
const SHARED: BlockId = BlockId(2);

fn setting(weights: &[u8], change: impl FnOnce(&mut RoundSettings)) -> (TestConsortium, CheckedPlan) {
    let consortium = consortium(weights);
    let mut settings = template(1, 5, 15);
    change(&mut settings);
    let custodians = consortium.epoch.consortium().custodians();
    let plan = RoundPlan {
        epoch: consortium.epoch.digest(),
        round: Round::FIRST,
        previous: Digest::default(),
        model: Digest::default(),
        custodians: custodians.map(|custodian| ReceivingKeyEntry { custodian, key: [0; 32] }).collect(),
        settings,
    };
    let checked = CheckedPlan::check(plan, consortium.epoch.consortium(), consortium.epoch.digest());
    (consortium, checked.expect("a valid plan"))
}

/// Members from 1 on; those of `others` have an expert of another role and direction.
fn sketches(members: u32, others: &[u32]) -> BTreeMap<PartyId, MemberSketches> {
    let expert = |member: u32| {
        let sign: i16 = if others.contains(&member) { -1 } else { 1 };
        let wiggle = i16::try_from(member).expect("few members");
        let vector: Vec<i16> = (0..16).map(|at| sign * (500 + 7 * ((at * wiggle) % 5))).collect();
        let region = vector.iter().enumerate().map(|(at, value)| if at % 2 == 0 { *value } else { -*value });
        ExpertSketch { region: region.collect(), update: vector.clone(), tokens: 50 }
    };
    (1..=members).map(|member| (PartyId(member), MemberSketches::from([(EXPERT, expert(member))]))).collect()
}

fn cohort(
    setting: &(TestConsortium, CheckedPlan),
    announced: &BTreeMap<PartyId, MemberSketches>,
    block: BlockId,
) -> Cohort {
    let cohorts = choose(&setting.1, setting.0.epoch.consortium(), announced);
    cohorts.into_iter().find(|cohort| cohort.block == block).expect("every block has a cohort")
}

fn parties(cohort: &Cohort) -> Vec<u32> {
    cohort.members.iter().map(|member| member.party.0).collect()
}

/// ALIGN-07, ALIGN-08
#[test]
fn members_whose_expert_means_something_else_are_left_out() {
    let setting = setting(&[1; 9], |_| {});
    let chosen = cohort(&setting, &sketches(9, &[4, 7]), EXPERT);
    assert_eq!((chosen.choice, parties(&chosen)), (Choice::Aligned, vec![1, 2, 3, 5, 6, 8, 9]));
    assert_eq!(chosen.consensus.len(), 9);
}

/// ALIGN-08
#[test]
fn too_few_aligned_members_lead_to_the_plans_fallback() {
    let announced = sketches(9, &[1, 2, 3, 4]);
    let with = |slack, fallback| {
        setting(&[1; 9], |settings| {
            settings.scoring.slack = slack;
            settings.scoring.fallback = fallback;
        })
    };
    let chosen = cohort(&with(0, Fallback::Skip), &announced, EXPERT);
    assert_eq!(
        (chosen.choice, parties(&chosen)),
        (Choice::Aligned, vec![5, 6, 7, 8, 9]),
        "exactly the floor"
    );
    let chosen = cohort(&with(1, Fallback::Everyone), &announced, EXPERT);
    assert_eq!((chosen.choice, chosen.members.len()), (Choice::Fallback, 9));
    let chosen = cohort(&with(1, Fallback::Skip), &announced, EXPERT);
    assert_eq!((chosen.choice, chosen.members.len()), (Choice::Void, 0));
}

/// ALIGN-09
#[test]
fn a_block_that_is_no_expert_is_summed_over_everyone() {
    let chosen = cohort(&setting(&[1; 9], |_| {}), &sketches(9, &[1, 2, 3]), SHARED);
    assert_eq!((chosen.choice, chosen.members.len(), chosen.consensus.len()), (Choice::Everyone, 9, 0));
}

/// ALIGN-10
#[test]
fn below_the_floor_a_cohort_is_void_and_weights_are_the_consortiums_within_the_plan() {
    let setting = setting(&[1, 2, 3, 15, 15, 1, 1, 1, 1], |settings| settings.max_weight = 7);
    let weights: Vec<u8> =
        cohort(&setting, &sketches(9, &[]), SHARED).members.iter().map(|member| member.weight).collect();
    assert_eq!(weights, [1, 2, 3, 7, 7, 1, 1, 1, 1]);
    assert_eq!(cohort(&setting, &sketches(4, &[]), SHARED).choice, Choice::Void);
    assert_eq!(cohort(&setting, &sketches(4, &[]), EXPERT).choice, Choice::Void);
}

/// ALIGN-06: every custodian gets the same, whatever the order in which announcements came.
#[test]
fn scoring_is_a_function_of_what_was_announced() {
    let setting = setting(&[1; 9], |_| {});
    let announced = sketches(9, &[2]);
    let again: BTreeMap<PartyId, MemberSketches> = announced.clone().into_iter().rev().collect();
    assert_eq!(cohort(&setting, &announced, EXPERT), cohort(&setting, &again, EXPERT));
}
