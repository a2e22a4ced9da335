//! A round ends once everyone is back: nothing that honest parties lose or forget may hold it up for ever.

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_crypto::hash::projection_seed;
use cloister_params::id::{Digest, PartyId, Round};
use cloister_protocol::coordinator::Event;
use cloister_protocol::fault::Fault;
use cloister_testkit::world::{Observation, World, WorldStep};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;

const COORDINATOR: PartyId = PartyId::COORDINATOR;

/// Five parties: four signatures make a certificate, four organisations a cohort.
pub(crate) fn five() -> World {
    World::new(consortium(&[1; 5]), template(2, 4, 15), 9)
}

fn is(frame: &Frame, wanted: fn(&Message) -> bool) -> bool {
    matches!(frame, Frame::Message(message) if wanted(message))
}

/// Runs until the coordinator's next message of a kind to a party, which stays on its link.
pub(crate) fn run_to(world: &mut World, party: u32, wanted: fn(&Message) -> bool) {
    let found = world.run_until(|_, to, frame| to == PartyId(party) && is(frame, wanted));
    assert!(found.is_some(), "the message is sent");
}

pub(crate) fn deliver_to(world: &mut World, party: u32) {
    world.take(WorldStep::Deliver { from: COORDINATOR, to: PartyId(party) });
}

/// Lets everything happen, deadlines too.
pub(crate) fn finish(world: &mut World) {
    world.settle();
    for _ in 0..8 {
        world.expire();
        world.settle();
    }
}

pub(crate) fn reconnect(world: &mut World, party: u32) {
    world.disconnect(PartyId(party));
    world.connect(PartyId(party));
}

pub(crate) fn endings(world: &World) -> usize {
    let ended = |observation: &&Observation| matches!(observation, Observation::Ended(_));
    world.observations.iter().filter(ended).count()
}

/// Members that applied the sums of a round.
pub(crate) fn closings(world: &World) -> usize {
    let closed = |observation: &&Observation| matches!(observation, Observation::Closed(..));
    world.observations.iter().filter(closed).count()
}

fn announced(world: &World, party: u32, round: u64) -> bool {
    let wanted = Observation::Announced(PartyId(party), Round(round));
    world.observations.contains(&wanted)
}

#[test]
fn a_link_that_is_cut_at_any_step_of_a_member_is_made_up_for() {
    for at in 0..200 {
        let mut world = five();
        world.start_round();
        for _ in 0..at {
            let step = world.steps().first().copied();
            step.into_iter().for_each(|step| world.take(step));
        }
        reconnect(&mut world, 3);
        finish(&mut world);
        assert_eq!(endings(&world), 1, "cut after {at} steps");
    }
}

/// ROUND-27
#[test]
fn a_coordinator_that_restarts_at_any_step_ends_the_round() {
    for at in 0..200 {
        let mut world = five();
        world.start_round();
        for _ in 0..at {
            let step = world.steps().first().copied();
            step.into_iter().for_each(|step| world.take(step));
        }
        world.restart_coordinator();
        (1..=5).for_each(|party| world.connect(PartyId(party)));
        finish(&mut world);
        assert_eq!(endings(&world), 1, "ended after {at} steps");
        assert_eq!(closings(&world), 5, "all members hold the model, after {at} steps");
    }
}

/// ROUND-27: the last thing that a restarted coordinator knows is that its round has ended.
#[test]
fn who_missed_the_end_before_a_restart_gets_it_after() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 1, |message| matches!(message, Message::Ended(_)));
    assert_eq!((endings(&world), closings(&world)), (1, 0), "the sums are on their way");
    world.restart_coordinator();
    (1..=5).for_each(|party| world.connect(PartyId(party)));
    finish(&mut world);
    assert_eq!(closings(&world), 5);
}

/// ROUND-23: after the last round there is no plan that could bring the closing to who missed it.
#[test]
fn a_member_that_restarts_at_any_step_has_the_model_when_the_round_is_over() {
    let steps: [fn(&Message) -> bool; 5] = [
        |message| matches!(message, Message::Plan { .. }),
        |message| matches!(message, Message::Sealed1 { .. }),
        |message| matches!(message, Message::Sealed2 { .. }),
        |message| matches!(message, Message::ProposeClosing { .. }),
        |message| matches!(message, Message::Ended(_)),
    ];
    for step in steps {
        let mut world = five();
        world.start_round();
        run_to(&mut world, 5, step);
        world.restart(PartyId(5));
        let restarted =
            |world: &World| world.nodes[&PartyId(5)].member.as_ref().map(|member| member.model().digest());
        finish(&mut world);
        assert_eq!(endings(&world), 1);
        let last = world.coordinator.model().digest();
        assert_ne!(restarted(&world), Some(last), "control: as long as it is away");
        world.connect(PartyId(5));
        finish(&mut world);
        assert_eq!(restarted(&world), Some(last));
    }
}

