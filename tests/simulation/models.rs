//! A model that a member asks for arrives in parts, and goes on where it stopped (`ROUND-42`).

use cloister_cluster::consortium::{consortium, next_epoch, policy};
use cloister_cluster::plan::{model, task, template};
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_protocol::arriving::ArrivingModel;
use cloister_protocol::fault::{Fault, Misbehaviour};
use cloister_protocol::member::{Member, MemberConfig};
use cloister_protocol::model::Model;
use cloister_protocol::openings::OpeningHistory;
use cloister_testkit::world::{Observation, World, WorldStep};
use cloister_wire::frame::{CHUNK_BYTES, Frame};
use cloister_wire::message::{Message, MissingParts, ModelPart, ModelTable};

use crate::liveness::{finish, five, reconnect, run_to};
use crate::long_blocks::{CHUNKS, long_block};

const COORDINATOR: PartyId = PartyId::COORDINATOR;
const BEHIND: PartyId = PartyId(5);

/// A part: its block, its number, its bytes.
type Sent = (u32, u32, usize);

/// Ends a round without member 5, which starts again and asks for the model. The coordinator's answer is on its link.
fn behind(mut world: World) -> World {
    world.start_round();
    run_to(&mut world, BEHIND.0, |message| matches!(message, Message::Ended(_)));
    world.restart(BEHIND);
    finish(&mut world);
    world.observations.clear();
    world.connect(BEHIND);
    run_to(&mut world, BEHIND.0, |message| matches!(message, Message::ModelTable(_)));
    world
}

/// The parts that the coordinator has put on member 5's link since the world's observations were cleared.
fn sent(world: &World) -> Vec<Sent> {
    let parts = world.observations.iter().filter_map(|observation| match observation {
        Observation::FromCoordinator(BEHIND, Frame::Message(Message::ModelPart(part))) => {
            Some((part.block.0, part.index, part.bytes.len()))
        }
        _ => None,
    });
    parts.collect()
}

/// How often member 5 has asked.
fn requests(world: &World) -> usize {
    let asks = |observation: &&Observation| {
        matches!(observation, Observation::FromMember(BEHIND, Frame::Message(Message::ModelRequest { .. })))
    };
    world.observations.iter().filter(asks).count()
}

fn held(world: &World) -> Option<Digest> {
    world.nodes[&BEHIND].member.as_ref().map(|member| member.model().digest())
}

fn deliver(world: &mut World, frames: usize) {
    (0..frames).for_each(|_| world.take(WorldStep::Deliver { from: COORDINATOR, to: BEHIND }));
}

/// Everything that member 5 lacks of the model at first.
fn whole(world: &World, long: BlockId) -> Vec<Sent> {
    let mut parts = Vec::new();
    for (block, parameters) in world.coordinator.model().blocks().iter() {
        match block == long {
            true => parts.extend([(long.0, 0, CHUNK_BYTES), (long.0, 1, CHUNK_BYTES), (long.0, 2, 68)]),
            false => parts.push((block.0, 0, 4 * parameters.len())),
        }
    }
    parts
}

/// Cuts member 5's link after the table and so many parts in all the ways in which that can happen, and compares what is
/// sent after it with what was missing.
fn cut_after(parts: usize, cut: impl FnOnce(&mut World)) {
    let (world, long) = long_block();
    let mut world = behind(world);
    let all = whole(&world, long);
    assert_eq!(sent(&world), all, "control: at first all of it is sent");
    assert_eq!(all.len(), 3 + CHUNKS);
    deliver(&mut world, 1 + parts);
    world.observations.clear();
    cut(&mut world);
    finish(&mut world);
    assert_eq!(sent(&world), all[parts..], "{parts} parts were here");
    assert_eq!(held(&world), Some(world.coordinator.model().digest()));
}

#[test]
fn a_model_that_was_cut_anywhere_goes_on_with_what_is_missing() {
    [0, 3, 5].into_iter().for_each(|parts| cut_after(parts, |world| reconnect(world, BEHIND.0)));
}

#[test]
fn a_model_goes_on_after_the_member_was_restarted() {
    cut_after(3, |world| {
        world.restart(BEHIND);
        world.connect(BEHIND);
    });
}

