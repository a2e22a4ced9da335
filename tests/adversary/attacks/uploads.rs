//! Attacks by what members say: letters, announcements, reveals, settings of their sums, uploads.

use cloister_crypto::group::{Element, ScalarSecret, prove_knowledge};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::letter;
use cloister_crypto::sharing::{DealingContext, DealtKey, SharingSecret};
use cloister_params::block::BlockKind;
use cloister_params::fixed::RingWidth;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, LateSketchMode, RoundPlan, RoundSettings};
use cloister_protocol::ending::KnownEnding;
use cloister_protocol::model::Model;
use cloister_protocol::statement::{body_digest, sign};
use cloister_testkit::world::Observation;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message, Reveal, RevealedSecret};
use cloister_wire::statement::{Announcement, Certificate, Closing, SumCheck};

use crate::lying::{
    Lie, answers, ask_about_another_sum, before_blame, claims_nothing, half_the_ring, hides_half_the_ring,
    outcome, run, stage,
};
use crate::stage::{ROUTER, SEVEN, SHARED, Stage, announcements, random, set_consistency_weight, votes};

/// The letter that one member sealed for a custodian.
fn letter_of(stage: &Stage, from: u32, to: u32) -> Vec<u8> {
    let found = stage.seen.iter().find_map(|observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Letter { custodian, sealed, .. }))
            if (member.0, custodian.0) == (from, to) =>
        {
            Some(sealed.clone())
        }
        _ => None,
    });
    found.unwrap()
}

fn announced() -> Stage {
    Stage::started_to(1, |message| matches!(message, Message::ProposeSeal1 { .. }))
}

fn give_letter(stage: &mut Stage, dealer: u32, sealed: Vec<u8>) -> bool {
    let (dealer, custodian) = (PartyId(dealer), PartyId(1));
    stage.give(1, Message::Letter { round: Round(1), dealer, custodian, sealed }).is_accepted()
}

/// The coordinator seals shares of its own to a custodian, in a member's name, so that the custodian complains of that member.
pub(super) fn a_swapped_letter() -> bool {
    let is_plan: fn(&Message) -> bool = |message| matches!(message, Message::Plan { .. });
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, .. } = stage.sent_last(is_plan) else { unreachable!() };
    let body: RoundPlan = plan.parse().unwrap();
    stage.deliver_to(1);
    stage.take_from(2, |message| matches!(message, Message::Letter { .. }));
    let epoch = stage.world.consortium.epoch.digest();
    let dealing = DealingContext { epoch, round: Round(1), dealer: PartyId(2) };
    let context = dealing.letter_context(body_digest(&plan.body), PartyId(1));
    let key = Element::decode(body.custodians[0].key).unwrap();
    let shares = vec![1; 64];
    let sealed = letter::seal(&shares, &key, &context, &mut random(9));
    let announced = Message::Announcement(announcements(&stage.seen)[&PartyId(2)].clone());
    stage.give(1, announced);
    let letter = Message::Letter { round: Round(1), dealer: PartyId(2), custodian: PartyId(1), sealed };
    let complains = |message: &Message| matches!(message, Message::LetterFault { .. });
    stage.give(1, letter).messages().iter().any(complains)
}

/// A member's announcement, changed and signed again by that member.
fn announced_otherwise(stage: &Stage, member: u32, change: impl FnOnce(&mut Announcement)) -> Message {
    let mut body = announcements(&stage.seen)[&PartyId(member)].parse().unwrap();
    change(&mut body);
    Message::Announcement(sign(stage.key(member), PartyId(member), &body))
}

