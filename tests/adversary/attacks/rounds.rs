//! Attacks over several rounds and epochs: one update summed twice, and bad dealers that come back.

use std::collections::BTreeMap;

use cloister_cluster::consortium::{consortium, next_epoch};
use cloister_params::consortium::{LastEnding, PublicBytes};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::LateSketchMode;
use cloister_params::plan::RoundPlan;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::openings::OpeningHistory;
use cloister_protocol::statement::{body_digest, sign};
use cloister_testkit::world::Observation;
use cloister_testkit::world::PartyDisk;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};

use crate::lying::LENGTH;
use crate::stage::{FIRST_EXPERT, ROUTER, SEVEN, Stage, announcements, settings};

const SILENT: PartyId = PartyId(7);
const VICTIM: PartyId = PartyId(6);

fn is_plan(message: &Message) -> bool {
    matches!(message, Message::Plan { .. })
}

/// Seven members whose blocks are all long enough for late sketches, which the plan demands, and summed over everybody.
fn all_sketched() -> Stage {
    let mut settings = settings();
    settings.late_sketches = LateSketchMode::Required;
    settings.blocks.iter_mut().for_each(|block| block.shape.length = LENGTH);
    (settings.scoring.spread_factor, settings.scoring.consensus_fraction) = (u16::MAX, 0);
    Stage::new(consortium(&[1; SEVEN]), settings, 3)
}

/// The same with experts alone that are long enough: the other blocks' sums are applied whatever members say of them.
fn experts_sketched() -> Stage {
    let mut settings = settings();
    settings.late_sketches = LateSketchMode::Required;
    let experts = settings.blocks.iter_mut().filter(|block| block.shape.kind.is_scored());
    experts.for_each(|block| block.shape.length = LENGTH);
    (settings.scoring.spread_factor, settings.scoring.consensus_fraction) = (u16::MAX, 0);
    Stage::new(consortium(&[1; SEVEN]), settings, 3)
}

/// Runs a round in which member 7 says nothing of its upload: every sum is opened, and none is applied. Some members are not
/// told how it ended.
fn round_that_applies_nothing(stage: &mut Stage, untold: &[PartyId]) {
    let before = stage.world.coordinator.model().digest();
    round_with_a_silent_member(stage, untold);
    assert_eq!(stage.world.coordinator.model().digest(), before, "the model is what it was");
}

/// Runs a round in which member 7 says nothing of its upload: no sum of a sketched block is applied.
fn round_with_a_silent_member(stage: &mut Stage, untold: &[PartyId]) {
    let before = stage.reports().len();
    stage.world.start_round();
    while stage.reports().len() == before {
        let lost = stage.world.run_until(|from, to, frame| match frame {
            Frame::Message(Message::LateSketches(_)) => from == SILENT,
            Frame::Message(Message::Ended(_)) => untold.contains(&to),
            _ => false,
        });
        match lost {
            Some((from, to, _)) => {
                stage.world.lose_next(from, to);
            }
            None => {
                stage.world.expire();
            }
        }
        stage.note();
    }
}

/// The words of every sum that the last round published.
fn published(stage: &Stage) -> BTreeMap<BlockId, Vec<i32>> {
    let mut sums: BTreeMap<BlockId, Vec<i32>> = BTreeMap::new();
    for frame in stage.world.coordinator.checkpoint().last_sums {
        let Frame::Chunk(chunk) = frame else { continue };
        let words = chunk.bytes.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word));
        sums.entry(chunk.block).or_default().extend(words);
    }
    sums
}

/// A round over everybody whose closing leaves the model as it was, then one without the victim: the sums' difference is
/// the victim's integers.
pub(super) fn a_second_cohort_from_one_model() -> bool {
    let mut stage = all_sketched();
    let parameters = stage.world.coordinator.model().block_digests();
    let victim = stage.world.contribution(VICTIM, &parameters);
    round_that_applies_nothing(&mut stage, &[]);
    let with = published(&stage);
    stage.world.silence_member(VICTIM);
    round_that_applies_nothing(&mut stage, &[]);
    differences_that_are(&victim, &with, &published(&stage)) == 6
}

