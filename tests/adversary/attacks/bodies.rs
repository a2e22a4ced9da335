//! Attacks by what the coordinator proposes: plans, rosters, seals, certificates.

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::{Party, Role};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, LateSketchMode, RoundPlan, RoundSettings};

use cloister_cluster::consortium::{consortium, party, with_parties};
use cloister_protocol::custodian::{SignedRecord, SignedStep};
use cloister_protocol::statement::{body_digest, sign};
use cloister_testkit::world::{CustodianNode, PartyDisk};
use cloister_wire::codec;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{Certificate, Seal2};

use crate::stage::{SEVEN, Stage, announcements, revealed, settings};

fn is_plan(message: &Message) -> bool {
    matches!(message, Message::Plan { .. })
}

fn is_seal1(message: &Message) -> bool {
    matches!(message, Message::ProposeSeal1 { .. })
}

fn is_seal2(message: &Message) -> bool {
    matches!(message, Message::ProposeSeal2 { .. })
}

fn is_sealed1(message: &Message) -> bool {
    matches!(message, Message::Sealed1 { .. })
}

fn is_sealed2(message: &Message) -> bool {
    matches!(message, Message::Sealed2 { .. })
}

pub(super) fn one_round_planned_twice() -> bool {
    let mut stage = Stage::started_to(1, is_plan);
    let second = stage.attacker.second_plan(0).unwrap();
    stage.deliver_to(1);
    stage.give(1, second).is_accepted()
}

pub(super) fn another_scale_after_an_abort() -> bool {
    let change = |settings: &mut RoundSettings| {
        settings.blocks.iter_mut().for_each(|block| block.scale.clip_steps *= 2);
    };
    is_taken_after_an_abort(Stage::seven(), change)
}

/// What was contributed was charged for a round without late sketches.
pub(super) fn late_sketches_after_an_abort() -> bool {
    is_taken_after_an_abort(Stage::seven(), |settings| settings.late_sketches = LateSketchMode::Optional)
}

/// What was contributed was charged for weights of 1.
pub(super) fn other_weights_after_an_abort() -> bool {
    is_taken_after_an_abort(Stage::seven(), |settings| settings.max_weight = 15)
}

/// Whether member 7, whose contribution an abort left, takes a plan with other settings.
fn is_taken_after_an_abort(mut stage: Stage, change: impl FnOnce(&mut RoundSettings)) -> bool {
    stage.run_to_a_plan_after_an_abort(change);
    stage.deliver_to(7).is_accepted()
}

pub(super) fn a_plan_for_each_member() -> bool {
    let mut stage = Stage::started_to(1, is_plan);
    let second = stage.attacker.second_plan(0).unwrap();
    stage.give(1, second);
    stage.train(1);
    stage.deliver_to(2);
    let other = announcements(&stage.seen)[&PartyId(1)].clone();
    stage.give(2, Message::Announcement(other)).is_accepted()
}

/// A stage before the second seal's certificate reaches anybody; these members uploaded nothing.
fn without_uploads_of(mut stage: Stage, lost: &[u32]) -> Stage {
    stage.world.start_round();
    stage.run_to(1, is_sealed1);
    lost.iter().for_each(|member| stage.world.silence_member(PartyId(*member)));
    stage.world.settle();
    stage.world.expire();
    stage.run_to(1, is_sealed2);
    stage
}

/// Everything that custodian 1 and member 1 reveal for the second seal.
fn revealed_without(lost: u32) -> Vec<(PartyId, Option<BlockId>)> {
    let mut stage = without_uploads_of(Stage::seven(), &[lost]);
    revealed(&stage.deliver_to(1).done)
}

pub(super) fn a_reveal_of_both_kinds() -> bool {
    let revealed = revealed_without(7);
    let mut for_absent = revealed.iter().filter(|(dealer, _)| *dealer == PartyId(7)).map(|(_, block)| block);
    for_absent.clone().any(Option::is_none) && for_absent.any(Option::is_some)
}

