//! Attacks on the order of rounds.

use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::plan::{LateSketchMode, RoundSettings};
use cloister_params::policy::Policy;
use cloister_protocol::fault::{Misbehaviour, Refusal};
use cloister_protocol::member::{Member, MemberConfig};
use cloister_protocol::statement::body_digest;
use cloister_testkit::world::Observation;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::Certificate;

use crate::stage::{Answer, Stage, settings, votes};

fn is_sealed2(message: &Message) -> bool {
    matches!(message, Message::Sealed2 { .. })
}

fn announces(answer: &Answer, stage: &mut Stage, party: u32, round: u64) -> bool {
    let trained = stage.train(party);
    let announced = Observation::Announced(PartyId(party), Round(round));
    answer.is_accepted() && trained.done.contains(&announced)
}

/// ROUND-03, ROUND-08
#[test]
fn a_round_left_without_a_close_and_the_next_on_the_same_model() {
    let mut stage = Stage::started_to(1, is_sealed2);
    let parameters = stage.world.coordinator.model().block_digests();
    let left = stage.forged_plan(2, Digest([9; 32]), parameters, None);
    assert_eq!(stage.give(1, left).refusals(), [&Refusal::NoEnding; 2]);

    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.finish();
    let ending = stage.reports()[0].ending.clone();
    let parameters = stage.world.coordinator.model().block_digests();
    let next = stage.forged_plan(2, closing_digest(&ending), parameters, Some(ending));
    let answer = stage.give(1, next);
    assert!(announces(&answer, &mut stage, 1, 2), "control: after a close");
}

fn closing_digest(ending: &Ending) -> Digest {
    match ending {
        Ending::Closed { certificate, .. } => body_digest(&certificate.body),
        Ending::Aborted(certificate) => body_digest(&certificate.body),
    }
}

/// A plan for round 2 after an abort of round 1 that so many custodians signed.
fn plan_after_an_abort(signers: u32) -> (Stage, Message) {
    let mut stage = Stage::started_to(1, |message| matches!(message, Message::ProposeSeal1 { .. }));
    let proposal = stage.attacker.abort(0).unwrap();
    let Message::ProposeAbort { abort } = proposal.clone() else { unreachable!() };
    let signatures: Vec<_> =
        (1..=signers).map(|party| (party, stage.give(party, proposal.clone()).vote())).collect();
    let ending = Ending::Aborted(Certificate::new(abort.clone(), votes(signatures)));
    let parameters = stage.world.coordinator.model().block_digests();
    let plan = stage.forged_plan(2, body_digest(&abort), parameters, Some(ending));
    (stage, plan)
}

#[test]
fn an_abort_that_no_quorum_signed() {
    let (mut stage, plan) = plan_after_an_abort(4);
    let answer = stage.give(1, plan);
    let short = |what: &&Misbehaviour| matches!(what, Misbehaviour::Quorum { got: 4, quorum: 5, .. });
    assert!(answer.faults.len() == 2 && answer.misbehaviours().iter().all(short), "{answer:?}");
    let (mut stage, plan) = plan_after_an_abort(5);
    assert!(stage.give(1, plan).is_accepted(), "control: with a quorum");
}

/// ROUND-08
#[test]
fn another_model_under_the_next_plan() {
    let mut stage = Stage::seven();
    stage.world.start_round();
    stage.finish();
    let ending = stage.reports()[0].ending.clone();
    let (previous, parameters) = (closing_digest(&ending), stage.world.coordinator.model().block_digests());
    let others = parameters.map(|_| Digest([9; 32]));
    let other = stage.forged_plan(2, previous, others, Some(ending.clone()));
    let answer = stage.give(1, other);
    let chained = |why: &&Refusal| matches!(why, Refusal::Chain { field: "starting model", .. });
    assert!(answer.faults.len() == 2 && answer.refusals().iter().all(chained), "{answer:?}");
    let same = stage.forged_plan(2, previous, parameters, Some(ending));
    assert!(stage.give(1, same).is_accepted(), "control: the model of the closing");
}

/// Whether a member with a budget trains again for a plan after an abort, with changed settings.
fn trains_anew(change: fn(&mut RoundSettings)) -> bool {
    let mut stage = Stage::seven();
    let consortium = &stage.world.consortium;
    let budget = "[privacy]\nunit = \"member\"\nmaximum_epsilon = 1e6\nmaximum_delta = 1e-6\n";
    let text =
        format!("governance_key = \"{}\"\nallow_late_sketches = true\n{budget}", consortium.governance);
    let id = PartyId(7);
    let unlimited = consortium.member_config(id, &settings(), stage.world.coordinator.model());
    let member = Member::new(MemberConfig { policy: Policy::parse(&text).unwrap(), ..unlimited });
    stage.world.nodes.get_mut(&id).unwrap().member = Some(member);
    stage.run_to_a_plan_after_an_abort(change);
    let answer = stage.deliver_to(7);
    assert!(answer.is_accepted());
    !answer.done.contains(&Observation::Announced(id, Round(2)))
}

/// ROUND-03: a member with a budget trains and is charged anew for other settings, and sends the same for the same.
#[test]
fn other_settings_after_an_abort_are_charged_anew() {
    assert!(trains_anew(|settings| settings.late_sketches = LateSketchMode::Optional));
    assert!(!trains_anew(|settings| settings.deadlines.upload += 1), "control: other deadlines alone");
}