/// Member 3 announces member 2's letter as its own; what the custodian shows in its complaint opens it.
pub(super) fn a_copied_letter() -> bool {
    let mut stage = Stage::started_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    for member in [2, 3] {
        stage.take_from(member, |message| matches!(message, Message::Announcement(_)));
    }
    let sealed = letter_of(&stage, 2, 1);
    let named = digest(Domain::Letter, &[&sealed]);
    let copied = announced_otherwise(&stage, 3, |body| body.dealings[0].letter = named);
    stage.give(1, copied);
    let letter = Message::Letter { round: Round(1), dealer: PartyId(3), custodian: PartyId(1), sealed };
    let shows_the_key =
        |message: &Message| matches!(message, Message::LetterFault { agreed, .. } if *agreed != [0; 32]);
    stage.give(1, letter).messages().iter().any(shows_the_key)
}

/// Member 2 commits to its mask key, and its letters share it by another polynomial: no `h_r` shares would make up the key,
/// and every sum that needs it could be opened and called lost.
pub(super) fn shares_that_were_not_committed_to() -> bool {
    let mut stage = Stage::started_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    stage.take_from(2, |message| matches!(message, Message::Announcement(_)));
    stage.take_from(2, |message| matches!(message, Message::Letter { .. }));
    let sealed = letter_of(&stage, 2, 1);
    let other =
        announced_otherwise(&stage, 2, |body| body.mask_key.commitments[1] = body.mask_key.commitments[2]);
    stage.give(1, other);
    give_letter(&mut stage, 2, sealed)
}

/// A member's announcement of the first round, in the second.
pub(super) fn an_announcement_of_another_round() -> bool {
    let mut stage = Stage::seven();
    stage.world.start_round();
    let old = stage.take_from(3, |message| matches!(message, Message::Announcement(_)));
    stage.world.say(PartyId(3), Frame::Message(old.clone())).unwrap();
    stage.finish();
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    let Message::Announcement(signed) = &old else { unreachable!() };
    let mut body: Announcement = signed.parse().unwrap();
    // The proofs of knowledge are bound to their round too; its member can make them afresh, and replays the rest.
    let secret = ScalarSecret::random(&mut random(5));
    let epoch = stage.world.consortium.epoch.digest();
    let dealing = DealingContext { epoch, round: Round(2), dealer: PartyId(3) };
    for (key, kind) in [(&mut body.mask_key, DealtKey::Mask), (&mut body.seed_key, DealtKey::Seed)] {
        key.commitments = SharingSecret::new(&secret, 4, &mut random(7)).commitments();
        key.proof = prove_knowledge(&secret, &dealing.knowledge_context(kind), &mut random(6));
    }
    let keys = stage.sent_last(|message| matches!(message, Message::Plan { .. }));
    let Message::Plan { plan, .. } = keys else { unreachable!() };
    let custodians = plan.parse().unwrap().custodians;
    body.dealings.iter_mut().zip(custodians).for_each(|(dealing, entry)| dealing.recipient = entry.key);
    let replayed = Message::Announcement(sign(stage.key(3), PartyId(3), &body));
    stage.give(1, replayed).is_accepted()
}

/// A stage before the second seal's certificate reaches anybody, in which member 7 uploaded nothing.
fn without_seven() -> Stage {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::Sealed1 { .. }));
    stage.world.silence_member(PartyId(7));
    stage.world.settle();
    stage.world.expire();
    stage
}

/// Whether the coordinator takes a message of a kind that a party changed.
fn taken(party: u32, wanted: fn(&Message) -> bool, change: fn(&mut Message)) -> bool {
    let mut stage = without_seven();
    let mut message = stage.take_from(party, wanted);
    change(&mut message);
    stage.world.say(PartyId(party), Frame::Message(message)).is_ok()
}

pub(super) fn a_wrong_seed() -> bool {
    taken(
        2,
        |message| matches!(message, Message::Seeds { .. }),
        |message| {
            let Message::Seeds { seeds, .. } = message else { unreachable!() };
            seeds.seeds[0].seed = seeds.seeds[1].seed;
        },
    )
}

pub(super) fn a_wrong_share() -> bool {
    taken(
        2,
        |message| matches!(message, Message::MaskKeyShare { .. }),
        |message| {
            let Message::MaskKeyShare { share, .. } = message else { unreachable!() };
            share[0] ^= 1;
        },
    )
}