#[test]
fn a_model_goes_on_after_the_coordinator_was_restarted() {
    cut_after(4, |world| {
        world.restart_coordinator();
        (1..=5).for_each(|party| world.connect(PartyId(party)));
    });
}

/// ROUND-42: the whole model is on its disk, and nobody has to send it again.
#[test]
fn a_member_that_is_restarted_with_the_model_on_its_disk_asks_for_nothing() {
    for is_kept in [true, false] {
        let mut world = behind(five());
        finish(&mut world);
        assert_eq!(held(&world), Some(world.coordinator.model().digest()));
        if !is_kept {
            world.nodes.get_mut(&BEHIND).unwrap().journal.arrived = None;
        }
        world.restart(BEHIND);
        assert_ne!(held(&world), Some(world.coordinator.model().digest()), "control: it starts as ever");
        world.observations.clear();
        world.connect(BEHIND);
        finish(&mut world);
        assert_eq!((sent(&world).is_empty(), requests(&world)), (is_kept, usize::from(!is_kept)));
        assert_eq!(held(&world), Some(world.coordinator.model().digest()));
    }
}

/// ROUND-42, CONS-16: in a later edition a member that starts from the first one's model asks for the edition's, and still has what
/// is on its disk of the present one.
#[test]
fn a_member_of_a_later_edition_keeps_the_present_model_that_is_on_its_disk() {
    let settings = template(2, 4, 15);
    let edition = next_epoch(&consortium(&[1; 5]), model(&settings).digest(), None);
    let mut world = behind(World::new(edition, settings.clone(), 9));
    finish(&mut world);
    let present = world.coordinator.model().digest();
    let arrived = world.nodes[&BEHIND].journal.arrived.clone();
    assert!(arrived.is_some(), "the model is on its disk");
    restart_with_the_first_model(&mut world, &settings);
    world.observations.clear();
    world.connect(BEHIND);
    finish(&mut world);
    assert_eq!((sent(&world), held(&world)), (Vec::new(), Some(present)));
    assert_eq!(requests(&world), 1, "for the edition's model alone, which is not the present one");
}

/// ROUND-42: parts of the edition's model took the place on disk of parts of the present one, before the member learnt that it
/// needs the present one.
#[test]
fn parts_of_one_model_are_not_stored_among_those_of_another() {
    let settings = template(2, 4, 15);
    let start = model(&settings);
    let edition = next_epoch(&consortium(&[1; 5]), start.digest(), None);
    let mut world = behind(World::new(edition, settings.clone(), 9));
    deliver(&mut world, 3);
    let here =
        world.nodes[&BEHIND].journal.arrived.as_ref().expect("some parts are on its disk").bytes_here();
    restart_with_the_first_model(&mut world, &settings);
    // The answer of a coordinator that still has the edition's model.
    world.inject(BEHIND, Frame::Message(Message::ModelTable(start.table())));
    assert_eq!(
        world.nodes[&BEHIND].journal.arrived.as_ref().map(ArrivingModel::digest),
        Some(start.digest())
    );
    world.observations.clear();
    world.connect(BEHIND);
    finish(&mut world);
    let present = world.coordinator.model().digest();
    assert_eq!(held(&world), Some(present));
    let on_disk = world.nodes[&BEHIND].journal.arrived.as_ref().and_then(ArrivingModel::model);
    assert_eq!(on_disk.map(|model| model.digest()), Some(present));
    let again: usize = sent(&world).iter().map(|(_, _, bytes)| bytes).sum();
    let all =
        world.coordinator.model().blocks().values().iter().map(|block| 4 * block.len() as u64).sum::<u64>();
    assert_eq!(again as u64 + here, all, "what was here is not sent again");
}

/// Restarts member 5 with the first edition's model and what is on its disk.
fn restart_with_the_first_model(world: &mut World, settings: &RoundSettings) {
    let arrived = world.nodes[&BEHIND].journal.arrived.clone();
    let first = settings.blocks.iter().map(|block| vec![1.0; block.shape.length as usize]).collect();
    world.restart(BEHIND);
    let mut member = Member::new(MemberConfig {
        id: BEHIND,
        key: world.consortium.keys[&BEHIND].clone(),
        epoch: world.consortium.epoch.clone(),
        policy: policy(&world.consortium),
        task: task(settings),
        model: Model::new(first),
        last_announced: None,
        openings: OpeningHistory::default(),
        arrived: arrived.into_iter().collect(),
    });
    member.ask_for_model();
    world.nodes.get_mut(&BEHIND).expect("a party").member = Some(member);
}

