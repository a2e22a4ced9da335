//! Which members make up a cohort: aligned ones, everyone, or nobody.

use std::collections::BTreeMap;

use cloister_alignment::cohort::{Choice, Cohort, MemberSketches, choose};
use cloister_alignment::score::ExpertSketch;
use cloister_cluster::consortium::{TestConsortium, consortium};
use cloister_cluster::plan::{template, with_withheld_sketches};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{
    CheckedPlan, Fallback, ReceivingKeyEntry, RoundPlan, RoundSettings, SharedCohort, SketchValues,
};

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
        parameters: PerBlock::from_table(&settings.blocks, |_| Digest::default()),
        custodians: custodians.map(|custodian| ReceivingKeyEntry { custodian, key: [0; 32] }).collect(),
        barred: Vec::new(),
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
        ExpertSketch::projections(region.collect(), vector.clone(), 50)
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

/// Three experts, of which members have other roles in those that `others` lists.
fn three_experts(others: [&[u32]; 3]) -> BTreeMap<PartyId, MemberSketches> {
    let mut all: BTreeMap<PartyId, MemberSketches> = BTreeMap::new();
    for (block, others) in (0..).zip(others) {
        for (party, announced) in sketches(9, others) {
            all.entry(party).or_default().insert(BlockId(block), announced[&EXPERT].clone());
        }
    }
    all
}

fn with_majority(slack: u16, fallback: Fallback) -> (TestConsortium, CheckedPlan) {
    setting(&[1; 9], |settings| {
        *settings = template(3, 5, 15);
        settings.scoring.shared_cohort = SharedCohort::Majority;
        settings.scoring.slack = slack;
        settings.scoring.fallback = fallback;
    })
}

/// ALIGN-09
#[test]
fn the_shared_rest_follows_the_majority_of_the_experts() {
    let setting = with_majority(0, Fallback::Everyone);
    // Member 4 is left out by two of three experts, 7 by one.
    let mut announced = three_experts([&[4, 7], &[4], &[]]);
    let shared = BlockId(4);
    let chosen = cohort(&setting, &announced, shared);
    assert_eq!((chosen.choice, parties(&chosen)), (Choice::Aligned, vec![1, 2, 3, 5, 6, 7, 8, 9]));
    let votes = [3, 3, 3, 1, 3, 3, 2, 3, 3].map(Some);
    assert_eq!(chosen.consensus, votes);
    let router = cohort(&setting, &announced, BlockId(3));
    assert_eq!((router.choice, router.members.len()), (Choice::Everyone, 9));

    // One of two experts that know a member are no majority; a member that none knows has no vote.
    let few = |announced: &mut BTreeMap<PartyId, MemberSketches>, party, block| {
        let member = announced.get_mut(&PartyId(party)).expect("it announced");
        member.get_mut(&BlockId(block)).expect("it has the expert").tokens = 4;
    };
    few(&mut announced, 7, 1);
    (0..3).for_each(|block| few(&mut announced, 9, block));
    let chosen = cohort(&setting, &announced, shared);
    assert_eq!(parties(&chosen), [1, 2, 3, 5, 6, 8]);
    assert_eq!(chosen.consensus[6..], [Some(1), Some(3), None]);
}