/// The same where other blocks are applied in between, so that the second round starts from another model: the experts'
/// parameters are what they were.
pub(super) fn a_second_cohort_from_the_same_parameters_in_another_model() -> bool {
    let mut stage = experts_sketched();
    let parameters = stage.world.coordinator.model().block_digests();
    let victim = stage.world.contribution(VICTIM, &parameters);
    round_with_a_silent_member(&mut stage, &[]);
    let (with, after) = (published(&stage), stage.world.coordinator.model().block_digests());
    let changed: Vec<BlockId> = parameters
        .iter()
        .filter(|(block, before)| after[*block] != **before)
        .map(|(block, _)| block)
        .collect();
    assert!(!changed.is_empty() && changed.iter().all(|block| *block >= ROUTER), "the experts alone stay");
    stage.world.silence_member(VICTIM);
    round_with_a_silent_member(&mut stage, &[]);
    differences_that_are(&victim, &with, &published(&stage)) == 3
}

/// In how many blocks the difference of two rounds' sums is a member's integers.
fn differences_that_are(
    victim: &Contribution,
    with: &BTreeMap<BlockId, Vec<i32>>,
    without: &BTreeMap<BlockId, Vec<i32>>,
) -> usize {
    let difference = |block: &BlockId| -> Option<Vec<i32>> {
        let pairs = with.get(block)?.iter().zip(without.get(block)?);
        Some(pairs.map(|(one, other)| one.wrapping_sub(*other)).collect())
    };
    let blocks = victim.integers.iter();
    blocks.filter(|(block, integers)| difference(block).as_ref() == Some(integers)).count()
}

/// The coordinator names other parameters of the experts than the model has, so that nobody knows that they were opened.
pub(super) fn parameters_that_the_model_does_not_have() -> bool {
    let mut stage = experts_sketched();
    round_with_a_silent_member(&mut stage, &[]);
    stage.world.start_round();
    let Message::Plan { mut plan, receiving_keys, previous } = stage.withhold_from(1, is_plan) else {
        unreachable!()
    };
    let mut body: RoundPlan = plan.parse().unwrap();
    body.parameters[FIRST_EXPERT] = Digest([9; 32]);
    plan = sign(stage.key(0), PartyId::COORDINATOR, &body);
    let answer = stage.give(1, Message::Plan { plan, receiving_keys, previous });
    answer.faults.is_empty()
}

/// The closing reaches a member by the next plan alone: its contribution must not survive that.
pub(super) fn a_contribution_summed_twice() -> bool {
    let mut stage = all_sketched();
    round_that_applies_nothing(&mut stage, &[PartyId(1)]);
    stage.world.start_round();
    stage.world.settle();
    // Its custodian gives no key for a round while it knows no end of the last one (`ROUND-28`).
    stage.world.expire();
    stage.run_to(1, is_plan);
    let answer = stage.deliver_to(1);
    answer.done.contains(&Observation::Announced(PartyId(1), Round(2)))
}

/// Late sketches of updates that nearly repeat themselves, round after round from the same parameters, until they make up the update.
pub(super) fn late_sketches_again_from_one_model() -> bool {
    let mut stage = all_sketched();
    round_that_applies_nothing(&mut stage, &[]);
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::LateRequest { .. }));
    let messages = stage.deliver_to(1).messages();
    let rows = |message: &Message| match message {
        Message::LateSketches(signed) => signed.parse().is_ok_and(|body| !body.sketches.is_empty()),
        _ => false,
    };
    messages.iter().any(rows)
}

/// The next consortium file starts on another ending than member 1 knows.
pub(super) fn an_epoch_on_another_ending() -> bool {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.finish();
    let model = stage.world.coordinator.model().digest();
    let records = stage.world.nodes[&PartyId(1)].journal.openings.clone();
    let other = LastEnding { round: Round(1), digest: PublicBytes([9; 32]) };
    let next = next_epoch(&stage.world.consortium, model, Some(other));
    OpeningHistory::new(records).begin(&next.epoch).is_ok()
}

