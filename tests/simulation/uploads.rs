//! An upload that was cut goes on in the middle of a block (`ROUND-41`).

use cloister_params::id::{BlockId, PartyId};
use cloister_protocol::coordinator::Event;
use cloister_protocol::fault::{Fault, Misbehaviour};
use cloister_testkit::world::{Observation, World, WorldStep};
use cloister_wire::frame::{CHUNK_BYTES, Frame};
use cloister_wire::message::{Message, ReceivedChunks};

use crate::liveness::{closings, deliver_to, endings, finish, five, reconnect, run_to};
use crate::long_blocks::{CHUNKS, long_block};

const COORDINATOR: PartyId = PartyId::COORDINATOR;
const CUT: PartyId = PartyId(5);

/// A world whose shared block has three chunks, stopped before member 5 gets the first seal.
fn before_the_upload() -> (World, BlockId) {
    let (mut world, block) = long_block();
    world.start_round();
    run_to(&mut world, CUT.0, |message| matches!(message, Message::Sealed1 { .. }));
    (world, block)
}

/// The bytes of each chunk of a block that member 5 has put on its link, in order, with the chunks' numbers.
fn sent(world: &World, block: BlockId) -> Vec<(u32, usize)> {
    let chunks = world.observations.iter().filter_map(|observation| match observation {
        Observation::FromMember(CUT, Frame::Chunk(chunk)) if chunk.block == block => {
            Some((chunk.index, chunk.bytes.len()))
        }
        _ => None,
    });
    chunks.collect()
}

/// Every chunk that member 5 has put on its link.
fn all_sent(world: &World) -> usize {
    let is_chunk =
        |observation: &&Observation| matches!(observation, Observation::FromMember(CUT, Frame::Chunk(_)));
    world.observations.iter().filter(is_chunk).count()
}

/// Lets the coordinator take chunks of member 5 until it has this many of a block.
fn deliver_chunks(world: &mut World, block: BlockId, wanted: usize) {
    let mut delivered = 0;
    while delivered < wanted {
        let next = world.next_frame(CUT, COORDINATOR);
        delivered += usize::from(matches!(next, Some(Frame::Chunk(chunk)) if chunk.block == block));
        world.take(WorldStep::Deliver { from: CUT, to: COORDINATOR });
    }
}

#[test]
fn an_upload_that_was_cut_in_a_block_goes_on_after_its_last_chunk() {
    let whole = [(0, CHUNK_BYTES), (1, CHUNK_BYTES), (2, 68)];
    for arrived in 0..=CHUNKS {
        let (mut world, block) = before_the_upload();
        deliver_to(&mut world, CUT.0);
        assert_eq!(sent(&world, block), whole, "control: on the first link all of it is sent");
        deliver_chunks(&mut world, block, arrived);
        reconnect(&mut world, CUT.0);
        finish(&mut world);
        let sent = sent(&world, block);
        assert_eq!(sent[CHUNKS..], whole[arrived..], "{arrived} chunks had arrived");
        assert_eq!((endings(&world), closings(&world)), (1, 5), "{:?}", world.faults);
    }
}