/// ROUND-28
#[test]
fn a_request_for_the_next_rounds_key_does_not_cost_this_rounds_letters() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 5, |message| matches!(message, Message::Plan { .. }));
    let early = Frame::Message(Message::KeyRequest { round: Round(2) });
    (1..=5).for_each(|party| world.inject(PartyId(party), early.clone()));
    finish(&mut world);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

#[test]
fn lost_votes_on_the_second_seal_are_sent_again() {
    let mut world = five();
    world.start_round();
    for party in [1, 2] {
        run_to(&mut world, party, |message| matches!(message, Message::ProposeSeal2 { .. }));
        deliver_to(&mut world, party);
        reconnect(&mut world, party);
    }
    finish(&mut world);
    assert_eq!(endings(&world), 1);
}

#[test]
fn a_custodian_that_missed_the_second_seals_proposal_signs_the_closing() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 1, |message| matches!(message, Message::ProposeSeal2 { .. }));
    world.disconnect(PartyId(1));
    run_to(&mut world, 2, |message| matches!(message, Message::Sealed2 { .. }));
    world.connect(PartyId(1));
    run_to(&mut world, 5, |message| matches!(message, Message::ProposeClosing { .. }));
    world.disconnect(PartyId(5));
    finish(&mut world);
    assert_eq!(endings(&world), 1);
}

#[test]
fn one_custodian_that_restarts_in_mid_round_lets_it_end() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 1, |message| matches!(message, Message::Sealed1 { .. }));
    world.restart(PartyId(5));
    world.connect(PartyId(5));
    finish(&mut world);
    assert_eq!(endings(&world), 1, "four others sign and recompute");
}

/// ROUND-22: that nothing came of a request says nothing of the next one, once the custodian's link is open anew.
#[test]
fn custodians_that_were_given_up_are_asked_again_when_they_come_back() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 1, |message| matches!(message, Message::ProposeClosing { .. }));
    for _ in 0..4 {
        (1..=5).for_each(|party| while world.lose_next(COORDINATOR, PartyId(party)).is_some() {});
        world.expire();
    }
    assert!(world.events.iter().any(|event| matches!(event, Event::QuorumLost(_))), "all were asked in vain");
    world.settle();
    assert_eq!(endings(&world), 0, "control: nobody comes back");
    (1..=5).for_each(|party| reconnect(&mut world, party));
    finish(&mut world);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

#[test]
fn custodians_that_restart_in_mid_round_let_it_end() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 1, |message| matches!(message, Message::Sealed1 { .. }));
    for party in [1, 2] {
        world.restart(PartyId(party));
        world.connect(PartyId(party));
    }
    finish(&mut world);
    assert_eq!(endings(&world), 1, "with a sum or with an abort");
}

#[test]
fn custodians_that_restart_after_an_abort_follow() {
    let mut world = five();
    world.start_round();
    finish(&mut world);
    (1..=2).for_each(|party| world.silence_member(PartyId(party)));
    world.start_round();
    finish(&mut world);
    assert_eq!(endings(&world), 2, "the second round is aborted");
    for party in [1, 2] {
        world.restart(PartyId(party));
        world.connect(PartyId(party));
    }
    world.start_round();
    finish(&mut world);
    assert_eq!(endings(&world), 3);
}

#[test]
fn a_member_that_was_away_at_the_close_takes_part_in_the_next_round() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 5, |message| matches!(message, Message::Ended(_)));
    reconnect(&mut world, 5);
    finish(&mut world);
    world.start_round();
    finish(&mut world);
    assert!(announced(&world, 4, 2), "those who were there do");
    assert!(announced(&world, 5, 2));
}