/// ALIGN-08, ALIGN-09
#[test]
fn a_majority_below_floor_and_slack_leads_to_the_plans_fallback() {
    let announced = three_experts([&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
    let shared = |slack, fallback| cohort(&with_majority(slack, fallback), &announced, BlockId(4));
    assert_eq!(parties(&shared(1, Fallback::Skip)), [4, 5, 6, 7, 8, 9]);
    assert_eq!(
        (shared(2, Fallback::Skip).choice, shared(2, Fallback::Everyone).choice),
        (Choice::Void, Choice::Fallback)
    );
    assert_eq!(shared(2, Fallback::Everyone).members.len(), 9);
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

/// Scores in units of 2⁻¹⁴ by member, from 1 on, under the first blocks of their groups.
fn scores(by_group: &[(BlockId, [Option<i32>; 9])]) -> BTreeMap<PartyId, MemberSketches> {
    let mut announced: BTreeMap<PartyId, MemberSketches> = BTreeMap::new();
    for (block, scores) in by_group {
        for (party, score) in (1..).map(PartyId).zip(scores) {
            let sketch = ExpertSketch { values: SketchValues::Score(*score), tokens: 0 };
            announced.entry(party).or_default().insert(*block, sketch);
        }
    }
    announced
}

fn withheld(experts: u16, slack: u16) -> (TestConsortium, CheckedPlan) {
    setting(&[1; 9], |settings| {
        *settings = with_withheld_sketches(template(experts, 5, 15));
        settings.scoring.shared_cohort = SharedCohort::Majority;
        settings.scoring.slack = slack;
        settings.scoring.fallback = Fallback::Skip;
    })
}

/// ALIGN-17
#[test]
fn low_scores_leave_members_out_and_no_score_does_not() {
    let setting = withheld(1, 0);
    let announced = scores(&[(
        EXPERT,
        [Some(900), Some(-5), Some(800), None, Some(700), Some(0), Some(850), Some(790), None],
    )]);
    let chosen = cohort(&setting, &announced, EXPERT);
    assert_eq!((chosen.choice, parties(&chosen)), (Choice::Aligned, vec![1, 3, 4, 5, 7, 8, 9]));
    let listed = [Some(900), Some(0), Some(800), None, Some(700), Some(0), Some(850), Some(790), None];
    assert_eq!(chosen.consensus, listed);
    let shared = cohort(&setting, &announced, SHARED);
    assert_eq!((shared.choice, parties(&shared)), (Choice::Aligned, vec![1, 3, 4, 5, 7, 8, 9]));
    let regions = cohort(&setting, &announced, BlockId(4));
    assert_eq!((regions.choice, regions.members.len()), (Choice::Everyone, 9));
}

/// ALIGN-17: even under the strictest fallback.
#[test]
fn an_expert_that_nobody_agrees_with_is_summed_over_everyone() {
    let setting = withheld(1, u16::MAX - 5);
    for undecided in [[None; 9], [Some(0); 9], [Some(-3); 9]] {
        let announced = scores(&[(EXPERT, undecided)]);
        for block in [EXPERT, SHARED] {
            let chosen = cohort(&setting, &announced, block);
            assert_eq!((chosen.choice, chosen.members.len()), (Choice::Everyone, 9), "{undecided:?}");
        }
    }
    let mut one = [None; 9];
    one[3] = Some(1);
    let chosen = cohort(&setting, &scores(&[(EXPERT, one)]), EXPERT);
    assert_eq!(chosen.choice, Choice::Void, "control: a score decides, and the slack leaves no cohort");
}

/// ALIGN-16, ALIGN-17: the experts of a group have one cohort, and an undecided one takes nothing from a majority.
#[test]
fn groups_share_their_scores() {
    let setting = withheld(3, 0);
    let mut first = [Some(500); 9];
    first[6] = Some(-500);
    // Experts 0 and 1 are a group, 2 is one by itself.
    let announced = scores(&[(BlockId(0), first), (BlockId(2), [Some(0); 9])]);
    for expert in [0, 1] {
        let chosen = cohort(&setting, &announced, BlockId(expert));
        assert_eq!((chosen.choice, parties(&chosen)), (Choice::Aligned, vec![1, 2, 3, 4, 5, 6, 8, 9]));
    }
    let shared = cohort(&setting, &announced, BlockId(4));
    assert_eq!(shared.consensus, [3, 3, 3, 3, 3, 3, 1, 3, 3].map(Some));
    assert_eq!(parties(&shared), [1, 2, 3, 4, 5, 6, 8, 9]);
}