/// ROUND-27, ROUND-41: what arrived follows from the stored inputs.
#[test]
fn an_upload_goes_on_in_a_block_after_the_coordinator_was_restarted() {
    let (mut world, block) = before_the_upload();
    deliver_to(&mut world, CUT.0);
    deliver_chunks(&mut world, block, 1);
    world.restart_coordinator();
    (1..=5).for_each(|party| world.connect(PartyId(party)));
    finish(&mut world);
    assert_eq!(sent(&world, block)[CHUNKS..], [(1, CHUNK_BYTES), (2, 68)]);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

/// ROUND-41: a coordinator that lost the round's inputs says so, and gets all of it again.
#[test]
fn a_coordinator_that_lost_what_it_had_of_a_block_gets_it_again() {
    let (mut world, block) = before_the_upload();
    let before = world.back_up_coordinator();
    deliver_to(&mut world, CUT.0);
    deliver_chunks(&mut world, block, 2);
    world.restore_coordinator(before);
    (1..=5).for_each(|party| world.connect(PartyId(party)));
    finish(&mut world);
    assert_eq!(sent(&world, block)[CHUNKS..], [(0, CHUNK_BYTES), (1, CHUNK_BYTES), (2, 68)]);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

/// The first seal as the coordinator sent it to member 5, with another claim.
fn claims(world: &World, received: Vec<ReceivedChunks>) -> Frame {
    let mut seals = world.observations.iter().filter_map(|observation| match observation {
        Observation::FromCoordinator(CUT, Frame::Message(seal @ Message::Sealed1 { .. })) => Some(seal),
        _ => None,
    });
    let Some(Message::Sealed1 { manifest, certificate, .. }) = seals.next().cloned() else {
        panic!("the first seal was sent")
    };
    Frame::Message(Message::Sealed1 { manifest, certificate, received: Some(received) })
}

fn entry(block: u32, chunks: u32) -> ReceivedChunks {
    ReceivedChunks { block: BlockId(block), chunks }
}

/// Whether member 5 rejects a first seal with this claim.
fn is_rejected(world: &mut World, received: Vec<ReceivedChunks>) -> bool {
    let before = (world.faults.len(), all_sent(world));
    let claim = claims(world, received);
    world.inject(CUT, claim);
    let is_named = |fault: &Fault| {
        matches!(fault, Fault::PeerMisbehaved { peer: COORDINATOR, what: Misbehaviour::Received { .. } })
    };
    let found = world.faults[before.0..].iter().any(|(party, fault)| *party == CUT && is_named(fault));
    assert!(!found || before.1 == all_sent(world), "after a claim that is rejected nothing is sent");
    found
}

/// ROUND-41
#[test]
fn claims_of_what_cannot_have_arrived_are_rejected_and_change_nothing() {
    let mut world = five();
    world.watch_faults();
    world.start_round();
    run_to(&mut world, CUT.0, |message| matches!(message, Message::Sealed1 { .. }));
    assert!(is_rejected(&mut world, vec![entry(0, 1)]), "it has sent nothing yet");
    deliver_to(&mut world, CUT.0);
    for wrong in [
        vec![entry(99, 1)],
        vec![entry(0, 0)],
        vec![entry(0, 2)],
        vec![entry(0, u32::MAX)],
        vec![entry(0, 1), entry(0, 1)],
        vec![entry(3, 1), entry(0, 1)],
    ] {
        assert!(is_rejected(&mut world, wrong.clone()), "{wrong:?}");
    }
    assert!(!is_rejected(&mut world, vec![entry(0, 1), entry(3, 1)]), "control: they may have arrived");
    assert!(!is_rejected(&mut world, Vec::new()), "control: nothing need have arrived");
    finish(&mut world);
    assert_eq!(world.changed_by_faults, []);
    assert_eq!((endings(&world), closings(&world)), (1, 5));
}

/// ROUND-41: the claim is within its limits, and false. The round loses this member's upload.
#[test]
fn a_coordinator_that_claims_more_than_arrived_loses_that_upload_alone() {
    for lies in [true, false] {
        let (mut world, block) = before_the_upload();
        deliver_to(&mut world, CUT.0);
        world.disconnect(CUT);
        world.connect(CUT);
        let before = sent(&world, block).len();
        if lies {
            while world.lose_next(COORDINATOR, CUT).is_some() {}
            let claim = claims(&world, vec![entry(block.0, CHUNKS as u32)]);
            world.inject(CUT, claim);
            assert_eq!(sent(&world, block).len(), before, "the member believes it");
        }
        finish(&mut world);
        let missing = world.events.contains(&Event::Missing(vec![CUT]));
        let root = |fault: &Fault| {
            matches!(fault, Fault::PeerMisbehaved { what: Misbehaviour::UploadRoot { member: CUT }, .. })
        };
        assert_eq!((endings(&world), missing), (1, lies));
        assert_eq!(world.faults.iter().any(|(_, fault)| root(fault)), lies);
    }
}

/// ROUND-41: an upload would be sent for nothing once the second seal is proposed.
#[test]
fn a_member_that_returns_after_the_second_seal_sends_nothing_of_its_upload() {
    for wanted in
        [(|message| matches!(message, Message::ProposeSeal2 { .. })) as fn(&Message) -> bool, |message| {
            matches!(message, Message::Sealed2 { .. })
        }]
    {
        let mut world = five();
        world.start_round();
        run_to(&mut world, CUT.0, wanted);
        let before = all_sent(&world);
        assert!(before > 0, "control: it uploaded");
        reconnect(&mut world, CUT.0);
        finish(&mut world);
        assert_eq!(all_sent(&world), before);
        assert_eq!((endings(&world), closings(&world)), (1, 5));
    }
}

/// ROUND-41: a member that missed the first seal does not take part, and masks nothing.
#[test]
fn a_member_that_gets_the_first_seal_when_uploads_are_over_does_not_upload() {
    let mut world = five();
    world.start_round();
    run_to(&mut world, CUT.0, |message| matches!(message, Message::Sealed1 { .. }));
    world.disconnect(CUT);
    run_to(&mut world, 1, |message| matches!(message, Message::Sealed2 { .. }));
    world.connect(CUT);
    finish(&mut world);
    assert_eq!(all_sent(&world), 0);
    assert_eq!((endings(&world), closings(&world)), (1, 5), "{:?}", world.faults);
}
