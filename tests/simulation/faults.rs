//! A fault leaves a state machine as it was, so that what was refused can come again as it should be. Random lists look for
//! others ([`crate::generator`]); these were found by them.

use cloister_params::id::{BlockId, PartyId, Round};
use cloister_protocol::fault::Fault;
use cloister_testkit::world::{Observation, World};
use cloister_wire::frame::{Chunk, Frame};
use cloister_wire::message::{Message, ModelPart};

use crate::liveness::{closings, endings, finish, five, reconnect, run_to};

const CUSTODIAN: PartyId = PartyId(1);

/// A watched world in which party 1 gets the proposal of the closing next.
fn before_the_closing() -> World {
    let mut world = five();
    world.watch_faults();
    world.start_round();
    run_to(&mut world, CUSTODIAN.0, |message| matches!(message, Message::ProposeClosing { .. }));
    world
}

/// The faults that something raises, none of which changes a state machine.
fn faults_of(world: &mut World, happens: impl FnOnce(&mut World)) -> Vec<Fault> {
    let before = world.faults.len();
    happens(world);
    assert_eq!(world.changed_by_faults, []);
    world.faults[before..].iter().map(|(_, fault)| fault.clone()).collect()
}

/// A chunk of the last block that was handed to party 1.
fn handed_chunk(world: &World) -> Chunk {
    let chunks = world.observations.iter().filter_map(|observation| match observation {
        Observation::FromCoordinator(to, Frame::Chunk(chunk)) if *to == CUSTODIAN => Some(chunk.clone()),
        _ => None,
    });
    chunks.max_by_key(|chunk| chunk.block).expect("it is asked to recompute")
}

#[test]
fn parts_that_do_not_fit_leave_no_trace() {
    let mut world = before_the_closing();
    let handed = handed_chunk(&world);
    let owner = PartyId(1 + handed.owner.0 % 5);
    let sum = Chunk { round: Round(1), owner: PartyId::COORDINATOR, block: BlockId(2), ..handed.clone() };
    let part = |block, length| {
        let part = ModelPart { block: BlockId(block), index: 0, bytes: vec![0; length] };
        Frame::Message(Message::OldParameters(part))
    };
    let wrong = [
        Frame::Chunk(Chunk { index: 7, ..handed.clone() }),
        Frame::Chunk(Chunk { block: BlockId(99), ..handed.clone() }),
        Frame::Chunk(Chunk { owner, index: 7, ..handed }),
        Frame::Chunk(Chunk { index: 7, ..sum }),
        part(0, 1 << 12),
        part(1, 1 << 12),
        part(2, 1 << 12),
    ];
    for frame in wrong {
        let faults = faults_of(&mut world, |world| world.inject(CUSTODIAN, frame.clone()));
        assert!(!faults.is_empty(), "{frame:?} is refused");
    }
    finish(&mut world);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

/// ROUND-23: nobody can tell which part of a model is wrong before all are here. When they come again, the wrong one is
/// replaced.
#[test]
fn a_wrong_part_of_a_model_does_not_keep_the_right_one_out() {
    let mut world = five();
    world.watch_faults();
    let member = PartyId(5);
    world.start_round();
    run_to(&mut world, member.0, |message| matches!(message, Message::Ended(_)));
    world.restart(member);
    finish(&mut world);
    world.connect(member);
    run_to(&mut world, member.0, |message| matches!(message, Message::ModelPart(_)));
    let Some(Frame::Message(Message::ModelPart(mut part))) = world.next_frame(PartyId::COORDINATOR, member)
    else {
        panic!("a part of the model is next")
    };
    part.bytes[0] ^= 1;
    world.inject(member, Frame::Message(Message::ModelPart(part)));
    finish(&mut world);
    assert_eq!(world.changed_by_faults, []);
    let held = world.nodes[&member].member.as_ref().map(|member| member.model().digest());
    assert_eq!(held, Some(world.coordinator.model().digest()));
}

/// ROUND-22: a custodian that lacks one masked block opens none of the others, and can be asked again.
#[test]
fn a_closing_without_all_masked_blocks_is_refused_before_any_is_opened() {
    let mut world = five();
    world.watch_faults();
    world.start_round();
    let handed = handed_chunk(&before_the_closing());
    let is_last = |_: PartyId, to: PartyId, frame: &Frame| {
        to == CUSTODIAN && matches!(frame, Frame::Chunk(chunk) if *chunk == handed)
    };
    world.run_until(is_last).expect("the same world hands the same blocks");
    world.lose_next(PartyId::COORDINATOR, CUSTODIAN);
    let faults = faults_of(&mut world, World::settle);
    assert!(faults.iter().any(|fault| matches!(fault, Fault::PeerMisbehaved { .. })), "{faults:?}");
    assert_eq!(endings(&world), 0, "nobody else is asked yet");
    reconnect(&mut world, CUSTODIAN.0);
    world.settle();
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}