/// The next consortium file starts from parameters from which members have uploaded, with custodians that know nothing of it.
pub(super) fn an_epoch_on_opened_parameters() -> bool {
    let mut stage = Stage::seven();
    let model = stage.world.coordinator.model().digest();
    stage.world.start_round();
    stage.finish();
    let Ending::Closed { certificate, .. } = &stage.reports()[0].ending else { unreachable!() };
    let digest = PublicBytes(body_digest(&certificate.body).0);
    let next = next_epoch(&stage.world.consortium, model, Some(LastEnding { round: Round(1), digest }));
    let mut second = Stage::new(next, settings(), 3);
    for (id, node) in &stage.world.nodes {
        let kept = node.journal.openings.clone();
        let member = second.world.fresh_member(*id, &PartyDisk { openings: kept, ..PartyDisk::default() });
        second.world.nodes.get_mut(id).unwrap().member = Some(member);
    }
    second.world.start_round();
    second.finish();
    !published(&second).is_empty()
}

/// What the members move one way in the first round they move back in the second: the third starts from the parameters of the
/// first, and leaves the victim out.
pub(super) fn a_second_cohort_when_parameters_come_back() -> bool {
    let mut stage = all_sketched();
    stage.world.template_mut().late_sketches = LateSketchMode::Off;
    let parameters = stage.world.coordinator.model().block_digests();
    let mut victim = stage.world.contribution(VICTIM, &parameters);
    victim.integers[FIRST_EXPERT].iter_mut().for_each(|integer| *integer *= SEVEN as i32);
    let mut sums = Vec::new();
    // Means of seven of them are whole steps, so that nothing is rounded on the way back.
    for factor in [SEVEN as i32, -(SEVEN as i32), SEVEN as i32] {
        for member in (1..=SEVEN as u32).map(PartyId) {
            let mut contribution = stage.world.contribution(member, &parameters);
            contribution.integers[FIRST_EXPERT].iter_mut().for_each(|integer| *integer *= factor);
            stage.world.fixed_contributions.insert(member, contribution);
        }
        stage.world.start_round();
        stage.finish();
        sums.push(published(&stage));
        stage.world.fixed_contributions.clear();
        if sums.len() == 2 {
            let back = stage.world.coordinator.model().block_digests();
            assert_eq!(back[FIRST_EXPERT], parameters[FIRST_EXPERT], "the first expert is what it was");
            stage.world.silence_member(VICTIM);
        }
    }
    let first = |sums: &BTreeMap<BlockId, Vec<i32>>| {
        sums.iter()
            .filter(|(block, _)| **block == BlockId(0))
            .map(|(block, sum)| (*block, sum.clone()))
            .collect()
    };
    differences_that_are(&victim, &first(&sums[0]), &first(&sums[2])) == 1
}

/// Member 3 shares its mask key by another polynomial than it commits to; then it takes part in the next round.
pub(super) fn a_bad_dealer_in_the_next_round() -> bool {
    let mut stage = Stage::seven();
    deal_badly(&mut stage);
    stage.finish();
    stage.world.start_round();
    stage.finish();
    stage.reports()[1].announced.contains(&PartyId(3))
}

fn deal_badly(stage: &mut Stage) {
    stage.world.start_round();
    stage.take_from(3, |message| matches!(message, Message::Announcement(_)));
    let mut body = announcements(&stage.seen)[&PartyId(3)].parse().unwrap();
    body.mask_key.commitments[1] = body.mask_key.commitments[2];
    let bad = Message::Announcement(sign(stage.key(3), PartyId(3), &body));
    stage.world.say(PartyId(3), Frame::Message(bad)).unwrap();
}

/// The coordinator keeps an honest member out by calling it barred.
pub(super) fn a_member_barred_without_evidence() -> bool {
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, receiving_keys, previous } = stage.sent_last(is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    body.barred = vec![PartyId(2)];
    let plan = sign(stage.key(0), PartyId::COORDINATOR, &body);
    stage.give(1, Message::Plan { plan, receiving_keys, previous }).is_accepted()
}

/// ROUND-33, PLAN-14: evidence bars for sixteen rounds and lowers no floor, and a honest dealer's letter is no evidence.
#[test]
fn bars_end_and_need_evidence() {
    let mut stage = Stage::seven();
    deal_badly(&mut stage);
    stage.finish();
    assert!(!stage.reports()[0].announced.contains(&PartyId(3)), "it is out of its own round");
    for round in 1..=17 {
        stage.world.start_round();
        stage.finish();
        let report = stage.reports()[round];
        assert_eq!(report.announced.contains(&PartyId(3)), round == 17, "in round {}", round + 1);
        assert_eq!(report.announced.len(), if round == 17 { 7 } else { 6 });
    }
}
