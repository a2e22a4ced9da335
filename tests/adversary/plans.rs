//! Attacks by plans.

use cloister_cluster::consortium::consortium;
use cloister_params::block::BlockKind;
use cloister_params::fixed::RingWidth;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::{CheckedPlan, LateSketchMode, PlanError, RoundPlan, RoundSettings};
use cloister_params::policy::Policy;
use cloister_protocol::custodian::{Custodian, CustodianConfig, SignedStep};
use cloister_protocol::fault::{Misbehaviour, Refusal};
use cloister_protocol::openings::OpeningHistory;
use cloister_protocol::statement::sign;
use cloister_testkit::world::CustodianNode;
use cloister_wire::message::{Ending, Message};

use crate::stage::{SEVEN, Stage, announcements, settings};

fn is_plan(message: &Message) -> bool {
    matches!(message, Message::Plan { .. })
}

#[test]
fn one_round_planned_twice() {
    let mut stage = Stage::started_to(1, is_plan);
    let second = stage.attacker.second_plan(0).unwrap();
    assert!(stage.give(2, second.clone()).is_accepted(), "control: as the only plan it is accepted");
    assert!(stage.deliver_to(1).is_accepted());
    let answer = stage.give(1, second);
    assert_eq!(answer.refusals(), [&Refusal::SecondPlan; 2], "by member and custodian");
}

#[test]
fn one_round_planned_twice_around_a_restart() {
    let mut stage = Stage::started_to(1, is_plan);
    let plan = stage.sent_last(is_plan);
    let refused = |stage: &mut Stage| {
        stage.world.restart(PartyId(1));
        let answer = stage.give(1, plan.clone());
        answer.refusals().contains(&&Refusal::AnnouncedBefore)
    };
    stage.deliver_to(1);
    assert!(!refused(&mut stage), "control: it had not announced yet");
    stage.world.connect(PartyId(1));
    stage.train(1);
    assert!(refused(&mut stage));
}

#[test]
fn a_plan_for_each_member() {
    let mut stage = Stage::started_to(1, is_plan);
    let second = stage.attacker.second_plan(0).unwrap();
    stage.give(1, second);
    stage.train(1);
    for party in [2, 3] {
        stage.deliver_to(party);
    }
    stage.train(3);
    let announced = announcements(&stage.seen);
    let same = Message::Announcement(announced[&PartyId(3)].clone());
    assert!(stage.give(2, same).is_accepted(), "control: the member with the same plan");
    let answer = stage.give(2, Message::Announcement(announced[&PartyId(1)].clone()));
    let other = |what: &&Misbehaviour| matches!(what, Misbehaviour::Mismatch { field: "plan", .. });
    assert!(!answer.faults.is_empty() && answer.misbehaviours().iter().all(other), "{answer:?}");
}

#[test]
fn a_plan_of_an_earlier_round() {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.finish();
    let first = stage.sent_last(is_plan);
    let answer = stage.give(1, first);
    let refusals = [&Refusal::AnnouncedBefore, &Refusal::SecondPlan];
    assert_eq!(answer.refusals(), refusals, "by member and custodian");
    stage.world.start_round();
    stage.run_to(1, is_plan);
    assert!(stage.deliver_to(1).is_accepted(), "control: the next one");
}

#[test]
fn a_plan_of_another_epoch() {
    let mut stage = Stage::started_to(1, is_plan);
    let mut weights = [1; SEVEN];
    weights[6] = 2;
    let mut other = Stage::new(consortium(&weights), settings(), 3);
    other.world.start_round();
    let foreign = other.run_to(1, is_plan);
    let answer = stage.give(1, foreign);
    let epoch = |why: &&Refusal| matches!(why, Refusal::Rule(PlanError::Epoch { .. }));
    assert!(answer.faults.len() == 2 && answer.refusals().iter().all(epoch), "{answer:?}");
    assert!(stage.deliver_to(1).is_accepted(), "control: the plan of its own epoch, by the same keys");
}

#[test]
fn a_receiving_key_of_an_earlier_round() {
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { receiving_keys: old, .. } = stage.sent_last(is_plan) else { unreachable!() };
    stage.finish();
    stage.world.start_round();
    stage.run_to(1, is_plan);
    let Message::Plan { plan, receiving_keys, previous } = stage.sent_last(is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    body.custodians[2].key = old[2].parse().unwrap().key;
    let mut keys = receiving_keys.clone();
    keys[2] = old[2].clone();
    let forged = Message::Plan {
        plan: sign(stage.key(0), PartyId::COORDINATOR, &body),
        receiving_keys: keys,
        previous,
    };
    let answer = stage.give(1, forged);
    let stale = Refusal::ReceivingKey { custodian: PartyId(3) };
    assert_eq!(answer.refusals(), [&stale; 2]);
    assert!(stage.deliver_to(1).is_accepted(), "control: with the key of this round");
}

#[test]
fn a_plan_that_the_coordinator_did_not_sign() {
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, receiving_keys, previous } = stage.sent_last(is_plan) else { unreachable!() };
    let forged = Message::Plan {
        plan: sign(stage.key(4), PartyId::COORDINATOR, &plan.parse().unwrap()),
        receiving_keys,
        previous,
    };
    let answer = stage.give(1, forged);
    assert_eq!(answer.misbehaviours().len(), 2);
    assert!(stage.deliver_to(1).is_accepted(), "control: the same body, signed by the coordinator");
}