#[test]
fn a_member_whose_custodian_lost_its_key_is_waited_for() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, 5, |message| matches!(message, Message::Plan { .. }));
    world.restart(PartyId(5));
    world.connect(PartyId(5));
    let slow = WorldStep::Train(PartyId(5));
    while let Some(step) = world.steps().into_iter().find(|step| *step != slow) {
        world.take(step);
    }
    finish(&mut world);
    let reports = world.observations.iter().filter_map(|observation| match observation {
        Observation::Ended(report) => Some(report),
        _ => None,
    });
    let members: Vec<_> = reports.flat_map(|report| report.announced.clone()).collect();
    assert_eq!(members, [1, 2, 3, 4, 5].map(PartyId));
}

/// Lets so many steps of a round happen.
fn steps_of_a_round(world: &mut World, steps: usize) {
    world.start_round();
    for _ in 0..steps {
        let step = world.steps().first().copied();
        step.into_iter().for_each(|step| world.take(step));
    }
}

/// What comes again, or without what it follows, is nobody's fault: a party that restarts, a link that is cut and a coordinator
/// that restarts have no honest party called a misbehaving one.
#[test]
fn no_recovery_is_called_misbehaviour() {
    let recoveries: [fn(&mut World); 3] = [
        |world| reconnect(world, 3),
        |world| {
            world.restart(PartyId(3));
            world.connect(PartyId(3));
        },
        |world| {
            world.restart_coordinator();
            (1..=5).for_each(|party| world.connect(PartyId(party)));
        },
    ];
    for (which, recovery) in recoveries.iter().enumerate() {
        for at in (0..200).step_by(7) {
            let mut world = five();
            steps_of_a_round(&mut world, at);
            recovery(&mut world);
            finish(&mut world);
            world.start_round();
            finish(&mut world);
            let blamed =
                world.faults.iter().filter(|(_, fault)| matches!(fault, Fault::PeerMisbehaved { .. }));
            let blamed: Vec<_> = blamed.collect();
            assert!(blamed.is_empty(), "recovery {which} after {at} steps: {blamed:?}");
        }
    }
}

/// Members that refuse a plan say so: once those that are left cannot reach the floor, nobody waits for a deadline.
#[test]
fn a_round_that_too_many_refuse_ends_without_a_deadline() {
    let mut world = five();
    let settings = world.template_mut();
    settings.task = Digest([1; 32]);
    settings.sketch.seed = projection_seed(settings.task);
    world.start_round();
    world.settle();
    assert_eq!(endings(&world), 1);
    let refused =
        world.events.iter().filter(|event| matches!(event, Event::Refused(_, why) if why.contains("task")));
    assert_eq!(refused.count(), 5, "each with its reason");
    let mut silent = five();
    (2..=5).for_each(|member| silent.silence_member(PartyId(member)));
    silent.start_round();
    silent.settle();
    assert_eq!(endings(&silent), 0, "control: those that say nothing are waited for");
}

fn outdated(world: &World) -> Vec<Round> {
    let reported = world.events.iter().filter_map(|event| match event {
        Event::Outdated { round, .. } => Some(*round),
        _ => None,
    });
    reported.collect()
}

/// ROUND-37: from a copy of before a round, and of the middle of it.
#[test]
fn a_coordinator_from_an_old_backup_is_told_so() {
    for at in [0, 40] {
        let mut world = five();
        steps_of_a_round(&mut world, at);
        let backup = world.back_up_coordinator();
        finish(&mut world);
        world.start_round();
        finish(&mut world);
        assert_eq!((endings(&world), outdated(&world)), (2, vec![]), "control: nothing is old");
        world.restore_coordinator(backup);
        (1..=5).for_each(|party| world.connect(PartyId(party)));
        world.start_round();
        world.settle();
        assert_eq!(outdated(&world).first(), Some(&Round(2)), "the copy after {at} steps is two rounds old");
    }
}

/// ROUND-37: of five custodians one may lie.
#[test]
fn one_custodian_cannot_call_a_coordinator_outdated() {
    let mut world = five();
    world.start_round();
    let claim = |world: &mut World, party| {
        let ahead = Frame::Message(Message::Ahead { round: Round(99) });
        world.say(PartyId(party), ahead).expect("it may say so");
        outdated(world)
    };
    assert_eq!(claim(&mut world, 3), []);
    assert_eq!(claim(&mut world, 3), [], "nor by saying it twice");
    assert_eq!(claim(&mut world, 4), [Round(99)], "control: of two, one is honest");
}
