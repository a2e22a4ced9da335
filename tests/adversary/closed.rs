//! Blocks that members do not give, or custodians do not help to open, as they may have been opened before (`ROUND-38`).

use cloister_params::id::{BlockId, PartyId, Round};
use cloister_testkit::world::{CustodianNode, Journal};
use cloister_wire::message::Ending;
use cloister_wire::opening::{ForgottenBlock, OpeningRecord};

use crate::stage::{SEVEN, Stage};

/// The blocks that the last round's closing lists.
fn opened(stage: &Stage) -> Vec<BlockId> {
    let Some(Ending::Closed { certificate, .. }) = stage.reports().last().map(|report| &report.ending) else {
        panic!("the round closes");
    };
    certificate.parse().unwrap().sums.iter().map(|sum| sum.block).collect()
}

/// The members of each block's cohort in the last round.
fn cohort_members(stage: &Stage, block: BlockId) -> Vec<PartyId> {
    let cohorts = &stage.reports().last().unwrap().cohorts;
    cohorts[block.0 as usize].members.iter().map(|listed| listed.member).collect()
}

/// ROUND-38
#[test]
fn a_restored_member_gives_no_block_until_its_parameters_are_others() {
    let mut stage = Stage::seven();
    let restored = PartyId(1);
    let member = stage.world.fresh_member(restored, &Journal::default()).restored_from_backup();
    stage.world.nodes.get_mut(&restored).unwrap().member = Some(member);
    let shared = BlockId(4);
    stage.world.start_round();
    stage.finish();
    assert_eq!(cohort_members(&stage, shared), (2..=SEVEN as u32).map(PartyId).collect::<Vec<_>>());
    assert!(opened(&stage).contains(&shared), "the others are enough");
    stage.world.start_round();
    stage.finish();
    assert!(cohort_members(&stage, shared).contains(&restored), "control: the parameters are others");
}

/// What a round opens where some custodians do not know whether they opened block 0 before.
fn opened_beside_forgetful_custodians(custodians: u32) -> Vec<BlockId> {
    let mut stage = Stage::seven();
    let kind = stage.world.template_mut().blocks[0].shape.kind;
    let parameters = stage.world.coordinator.model().block_digests()[0];
    let forgotten = OpeningRecord::Forgotten { blocks: vec![ForgottenBlock { kind, parameters }] };
    for id in (1..=custodians).map(PartyId) {
        let journal = Journal { openings: vec![forgotten.clone()], ..Journal::default() };
        let custodian = stage.world.fresh_custodian(id, &journal);
        stage.world.nodes.get_mut(&id).unwrap().custodian = Some(CustodianNode::Honest(Box::new(custodian)));
    }
    stage.world.start_round();
    stage.finish();
    assert_eq!(stage.reports().last().map(|report| report.round), Some(Round::FIRST));
    opened(&stage)
}

/// ROUND-38: five of seven custodians seal.
#[test]
fn a_block_that_too_few_custodians_open_stays_closed_and_the_others_go_on() {
    let all: Vec<BlockId> = (0..6).map(BlockId).collect();
    assert_eq!(opened_beside_forgetful_custodians(2), all, "control: five others are enough");
    assert_eq!(opened_beside_forgetful_custodians(3), all[1..]);
}
