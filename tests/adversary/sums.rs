//! Attacks on sums and on what is done with them.

use std::collections::BTreeMap;

use cloister_cluster::consortium::consortium;
use cloister_params::block::BlockKind;
use cloister_params::fixed::RingWidth;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::SketchValues;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::ending::KnownEnding;
use cloister_protocol::fault::Refusal;
use cloister_protocol::model::Model;
use cloister_protocol::statement::body_digest;
use cloister_testkit::world::{Observation, WorldStep};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message, ModelPart};
use cloister_wire::statement::{Certificate, Closing};

use crate::stage::{ROUTER, SEVEN, SHARED, Stage, set_consistency_weight, settings, votes};

fn is_closing(message: &Message) -> bool {
    matches!(message, Message::ProposeClosing { .. })
}

/// A stage at the end of a round, with what each custodian is asked to sign and to recompute in the closing; none of
/// them has got it.
fn closing() -> (Stage, Vec<Message>) {
    let mut stage = Stage::seven();
    stage.world.start_round();
    let proposals = (1..=SEVEN as u32).map(|party| stage.withhold_from(party, is_closing)).collect();
    (stage, proposals)
}

/// What comes of proposals to custodians whose closing is changed: an ending with all votes and recomputations.
fn closed_otherwise(
    stage: &mut Stage,
    proposals: Vec<Message>,
    asks_to_recompute: bool,
    change: impl Fn(&mut Closing),
) -> Ending {
    let (mut body_bytes, mut signatures, mut recomputed) = (Vec::new(), Vec::new(), Vec::new());
    for (party, proposal) in (1..).zip(proposals) {
        let Message::ProposeClosing { closing, mut recompute } = proposal else { unreachable!() };
        let mut body: Closing = codec::decode(&closing).unwrap();
        change(&mut body);
        recompute.retain(|_| asks_to_recompute);
        body_bytes = codec::encode(&body);
        let closing = body_bytes.clone();
        let answer = stage.give(party, Message::ProposeClosing { closing, recompute });
        signatures.push((party, answer.vote()));
        recomputed.extend(answer.messages().into_iter().filter_map(|message| match message {
            Message::Recomputed(signed) => Some(signed),
            _ => None,
        }));
    }
    Ending::Closed { certificate: Certificate::new(body_bytes, votes(signatures)), recomputed }
}

/// Whether an ending is one that every party takes.
fn holds(stage: &Stage, ending: &Ending) -> bool {
    KnownEnding::check(ending, &stage.world.consortium.epoch).is_ok()
}

/// ROUND-22, LOG-01
#[test]
fn a_sum_that_the_log_does_not_explain() {
    let ended = |asks_to_recompute, wrong: bool| {
        let (mut stage, proposals) = closing();
        let change = |body: &mut Closing| body.sums[4].sum.0[0] ^= u8::from(wrong);
        let ending = closed_otherwise(&mut stage, proposals, asks_to_recompute, change);
        holds(&stage, &ending)
    };
    assert!(!ended(true, true), "custodians that recompute it do not sign");
    assert!(!ended(false, true), "the others' signatures are not enough");
    assert!(!ended(false, false), "a right sum that nobody recomputed");
    assert!(ended(true, false), "control: a right sum");
}

/// Replaces the model that follows from the sums; whether a member holds the other one when the next round begins.
fn adopts_another_model(replaced: bool) -> (Digest, Digest) {
    let (mut stage, proposals) = closing();
    let mut blocks = stage.world.coordinator.model().blocks().clone();
    blocks[SHARED].fill(1000.0);
    let other = Model::new(blocks.into_values());
    let change = |body: &mut Closing| {
        if replaced {
            body.model = other.digest();
        }
    };
    let ending = closed_otherwise(&mut stage, proposals, true, change);
    let Ending::Closed { certificate, .. } = &ending else { unreachable!() };
    let closed = certificate.parse().unwrap().parameters;
    let parameters = if replaced { other.block_digests() } else { closed };
    let previous = body_digest(&certificate.body);
    stage.give(1, Message::Ended(ending.clone()));
    let next = stage.forged_plan(2, previous, parameters, Some(ending));
    stage.give(1, next);
    for (block, parameters) in other.blocks().iter() {
        let bytes = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
        stage.give(1, Message::ModelPart(ModelPart { block, index: 0, bytes }));
    }
    let member = stage.world.nodes[&PartyId(1)].member.as_ref().unwrap();
    (member.model().digest(), other.digest())
}