pub(super) fn a_self_seed_of_an_absent_member() -> bool {
    revealed_without(7).iter().any(|(dealer, block)| *dealer == PartyId(7) && block.is_some())
}

pub(super) fn a_self_seed_of_a_void_block() -> bool {
    let mut stage = without_uploads_of(Stage::with_split_minds(), &[1]);
    let Message::Sealed2 { certificate } = stage.sent_last(is_sealed2) else { unreachable!() };
    let void = certificate.parse().unwrap().void;
    assert!(!void.is_empty());
    let revealed = revealed(&stage.deliver_to(2).done);
    revealed.iter().any(|(_, block)| block.is_some_and(|block| void.contains(&block)))
}

pub(super) fn a_void_block_called_valid() -> bool {
    let mut stage = without_uploads_of_to_seal(Stage::with_split_minds(), 1);
    let Message::ProposeSeal2 { seal, uploads } = stage.sent_last(is_seal2) else { unreachable!() };
    let mut body: Seal2 = codec::decode(&seal).unwrap();
    assert!(!body.void.is_empty());
    body.void.clear();
    stage.give(2, Message::ProposeSeal2 { seal: codec::encode(&body), uploads }).vote().is_some()
}

/// A stage before the second seal is proposed to anybody; this member uploaded nothing.
fn without_uploads_of_to_seal(mut stage: Stage, lost: u32) -> Stage {
    stage.world.start_round();
    stage.run_to(1, is_sealed1);
    stage.world.silence_member(PartyId(lost));
    stage.world.run_until(|_, _, _| false);
    stage.world.expire();
    stage.run_to(1, is_seal2);
    stage
}

/// A round without the second member, in which three of the six others are of one organisation: four organisations.
pub(super) fn one_organisation_twice() -> bool {
    let mut parties: Vec<Party> = (1..=7).map(|number| party(number, 1)).collect();
    for sibling in [6, 7] {
        parties[sibling - 1].organisation = parties[0].organisation.clone();
        parties[sibling - 1].roles = vec![Role::Member];
    }
    let mut stage = Stage::new(with_parties(parties), settings(), 3);
    stage.world.silence_member(PartyId(2));
    stage.world.start_round();
    stage.finish();
    matches!(stage.reports()[0].ending, Ending::Closed { .. })
}

pub(super) fn a_roster_that_nobody_signed() -> bool {
    let consortium = Stage::seven().world.consortium;
    let text = "name = \"padded\"\nepoch = 2\n";
    let accepted = Epoch::accept(text, &[0; 64], consortium.governance);
    !matches!(accepted, Err(cloister_crypto::consortium::RefusedConsortium::Signature { .. }))
}

pub(super) fn a_floor_below_the_consortiums() -> bool {
    let stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, .. } = stage.sent_last(is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    body.settings.cohort_floor = 2;
    let epoch = &stage.world.consortium.epoch;
    CheckedPlan::check(body, epoch.consortium(), epoch.digest()).is_ok()
}

pub(super) fn a_cohort_of_a_victim_and_colluders() -> bool {
    let mut stage = Stage::started_to(1, is_seal1);
    let thin = stage.attacker.thin_cohort(0).unwrap();
    stage.give(1, thin).vote().is_some()
}

pub(super) fn a_second_manifest() -> bool {
    let mut stage = Stage::started_to(1, is_seal1);
    let second = stage.attacker.second_manifest(0).unwrap();
    stage.deliver_to(1).vote().is_some() && stage.give(1, second).vote().is_some()
}

pub(super) fn a_second_second_seal() -> bool {
    let mut stage = Stage::started_to(1, is_seal2);
    let second = stage.attacker.second_seal2(0, 1).unwrap();
    stage.deliver_to(1).vote().is_some() && stage.give(1, second).vote().is_some()
}

pub(super) fn a_second_seal_after_an_abort() -> bool {
    let mut stage = Stage::started_to(1, is_seal2);
    let abort = stage.attacker.abort(0).unwrap();
    stage.give(1, abort).vote().is_some() && stage.deliver_to(1).vote().is_some()
}