/// The coordinator shows custodians another mask key of member 7, which did not upload.
pub(super) fn a_wrong_mask_key() -> bool {
    let mut stage = without_seven();
    stage.run_to(1, |message| matches!(message, Message::Sealed2 { .. }));
    stage.deliver_to(1);
    let secret = RevealedSecret::MaskKey(*ScalarSecret::random(&mut random(8)).reveal());
    let reveal = Reveal { dealer: PartyId(7), secret };
    let taken = stage.give(1, Message::Revealed { round: Round(1), reveal });
    taken.misbehaviours().is_empty()
}

/// Whether the seven members' plan with these settings keeps every rule.
fn is_valid(change: impl FnOnce(&mut RoundSettings)) -> bool {
    let stage = Stage::started_to(1, |message| matches!(message, Message::Plan { .. }));
    let Message::Plan { plan, .. } = stage.sent_last(|message| matches!(message, Message::Plan { .. }))
    else {
        unreachable!()
    };
    let mut body: RoundPlan = plan.parse().unwrap();
    change(&mut body.settings);
    body.parameters = PerBlock::from_table(&body.settings.blocks, |block| {
        body.parameters.get(block.shape.id).copied().unwrap_or_default()
    });
    let epoch = &stage.world.consortium.epoch;
    CheckedPlan::check(body, epoch.consortium(), epoch.digest()).is_ok()
}

pub(super) fn overlapping_blocks() -> bool {
    is_valid(|settings| settings.blocks[1].shape.kind = settings.blocks[0].shape.kind)
}

/// One number of each member in many blocks, each with a cohort of its own: their sums solve for it.
pub(super) fn a_scalar_repeated_over_many_cohorts() -> bool {
    is_valid(|settings| {
        let mut scalar = settings.blocks[0];
        (scalar.shape.kind, scalar.shape.length) = (BlockKind::Expert { layer: 9, expert: 9 }, 1);
        for _ in 0..7 {
            scalar.shape.id = BlockId(settings.blocks.len() as u32);
            settings.blocks.push(scalar);
        }
    })
}

pub(super) fn a_ring_that_weights_wrap() -> bool {
    is_valid(|settings| {
        settings.max_weight = 15;
        settings.ring = RingWidth::new(24).unwrap();
        settings.blocks.iter_mut().for_each(|block| block.scale.clip_steps = 79_851);
    })
}

pub(super) fn weights_as_digits() -> bool {
    is_valid(|settings| {
        settings.max_weight = 9;
        let blocks = settings.blocks.iter_mut();
        let unrouted = blocks.filter(|block| !matches!(block.shape.kind, BlockKind::Routing { .. }));
        unrouted.for_each(|block| block.noise_steps = 0);
    })
}

/// Consistency weights of one step each: the router would move thousands of times as far as its clip.
pub(super) fn a_weight_that_makes_the_divisor_tiny() -> bool {
    let mut stage = Stage::seven();
    let parameters = stage.world.coordinator.model().block_digests();
    for member in (1..=SEVEN as u32).map(PartyId) {
        let mut contribution = stage.world.contribution(member, &parameters);
        set_consistency_weight(&mut contribution, 1);
        stage.world.fixed_contributions.insert(member, contribution);
    }
    stage.world.start_round();
    stage.finish();
    stage.world.coordinator.model().blocks()[ROUTER].iter().any(|parameter| *parameter != 0.0)
}

pub(super) fn integers_beyond_the_clip() -> bool {
    let mut stage = Stage::seven();
    let parameters = stage.world.coordinator.model().block_digests();
    let mut contribution = stage.world.contribution(PartyId(1), &parameters);
    contribution.integers[SHARED][0] = 1 << 20;
    stage.world.fixed_contributions.insert(PartyId(1), contribution);
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    stage.train(1).done.contains(&Observation::Announced(PartyId(1), Round(1)))
}