/// ROUND-25
#[test]
fn a_model_that_does_not_follow_from_the_sums() {
    let (held, other) = adopts_another_model(false);
    assert_ne!(held, other, "control: the closing's own model");
    let (held, other) = adopts_another_model(true);
    assert_ne!(held, other, "the coordinator's model, which no sum explains");
}

/// All blocks are opened, none is published, and the next round sums other cohorts on the same model.
/// ROUND-25
#[test]
fn a_closing_without_the_sums_that_were_opened() {
    let (mut stage, proposals) = closing();
    let parameters = stage.world.coordinator.model().block_digests();
    let without = |body: &mut Closing| {
        body.sums.clear();
        body.model = Model::digest_of(&parameters);
    };
    let ending = closed_otherwise(&mut stage, proposals, true, without);
    let Ending::Closed { certificate, .. } = &ending else { unreachable!() };
    let previous = body_digest(&certificate.body);
    for party in 1..=SEVEN as u32 {
        stage.give(party, Message::Ended(ending.clone()));
    }
    let again = stage.forged_plan(2, previous, parameters, Some(ending.clone()));
    stage.give(1, again);
    stage.train(1);
    let announced = Observation::Announced(PartyId(1), Round(2));
    assert!(!stage.seen.contains(&announced), "a second sum on the same model");
    assert!(!holds(&stage, &ending));
}

#[test]
fn a_closing_with_another_weight_or_a_void_block_or_another_log() {
    let ended = |change: fn(&mut Closing)| {
        let (mut stage, proposals) = closing();
        let ending = closed_otherwise(&mut stage, proposals, true, change);
        holds(&stage, &ending)
    };
    assert!(!ended(|body| body.sums[0].weight += 1));
    assert!(!ended(|body| body.sums[0].block = BlockId(77)));
    assert!(!ended(|body| body.sums[1] = body.sums[0]));
    assert!(!ended(|body| body.tree.0[0] ^= 1));
    assert!(!ended(|body| body.seal2.0[0] ^= 1));
    assert!(ended(|_| {}), "control: as it was proposed");
}

/// What custodian 1 takes of what the coordinator shows before the closing, and whether it signs then.
fn signs_for(change: fn(&mut Vec<Message>)) -> bool {
    let is_revealed = |message: &Message| matches!(message, Message::Revealed { .. });
    let mut stage = Stage::seven();
    stage.world.start_round();
    let mut shown = Vec::new();
    stage.run_to(1, is_revealed);
    while let Some(Frame::Message(message)) = stage.world.next_frame(PartyId::COORDINATOR, PartyId(1))
        && is_revealed(&message)
    {
        stage.world.lose_next(PartyId::COORDINATOR, PartyId(1));
        shown.push(message);
    }
    assert_eq!(shown.len(), SEVEN, "seeds of each member");
    change(&mut shown);
    for message in shown {
        stage.give(1, message);
    }
    stage.run_to(1, is_closing);
    stage.deliver_to(1).vote().is_some()
}

/// ROUND-15, LOG-01
#[test]
fn reveals_that_are_not_permitted_in_the_log() {
    assert!(!signs_for(|shown| shown.truncate(1)));
    assert!(!signs_for(|shown| shown[0] = shown[1].clone()));
    assert!(!signs_for(|shown| {
        let Message::Revealed { reveal, .. } = &mut shown[0] else { unreachable!() };
        reveal.dealer = PartyId(2);
    }));
    assert!(signs_for(|shown| shown.swap(0, 1)), "control: in any order");
    assert!(signs_for(|_| {}), "control: what was revealed");
}

/// Contributions of all members with the consistency weight of the router set to so many steps.
fn with_consistency(stage: &Stage, steps: i32) -> BTreeMap<PartyId, Contribution> {
    let parameters = stage.world.coordinator.model().block_digests();
    let changed = |member: PartyId| {
        let mut contribution = stage.world.contribution(member, &parameters);
        set_consistency_weight(&mut contribution, steps);
        (member, contribution)
    };
    (1..=SEVEN as u32).map(PartyId).map(changed).collect()
}

/// ALIGN-12
#[test]
fn consistency_weights_that_make_the_divisor_tiny() {
    let applied = |steps| {
        let mut stage = Stage::seven();
        stage.world.fixed_contributions = with_consistency(&stage, steps);
        stage.world.start_round();
        stage.finish();
        assert!(stage.reports()[0].opened().contains(&BlockId(3)), "it is opened and listed");
        stage.world.coordinator.model().blocks()[ROUTER].iter().any(|parameter| *parameter != 0.0)
    };
    assert!(matches!(settings().blocks[3].shape.kind, BlockKind::Router { .. }));
    assert!(!applied(1), "the sum is outside of what weights between a quarter and 1 can make");
    assert!(!applied((1 << 14) + 100));
    assert!(applied(1 << 13), "control: one half each");
}