pub(super) fn an_abort_after_the_second_seal() -> bool {
    let mut stage = Stage::started_to(1, is_seal2);
    let abort = stage.attacker.abort(0).unwrap();
    stage.deliver_to(1).vote().is_some() && stage.give(1, abort).vote().is_some()
}

/// What custodian 1 wrote down in a round of seven, in which so many members were silent from the start.
fn journal_of(silent: u32) -> Vec<SignedRecord> {
    let mut stage = Stage::seven();
    silence(&mut stage, silent);
    stage.world.start_round();
    stage.finish();
    stage.world.nodes[&PartyId(1)].journal.signed.clone()
}

fn silence(stage: &mut Stage, silent: u32) {
    (0..silent).for_each(|lost| stage.world.silence_member(PartyId(SEVEN as u32 - lost)));
}

/// A round of other members, in which custodian 1 starts from a journal of what it signed in this round before.
fn with_journal(signed: Vec<SignedRecord>, silent: u32) -> Stage {
    let mut stage = Stage::seven();
    let node = stage.world.nodes.get_mut(&PartyId(1)).unwrap();
    node.journal = PartyDisk { signed, ..PartyDisk::default() };
    stage.world.restart(PartyId(1));
    stage.world.connect(PartyId(1));
    silence(&mut stage, silent);
    stage.world.start_round();
    stage.world.settle();
    stage
}

/// Whether custodian 1 signs the next body of a kind that it is asked to.
fn signs(mut stage: Stage, wanted: fn(&Message) -> bool) -> bool {
    stage.world.expire();
    stage.run_to(1, wanted);
    stage.deliver_to(1).vote().is_some()
}

pub(super) fn a_second_manifest_after_a_restart() -> bool {
    let mut signed = journal_of(0);
    signed.truncate(1);
    signs(with_journal(signed, 1), is_seal1)
}

/// Its journal has the second seal of this round alone, as if the first had been the same.
pub(super) fn a_second_second_seal_after_a_restart() -> bool {
    let mut signed = journal_of(0);
    signed.retain(|record| record.step == SignedStep::Outcome);
    signs(with_journal(signed, 1), is_seal2)
}

pub(super) fn a_second_seal_after_an_abort_and_a_restart() -> bool {
    signs(with_journal(journal_of(3), 1), is_seal2)
}

