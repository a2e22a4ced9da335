//! The sums are right: whatever members are lost, each opened block is the plain integer sum over its cohort, and
//! below the thresholds there is no sum.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use cloister_cluster::consortium::{TestConsortium, consortium};
use cloister_cluster::plan::template;
use cloister_cluster::{Cluster, DropOut};
use cloister_params::floors::Floors;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_protocol::opening::OpenedSum;
use cloister_protocol::statement::sign;
use cloister_transcript::EntryKind;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{Announcement, Closing};
use proptest::prelude::*;

fn cluster(weights: &[u8], experts: u16, seed: u64) -> Cluster {
    let floor = Floors::for_roster(weights.len(), weights.len()).unwrap().cohort;
    Cluster::new(consortium(weights), template(experts, floor, 15), seed)
}

/// The plain sums over the sealed cohorts, from the members' own integers.
fn check_sums(cluster: &Cluster, report: &RoundReport) {
    let uploaded: BTreeSet<PartyId> = report.uploaded.iter().copied().collect();
    let floor = cluster.consortium.epoch.consortium().floors().cohort;
    let Ending::Closed { certificate, .. } = &report.ending else { panic!("the round closed") };
    let closing = certificate.parse().unwrap();
    for cohort in &report.cohorts {
        let present: Vec<_> =
            cohort.members.iter().filter(|listed| uploaded.contains(&listed.member)).collect();
        let listed = closing.sums.iter().find(|sum| sum.block == cohort.block);
        assert_eq!(
            listed.is_some(),
            present.len() >= floor,
            "{} is opened iff it reaches the floor",
            cohort.block
        );
        let Some(listed) = listed else { continue };
        let integers_of = |member: PartyId| &cluster.contributions[&member].integers[cohort.block];
        let length = integers_of(present[0].member).len();
        let plain: Vec<u8> = (0..length)
            .flat_map(|at| {
                let sum: i64 =
                    present.iter().map(|m| i64::from(m.weight) * i64::from(integers_of(m.member)[at])).sum();
                (sum as u32).to_le_bytes()
            })
            .collect();
        assert_eq!(listed.weight, present.iter().map(|m| u32::from(m.weight)).sum::<u32>());
        let digest = published_digest(cohort.block, &plain);
        assert_eq!(listed.sum, digest, "{}: the opened sum is the plain one", cohort.block);
    }
    assert_eq!(closing.model, report.model.digest());
}

fn published_digest(block: BlockId, packed: &[u8]) -> Digest {
    OpenedSum::digest(block, packed)
}