/// Checks a plan of seven members with these settings.
fn checked(change: impl FnOnce(&mut RoundSettings)) -> Result<CheckedPlan, PlanError> {
    let mut stage = Stage::started_to(1, is_plan);
    let Message::Plan { plan, .. } = stage.sent_last(is_plan) else { unreachable!() };
    let mut body: RoundPlan = plan.parse().unwrap();
    change(&mut body.settings);
    stage.note();
    let epoch = &stage.world.consortium.epoch;
    CheckedPlan::check(body, epoch.consortium(), epoch.digest())
}

#[test]
fn overlapping_blocks() {
    let overlapping = checked(|settings| settings.blocks[1].shape.kind = settings.blocks[0].shape.kind);
    assert!(matches!(overlapping, Err(PlanError::BlockTable(_))));
    let renumbered = checked(|settings| settings.blocks[1].shape.id = BlockId(0));
    assert!(matches!(renumbered, Err(PlanError::BlockTable(_))));
    let apart = checked(|settings| settings.blocks[1].shape.kind = BlockKind::Expert { layer: 4, expert: 0 });
    assert!(apart.is_ok(), "control: a kind of its own");
}

#[test]
fn a_ring_that_weights_make_wrap_around() {
    // 15·7·79,849 and the noise 6·16·15·3 make 8,388,465, one clip step less than 2^23 allows.
    let with_clip = |clip| {
        checked(move |settings| {
            settings.max_weight = 15;
            settings.ring = RingWidth::new(24).unwrap();
            settings.blocks.iter_mut().for_each(|block| block.scale.clip_steps = clip);
        })
    };
    assert!(with_clip(79_849).is_ok(), "control: just below");
    assert!(matches!(with_clip(79_851), Err(PlanError::RingWrap { bits: 24, .. })));
}

#[test]
fn weights_as_digits_at_a_coarse_scale() {
    let with = |weight, noise| {
        checked(move |settings| {
            settings.max_weight = weight;
            let blocks = settings.blocks.iter_mut();
            let unrouted = blocks.filter(|block| !matches!(block.shape.kind, BlockKind::Routing { .. }));
            unrouted.for_each(|block| block.noise_steps = noise);
        })
    };
    assert!(matches!(with(9, 15), Err(PlanError::WeightsWithoutNoise { got: 15, .. })));
    assert!(with(9, 16).is_ok(), "control: with the noise");
    assert!(with(1, 0).is_ok(), "control: with equal weights");
}

#[test]
fn a_plan_with_a_lower_floor() {
    assert_eq!(
        checked(|settings| settings.cohort_floor = 4),
        Err(PlanError::BelowFloor { got: 4, floor: 5 })
    );
    assert!(checked(|settings| settings.cohort_floor = 6).is_ok(), "control: a higher one");
}

#[test]
fn a_routing_histogram_without_noise() {
    let bare = checked(|settings| settings.blocks.iter_mut().for_each(|block| block.noise_steps = 0));
    assert!(bare.is_err());
}

/// PLAN-10: custodians whose policies do not admit a plan sign neither seal, and sign its abort, so that the round ends.
#[test]
fn custodians_that_decline_a_plan_sign_its_abort_alone() {
    let mut stage = Stage::seven();
    stage.world.template_mut().late_sketches = LateSketchMode::Optional;
    let consortium = &stage.world.consortium;
    let policy = Policy::parse(&format!("governance_key = \"{}\"", consortium.governance)).unwrap();
    let (epoch, model) = (consortium.epoch.clone(), stage.world.coordinator.model().digest());
    for id in (1..=SEVEN as u32).map(PartyId) {
        let strict = Custodian::new(CustodianConfig {
            id,
            key: consortium.keys[&id].clone(),
            epoch: epoch.clone(),
            policy: policy.clone(),
            model,
            signed: Vec::new(),
            openings: OpeningHistory::default(),
        });
        stage.world.nodes.get_mut(&id).unwrap().custodian = Some(CustodianNode::Honest(Box::new(strict)));
    }
    stage.world.start_round();
    stage.finish();
    let endings: Vec<_> = stage.reports().iter().map(|report| &report.ending).collect();
    assert!(matches!(endings[..], [Ending::Aborted(_)]), "the round ends without a sum");
    let signed = stage.world.nodes[&PartyId(1)].journal.signed.clone();
    assert_eq!(signed.iter().map(|record| record.step).collect::<Vec<_>>(), [SignedStep::Outcome]);
    let mut control = Stage::seven();
    control.world.template_mut().late_sketches = LateSketchMode::Optional;
    control.world.start_round();
    control.finish();
    assert!(matches!(control.reports()[0].ending, Ending::Closed { .. }), "control: policies that admit it");
}