#[test]
fn sums_at_the_edge_of_the_ring() {
    let clip = 79_849;
    let mut settings = settings();
    settings.max_weight = 15;
    settings.ring = RingWidth::new(24).unwrap();
    settings.blocks.iter_mut().for_each(|block| block.scale.clip_steps = clip);
    let mut stage = Stage::new(consortium(&[15; SEVEN]), settings.clone(), 3);
    let parameters = stage.world.coordinator.model().block_digests();
    let at_the_clip = |member: PartyId| {
        let mut contribution = stage.world.contribution(member, &parameters);
        contribution.integers[SHARED].iter_mut().for_each(|integer| *integer = -(clip as i32));
        (member, contribution)
    };
    let contributions = (1..=SEVEN as u32).map(PartyId).map(at_the_clip).collect();
    stage.world.fixed_contributions = contributions;
    stage.world.start_round();
    stage.finish();
    let expected = -(f64::from(clip) * settings.blocks[4].scale.step()) as f32;
    let shared = &stage.world.coordinator.model().blocks()[SHARED];
    assert!(shared.iter().all(|parameter| *parameter == expected), "{shared:?}");
}

#[test]
fn sketches_at_the_edge_of_their_type() {
    let mut stage = Stage::seven();
    let mut contributions = with_consistency(&stage, 1 << 13);
    for (member, contribution) in &mut contributions {
        for sketch in contribution.sketches.values_mut() {
            let edge = if member.0.is_multiple_of(2) { i16::MIN } else { i16::MAX };
            let full = vec![edge; 16];
            sketch.values = SketchValues::Projections { region: full.clone(), update: full };
            sketch.tokens = u32::MAX;
        }
    }
    stage.world.fixed_contributions = contributions;
    stage.world.start_round();
    stage.finish();
    assert!(matches!(stage.reports()[0].ending, Ending::Closed { .. }));
}

/// Whether a member announces a contribution with this integer.
fn announces_with(integer: i32) -> bool {
    let mut stage = Stage::seven();
    let parameters = stage.world.coordinator.model().block_digests();
    let mut contribution = stage.world.contribution(PartyId(1), &parameters);
    contribution.integers[SHARED][0] = integer;
    stage.world.fixed_contributions.insert(PartyId(1), contribution);
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::Plan { .. }));
    stage.deliver_to(1);
    let trained = stage.train(1);
    trained.done.contains(&Observation::Announced(PartyId(1), Round(1)))
}

/// MASK-07
#[test]
fn integers_beyond_the_clip() {
    assert!(announces_with(1 << 14), "control: at the clip");
    assert!(announces_with((1 << 14) + 12 * 16), "control: as far as its noise may reach");
    assert!(!announces_with((1 << 14) + 12 * 16 + 1));
}

/// A stage whose first round was aborted after four members announced, with everyone back.
fn after_an_abort() -> Stage {
    let mut stage = Stage::seven();
    let silent = [1, 2, 3].map(PartyId);
    silent.iter().for_each(|member| stage.world.silence_member(*member));
    stage.world.start_round();
    stage.finish();
    assert!(matches!(stage.reports()[0].ending, Ending::Aborted(_)));
    for member in silent {
        stage.world.restart(member);
        stage.world.connect(member);
    }
    stage
}

fn is_plan(message: &Message) -> bool {
    matches!(message, Message::Plan { .. })
}

#[test]
fn another_scale_for_the_same_model_after_an_abort() {
    let mut stage = after_an_abort();
    let blocks = &mut stage.world.template_mut().blocks;
    blocks.iter_mut().for_each(|block| block.scale.clip_steps = 100);
    stage.world.start_round();
    stage.run_to(7, is_plan);
    assert!(stage.deliver_to(7).refusals().contains(&&Refusal::ChangedAfterAbort));
    let mut control = after_an_abort();
    control.world.start_round();
    control.run_to(7, is_plan);
    assert!(control.deliver_to(7).is_accepted(), "control: with the same scale");
}

#[test]
fn the_same_contribution_after_an_abort() {
    let mut stage = after_an_abort();
    stage.world.start_round();
    stage.run_to(7, is_plan);
    stage.deliver_to(7);
    let trains = |stage: &Stage, member| stage.world.steps().contains(&WorldStep::Train(PartyId(member)));
    assert!(!trains(&stage, 7), "a member that trained on this model does not train again");
    assert!(trains(&stage, 1), "control: one that did not does");
}
