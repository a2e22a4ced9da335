//! Blocks that members do not give, as they may have given them before (`ROUND-38`).

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_params::id::{BlockId, PartyId};
use cloister_testkit::world::PartyDisk;
use cloister_wire::message::Ending;

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

/// ROUND-38, ALIGN-13
#[test]
fn a_restored_member_gives_no_block_until_its_parameters_are_others() {
    let mut stage = Stage::seven();
    let restored = PartyId(1);
    let member = stage.world.fresh_member(restored, &PartyDisk::default()).restored_from_backup();
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

/// The blocks that are opened without the last member, after two rounds with it, where a layer has so many experts.
fn opened_without_the_last(experts: u16) -> Vec<BlockId> {
    let mut stage = Stage::new(consortium(&[1; SEVEN]), template(experts, 5, 1), 3);
    for _ in 0..2 {
        stage.world.start_round();
        stage.finish();
    }
    stage.world.silence_member(PartyId(SEVEN as u32));
    stage.world.start_round();
    stage.finish();
    opened(&stage)
}

/// ROUND-30: routing over a single expert is the same after each round, and with it the members' weights of the router, whatever
/// the router's own parameters are.
#[test]
fn a_router_is_not_opened_over_others_while_routing_stays_the_same() {
    assert!(!opened_without_the_last(1).contains(&BlockId(1)));
    assert!(opened_without_the_last(2).contains(&BlockId(2)), "control: routing over two experts changes");
}