/// The coordinator plans for another edition of the consortium file, with the custodians' keys for that.
pub(super) fn a_plan_of_another_epoch() -> bool {
    let mut stage = Stage::started_to(1, is_plan);
    let mut weights = [1; SEVEN];
    weights[6] = 2;
    let mut other = Stage::new(consortium(&weights), settings(), 3);
    other.world.start_round();
    let Message::Plan { plan, receiving_keys, previous } = other.run_to(1, is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    body.previous = stage.world.consortium.epoch.digest();
    let plan = sign(stage.key(0), PartyId::COORDINATOR, &body);
    stage.give(1, Message::Plan { plan, receiving_keys, previous }).refusals().is_empty()
}

/// A custodian whose journal is a backup from before this round is asked to sign other seals than it did.
pub(super) fn a_seal_after_a_restored_backup() -> bool {
    let mut stage = restored();
    stage.run_to(1, is_seal1);
    stage.deliver_to(1).vote().is_some()
}

/// A round in which the first custodian comes back with an empty journal and says so.
fn restored() -> Stage {
    restored_after(0)
}

/// The same after so many rounds.
fn restored_after(rounds: usize) -> Stage {
    let mut stage = Stage::seven();
    for _ in 0..rounds {
        stage.world.start_round();
        stage.finish();
    }
    let restored = stage.world.fresh_custodian(PartyId(1), &PartyDisk::default()).restored_from_backup();
    let node = stage.world.nodes.get_mut(&PartyId(1)).unwrap();
    node.custodian = Some(CustodianNode::Honest(Box::new(restored)));
    stage.world.start_round();
    stage
}

/// Whether a custodian that was restored after so many rounds votes on both seals in the round after the one that it sat out.
fn votes_again(rounds: usize) -> [bool; 2] {
    let mut stage = restored_after(rounds);
    stage.finish();
    assert_eq!(stage.reports().len(), rounds + 1);
    stage.world.start_round();
    [is_seal1, is_seal2].map(|is_seal: fn(&Message) -> bool| {
        stage.run_to(1, is_seal);
        stage.deliver_to(1).vote().is_some()
    })
}

/// It signs all steps again if it has seen the epoch from its first round on, and else all but the second seal.
#[test]
fn a_restored_custodian_comes_back() {
    assert_eq!(votes_again(0), [true, true]);
    assert_eq!(votes_again(1), [true, false]);
}

/// A custodian that was restored in this epoch is asked, a round later, to open blocks: it does not know over whom they were opened.
pub(super) fn a_second_seal_without_memory() -> bool {
    votes_again(1)[1]
}

pub(super) fn a_round_left_without_a_close() -> bool {
    let mut stage = Stage::started_to(1, is_sealed2);
    let parameters = stage.world.coordinator.model().block_digests();
    let left = stage.forged_plan(2, Digest([9; 32]), parameters, None);
    stage.give(1, left).is_accepted()
}

/// The round ends without a sum, as no custodian can open a letter any more.
pub(super) fn a_request_that_takes_the_rounds_keys_away() -> bool {
    let mut stage = Stage::started_to(7, |message| matches!(message, Message::Plan { .. }));
    for party in 1..=7 {
        stage.give(party, Message::KeyRequest { round: Round(2) });
    }
    stage.finish();
    stage.reports().iter().all(|report| report.sums.is_empty())
}

pub(super) fn another_model_under_the_next_plan() -> bool {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.finish();
    let ending = stage.reports()[0].ending.clone();
    let Ending::Closed { certificate, .. } = &ending else { unreachable!() };
    let previous = body_digest(&certificate.body);
    let others = PerBlock::from_table(&settings().blocks, |_| Digest([9; 32]));
    let other = stage.forged_plan(2, previous, others, Some(ending));
    stage.give(1, other).is_accepted()
}

/// What member and custodian 1 reveal for a certificate of the second seal whose votes are changed.
fn revealed_for(change: impl FnOnce(&mut Vec<cloister_wire::statement::Vote>)) -> usize {
    let mut stage = Stage::started_to(1, is_sealed2);
    let Message::Sealed2 { certificate } = stage.sent_last(is_sealed2) else { unreachable!() };
    let mut votes = certificate.votes.clone();
    change(&mut votes);
    let forged = Certificate::new(certificate.body.clone(), votes);
    revealed(&stage.give(1, Message::Sealed2 { certificate: forged }).done).len()
}

pub(super) fn a_certificate_below_the_quorum() -> bool {
    revealed_for(|votes| votes.truncate(4)) > 0
}

pub(super) fn a_certificate_with_a_signer_twice() -> bool {
    revealed_for(|votes| votes[4] = votes[3]) > 0
}

/// Three custodians sign one second seal and four another: neither is a quorum.
pub(super) fn an_equivocation_that_two_halves_sign() -> bool {
    let mut stage = Stage::started_to(1, is_seal2);
    let second = stage.attacker.second_seal2(0, 1).unwrap();
    let Message::ProposeSeal2 { seal, .. } = second.clone() else { unreachable!() };
    let signatures: Vec<_> =
        [2, 3, 4].map(|party| (party, stage.give(party, second.clone()).vote())).into_iter().collect();
    let certificate: Certificate<Seal2> = Certificate::new(seal, crate::stage::votes(signatures));
    let uploaded: Vec<PartyId> =
        certificate.parse().unwrap().uploaded.iter().map(|listed| listed.member).collect();
    let receiver = (1..=SEVEN as u32).find(|party| uploaded.contains(&PartyId(*party))).unwrap();
    !revealed(&stage.give(receiver, Message::Sealed2 { certificate }).done).is_empty()
}