/// The parts on member 5's link, which are taken off it.
fn taken_parts(world: &mut World) -> Vec<ModelPart> {
    let mut parts = Vec::new();
    while let Some(frame) = world.lose_next(COORDINATOR, BEHIND) {
        if let Frame::Message(Message::ModelPart(part)) = frame {
            parts.push(part);
        }
    }
    parts
}

fn give(world: &mut World, parts: &[ModelPart]) {
    for part in parts {
        world.inject(BEHIND, Frame::Message(Message::ModelPart(part.clone())));
    }
}

/// ROUND-42
#[test]
fn a_wrong_block_is_found_at_once_and_comes_again_alone() {
    for wrong in [Some(1), None] {
        let mut world = behind(five());
        world.watch_faults();
        deliver(&mut world, 1);
        let mut parts = taken_parts(&mut world);
        world.observations.clear();
        if let Some(wrong) = wrong {
            parts[wrong].bytes[0] ^= 1;
        }
        give(&mut world, &parts);
        world.observations.clear();
        finish(&mut world);
        let again: Vec<Sent> =
            wrong.map(|wrong| (wrong as u32, 0, parts[wrong].bytes.len())).into_iter().collect();
        assert_eq!(sent(&world), again, "control: nothing comes again where no block is wrong");
        assert_eq!(world.changed_by_faults, []);
        assert_eq!(held(&world), Some(world.coordinator.model().digest()));
    }
}

/// ROUND-42
#[test]
fn a_coordinator_that_sends_wrong_blocks_alone_is_not_asked_for_ever() {
    let mut world = behind(five());
    deliver(&mut world, 1);
    let right = taken_parts(&mut world);
    let mut wrong = right.clone();
    wrong.iter_mut().for_each(|part| part.bytes[0] ^= 1);
    world.observations.clear();
    for _ in 0..5 {
        give(&mut world, &wrong);
    }
    assert_eq!(requests(&world), 0);
    give(&mut world, &right[..1]);
    give(&mut world, &wrong[1..]);
    assert_eq!(requests(&world), 0, "the answer was over");
    reconnect(&mut world, BEHIND.0);
    finish(&mut world);
    assert_eq!(requests(&world), 1, "control: on a new link it asks");
    assert_eq!(held(&world), Some(world.coordinator.model().digest()));
}

/// ROUND-42
#[test]
fn a_table_that_is_not_the_models_is_refused_and_the_right_one_taken() {
    let mut world = behind(five());
    world.watch_faults();
    let right = world.coordinator.model().table();
    let mut other = right.clone();
    other.blocks[0].digest.0[0] ^= 1;
    let mut long = right.clone();
    long.blocks[0].length += 1;
    let of_another = ModelTable { model: Digest([1; 32]), ..right.clone() };
    for (table, is_fault) in [(other, true), (long, true), (of_another, false)] {
        let before = world.faults.len();
        world.inject(BEHIND, Frame::Message(Message::ModelTable(table)));
        assert_eq!(world.faults.len() > before, is_fault);
    }
    finish(&mut world);
    assert_eq!(world.changed_by_faults, []);
    assert_eq!(held(&world), Some(world.coordinator.model().digest()));
}

/// ROUND-42
#[test]
fn the_coordinator_answers_for_parts_that_its_model_has_alone() {
    let mut world = five();
    world.watch_faults();
    let model = world.coordinator.model().digest();
    let ask = |block, first| {
        let missing = vec![MissingParts { block: BlockId(block), first }];
        Frame::Message(Message::ModelRequest { model, missing })
    };
    for (block, first) in [(99, 0), (0, 1), (0, u32::MAX)] {
        let refused = world.say(BEHIND, ask(block, first));
        let is_named = |fault: &Fault| {
            matches!(fault, Fault::PeerMisbehaved { peer: BEHIND, what: Misbehaviour::MissingParts { .. } })
        };
        assert!(refused.as_ref().is_err_and(is_named), "{refused:?}");
    }
    assert_eq!((sent(&world), world.changed_by_faults.len()), (vec![], 0));
    world.say(BEHIND, ask(0, 0)).unwrap();
    assert_eq!(sent(&world).len(), 1, "control");
}