fn drop_out() -> impl Strategy<Value = DropOut> {
    prop_oneof![
        Just(DropOut::BeforeAnnouncing),
        Just(DropOut::AfterAnnouncing),
        (0usize..6).prop_map(DropOut::InUpload),
        Just(DropOut::BeforeRevealing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// MASK-09, MASK-10, ROUND-02, ROUND-14
    #[test]
    fn every_opened_sum_is_the_plain_sum(
        weights in prop::collection::vec(1u8..=15, 5..=12),
        experts in 1u16..5,
        seed: u64,
        losses in prop::collection::vec((any::<prop::sample::Index>(), drop_out()), 0..4),
        off in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut cluster = cluster(&weights, experts, seed);
        let floors = cluster.consortium.epoch.consortium().floors();
        let n = weights.len();
        let lost: BTreeSet<PartyId> =
            losses.iter().map(|(index, _)| PartyId(index.index(n) as u32 + 1)).collect();
        for (index, when) in &losses {
            cluster.drop_member(PartyId(index.index(n) as u32 + 1), *when);
        }
        let silent: BTreeSet<PartyId> = off.iter().map(|index| PartyId(index.index(n) as u32 + 1)).collect();
        for party in &silent {
            cluster.stop_custodian(*party);
        }
        let report = cluster.run_round();
        let enough_custodians = n - silent.len() >= floors.seal_quorum;
        if !enough_custodians {
            prop_assert!(report.is_none(), "no certificate without a quorum");
            return Ok(());
        }
        let report = report.expect("a quorum ends every round");
        match &report.ending {
            Ending::Closed { .. } => check_sums(&cluster, &report),
            Ending::Aborted(_) => {
                prop_assert!(n - lost.len() < floors.cohort, "aborted only below the floor");
                prop_assert!(report.sums.is_empty());
            }
        }
        let up = cluster.members_up();
        for (id, node) in cluster.parties.iter().filter(|(id, _)| up.contains(id)) {
            prop_assert_eq!(node.member.model().digest(), report.model.digest(), "{} holds the model", id);
        }
    }
}

/// The scenario of the design: seven parties, losses at every step, two custodians off.
fn scenario(custodians_off: &[u32]) -> (Cluster, Option<RoundReport>) {
    let mut cluster = cluster(&[1; 7], 4, 7);
    cluster.drop_member(PartyId(7), DropOut::AfterAnnouncing);
    cluster.drop_member(PartyId(4), DropOut::BeforeRevealing);
    for party in custodians_off {
        cluster.stop_custodian(PartyId(*party));
    }
    let report = cluster.run_round();
    (cluster, report)
}

/// ROUND-01, ROUND-15
#[test]
fn losses_at_every_step_and_two_custodians_off_leave_exact_sums() {
    let (cluster, report) = scenario(&[4, 6]);
    let report = report.expect("five custodians are a quorum of seven");
    check_sums(&cluster, &report);
    assert!(!report.uploaded.contains(&PartyId(7)));
    assert!(cluster.events.contains(&Event::Recovering(vec![PartyId(7)])));
    assert!(cluster.events.contains(&Event::Recovering(vec![PartyId(4)])));
}

/// ROUND-05
#[test]
fn with_a_third_custodian_off_there_is_no_sum() {
    let (cluster, report) = scenario(&[4, 6, 7]);
    assert!(report.is_none());
    assert!(cluster.events.iter().any(|event| matches!(event, Event::QuorumLost(_))));
}

/// PLAN-05, ROUND-08
#[test]
fn three_rounds_follow_each_other() {
    let mut cluster = cluster(&[1; 6], 2, 3);
    for number in 1..=3 {
        let report = cluster.run_round().expect("nobody is lost");
        assert_eq!(report.round.0, number);
        check_sums(&cluster, &report);
    }
}

/// ROUND-03
#[test]
fn too_few_announcements_abort_and_the_next_round_takes_the_same_contributions() {
    let mut cluster = cluster(&[1; 5], 2, 5);
    cluster.drop_member(PartyId(1), DropOut::BeforeAnnouncing);
    cluster.drop_member(PartyId(2), DropOut::BeforeAnnouncing);
    let report = cluster.run_round().expect("the custodians are all there");
    assert!(matches!(report.ending, Ending::Aborted(_)));
    assert!(report.sums.is_empty());
}

/// ROUND-23
#[test]
fn a_member_that_missed_closings_gets_the_model_and_takes_part_again() {
    let mut cluster = cluster(&[1; 7], 2, 9);
    cluster.drop_member(PartyId(3), DropOut::InUpload(1));
    for _ in 0..2 {
        assert!(!cluster.run_round().expect("nobody else is lost").uploaded.contains(&PartyId(3)));
        // The same routing twice would leave its block as it is, closed to other cohorts (ROUND-30).
        cluster.contributions.values_mut().for_each(|contribution| contribution.integers[BlockId(4)][0] += 1);
    }
    cluster.restart_member(PartyId(3), Some(Round(1)));
    let report = cluster.run_round().expect("nobody is lost");
    assert!(report.uploaded.contains(&PartyId(3)));
    check_sums(&cluster, &report);
    assert_eq!(cluster.parties[&PartyId(3)].member.model().digest(), report.model.digest());
}

/// The number of the shared block in a template with two experts.
const SHARED: BlockId = BlockId(3);

/// Three rounds: the second takes the shared block back to the parameters before the first. In the third a
/// member is lost before its upload, if asked for.
fn rounds_that_return(third_loses_a_member: bool) -> (Cluster, Option<RoundReport>) {
    let mut cluster = cluster(&[1; 5], 2, 12);
    // Equal integers of all members make averages that are exact, so that their opposites take them back.
    let everyones = cluster.contributions[&PartyId(1)].integers[SHARED].clone();
    let start = cluster.coordinator.model().block_digests()[SHARED];
    for sign in [1, -1] {
        for contribution in cluster.contributions.values_mut() {
            contribution.integers[SHARED] = everyones.iter().map(|integer| sign * integer).collect();
            // Other blocks must move on, or they would be repeated themselves.
            contribution.integers[BlockId(4)][0] += 1;
        }
        cluster.run_round().expect("nobody is lost");
    }
    assert_eq!(cluster.coordinator.model().block_digests()[SHARED], start);
    if third_loses_a_member {
        cluster.drop_member(PartyId(5), DropOut::AfterAnnouncing);
    }
    let report = cluster.run_round();
    (cluster, report)
}

/// ROUND-30: custodians reject a second seal that does not list what they know to be repeated, so a coordinator
/// that forgot an opening would propose a seal that nobody signs, and the round would never end.
#[test]
fn a_round_ends_when_parameters_of_an_earlier_round_return() {
    let (cluster, report) = rounds_that_return(true);
    let report = report.expect("the coordinator remembers what custodians remember");
    assert!(
        cluster
            .events
            .iter()
            .any(|event| matches!(event, Event::Repeated(blocks) if blocks.contains(&SHARED)))
    );
    assert!(!report.opened().contains(&SHARED));
    // Control: over the same members it is opened again.
    let (control, report) = rounds_that_return(false);
    assert!(report.expect("nobody is lost").opened().contains(&SHARED));
    assert!(
        !control
            .events
            .iter()
            .any(|event| matches!(event, Event::Repeated(blocks) if blocks.contains(&SHARED)))
    );
}

/// ROUND-04: a member that restarts within a round has lost its secrets and does not announce again.
#[test]
fn a_member_that_restarts_sits_the_round_out() {
    let mut cluster = cluster(&[1; 6], 2, 9);
    cluster.restart_member(PartyId(3), Some(Round(1)));
    let report = cluster.run_round().expect("nobody is lost");
    assert!(!report.announced.contains(&PartyId(3)));
    let report = cluster.run_round().expect("nobody is lost");
    assert!(report.announced.contains(&PartyId(3)));
}

/// What a coordinator says that changes the sum of block 0 and asks custodians to sign for it.
fn wrong_sum(_: PartyId, frame: Frame) -> Frame {
    change_closing(frame, |body, _| body.sums[0].sum.0[0] ^= 1)
}

/// The same without asking anybody to recompute that block.
fn wrong_sum_unasked(_: PartyId, frame: Frame) -> Frame {
    change_closing(frame, |body, recompute| {
        body.sums[0].sum.0[0] ^= 1;
        recompute.clear();
    })
}

fn change_closing(frame: Frame, change: impl FnOnce(&mut Closing, &mut Vec<BlockId>)) -> Frame {
    let Frame::Message(Message::ProposeClosing { closing, mut recompute }) = frame else {
        return frame;
    };
    let mut body: Closing = codec::decode(&closing).unwrap();
    change(&mut body, &mut recompute);
    let closing = codec::encode(&body);
    Frame::Message(Message::ProposeClosing { closing, recompute })
}

/// ROUND-22, with its control: custodians that are not asked to recompute sign the same lie, and the certificate
/// without recomputations is refused by whoever gets it.
#[test]
fn a_closing_with_a_wrong_sum_is_signed_by_nobody_who_recomputes_it() {
    let mut cluster = cluster(&[1; 6], 2, 4);
    cluster.lie = Some(wrong_sum);
    assert!(cluster.run_round().is_none());
    let refusals = cluster.faults.iter().filter(|(_, fault)| fault.to_string().contains("lists another sum"));
    let floors = cluster.consortium.epoch.consortium().floors();
    assert!(refusals.count() > floors.malicious_custodians);
    let mut control = self::cluster(&[1; 6], 2, 4);
    control.lie = Some(wrong_sum_unasked);
    assert!(control.run_round().is_none());
    assert!(!control.faults.iter().any(|(_, fault)| fault.to_string().contains("lists another sum")));
}

const BAD_DEALER: PartyId = PartyId(2);

/// A dealer whose letters share its seed key by another polynomial than the committed one.
fn bad_letters(consortium: &TestConsortium, from: PartyId, frame: Frame) -> Frame {
    match frame {
        Frame::Message(Message::Announcement(signed)) if from == BAD_DEALER => {
            let mut body = signed.parse().unwrap();
            body.seed_key.commitments[1] = body.seed_key.commitments[2];
            Frame::Message(Message::Announcement(sign(&consortium.keys[&from], from, &body)))
        }
        frame => frame,
    }
}

/// A custodian that complains of a good letter, with evidence about another.
fn false_complaint(_: &TestConsortium, from: PartyId, frame: Frame) -> Frame {
    match frame {
        Frame::Message(Message::LetterOpened { round, dealer }) if from == PartyId(1) => {
            Frame::Message(Message::LetterFault { round, dealer, agreed: [7; 32], proof: [0; 64] })
        }
        frame => frame,
    }
}

/// ROUND-11, ROUND-24: without the proofs, no custodian would sign, and one bad dealer would end every round.
#[test]
fn bad_letters_cost_their_dealer_the_round_and_nobody_else() {
    let mut cluster = cluster(&[1; 6], 2, 6);
    cluster.spoil = Some(bad_letters);
    let report = cluster.run_round().expect("the others are enough");
    assert!(!report.announced.contains(&BAD_DEALER) && report.uploaded.len() == 5);
    check_sums(&cluster, &report);
    let named = |event: &Event| matches!(event, Event::BadLetter { dealer: BAD_DEALER, .. });
    assert!(cluster.events.iter().any(named));
}

/// ROUND-24
#[test]
fn a_complaint_without_proof_counts_nothing() {
    let mut cluster = cluster(&[1; 6], 2, 6);
    cluster.spoil = Some(false_complaint);
    let report = cluster.run_round().expect("nobody is lost");
    assert_eq!(report.uploaded.len(), 6);
    assert!(cluster.faults.iter().any(|(_, fault)| fault.to_string().contains("is not proven")));
}

/// MASK-01
#[test]
fn keys_and_what_shares_them_are_fresh_each_round() {
    let mut cluster = cluster(&[1; 6], 3, 8);
    let mut committed = Vec::new();
    for _ in 0..2 {
        let report = cluster.run_round().expect("nobody is lost");
        let announcements = report.log.entries().iter().filter(|entry| entry.kind == EntryKind::Announcement);
        for entry in announcements {
            let body: Announcement = codec::decode(&entry.body).unwrap();
            committed.extend(body.mask_key.commitments);
            committed.extend(body.seed_key.commitments);
        }
    }
    assert_eq!(committed.len(), 2 * 6 * 2 * 4);
    let distinct: BTreeSet<[u8; 32]> = committed.iter().copied().collect();
    assert_eq!(distinct.len(), committed.len());
}