/// Whether a lie got into the model, of which no block is to be applied unchecked.
fn is_applied(lie: Lie) -> bool {
    let (check, blamed, applied) = outcome(&run(&mut stage(LateSketchMode::Required), lie, &[]));
    assert_eq!(applied, check == SumCheck::Checked && blamed.is_empty());
    applied
}

pub(super) fn a_lie_of_half_the_ring() -> bool {
    is_applied(Lie { upload: Some(half_the_ring), sketch: Some(hides_half_the_ring), answer: None })
}

pub(super) fn a_lie_behind_an_honest_sketch() -> bool {
    is_applied(Lie { sketch: Some(claims_nothing), ..Lie::default() })
}

pub(super) fn an_upload_larger_than_its_clip() -> bool {
    let large: fn(&mut [i32]) = |integers| integers.iter_mut().for_each(|integer| *integer *= 70);
    is_applied(Lie { upload: Some(large), ..Lie::default() })
}

/// The coordinator asks before it shows all seeds, and again after: other sketches would tell more.
pub(super) fn another_projection_for_the_same_upload() -> bool {
    let mut stage = stage(LateSketchMode::Required);
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::Revealed { .. }));
    let first = stage.give(1, Message::LateRequest { round: Round(1) }).messages();
    let request = stage.run_to(1, |message| matches!(message, Message::LateRequest { .. }));
    stage.give(1, request).messages() != first
}

pub(super) fn blame_with_another_row() -> bool {
    let (mut stage, request) = before_blame();
    let first = answers(&stage.deliver_to(1).messages());
    (0..6).any(|coordinate| ask_about_another_sum(&mut stage, &request, coordinate) != first)
}

/// A custodian whose memory leaks after the close still holds a key that opens the round's letters.
pub(super) fn leaked_receiving_keys_after_the_close() -> bool {
    let mut stage = announced();
    stage.finish();
    let custodian = stage.world.nodes[&PartyId(1)].custodian.as_ref();
    custodian.is_some_and(|custodian| custodian.holds_receiving_key())
}

/// Shows every custodian the closing of an honest round with a change; whether the ending that comes of it holds.
fn closes_otherwise(change: impl Fn(&mut Closing, &PerBlock<Digest>)) -> bool {
    let is_closing: fn(&Message) -> bool = |message| matches!(message, Message::ProposeClosing { .. });
    let mut stage = Stage::seven();
    stage.world.start_round();
    let before = stage.world.coordinator.model().block_digests();
    let proposals: Vec<Message> =
        (1..=SEVEN as u32).map(|party| stage.withhold_from(party, is_closing)).collect();
    let (mut body_bytes, mut signatures) = (Vec::new(), Vec::new());
    for (party, mut proposal) in (1..).zip(proposals) {
        let Message::ProposeClosing { closing, recompute } = &mut proposal else { unreachable!() };
        let mut body: Closing = codec::decode(closing).unwrap();
        change(&mut body, &before);
        body_bytes = codec::encode(&body);
        closing.clone_from(&body_bytes);
        recompute.clear();
        signatures.push((party, stage.give(party, proposal).vote()));
    }
    let certificate = Certificate::new(body_bytes, votes(signatures));
    let ending = Ending::Closed { certificate, recomputed: Vec::new() };
    KnownEnding::check(&ending, &stage.world.consortium.epoch).is_ok()
}

/// A closing with a sum that nobody recomputed, and the votes of custodians that were not asked to.
pub(super) fn a_sum_that_the_log_does_not_explain() -> bool {
    closes_otherwise(|closing, _| closing.sums[4].sum.0[0] ^= 1)
}

/// Every block was opened; the closing lists no sum, and leaves the model as it was.
pub(super) fn a_closing_that_hides_its_sums() -> bool {
    closes_otherwise(|closing, before| {
        closing.sums.clear();
        closing.blamed.clear();
        closing.parameters = before.clone();
        closing.model = Model::digest_of(before);
    })
}
