//! What a member compares itself with, if sketches are withheld (`ALIGN-16`).

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::{template, with_withheld_sketches};
use cloister_params::id::PartyId;
use cloister_protocol::model::Model;
use cloister_testkit::world::World;
use cloister_wire::message::Message;

use crate::liveness::{finish, run_to};

const FIRST: PartyId = PartyId(1);
const LAST: PartyId = PartyId(5);

fn five() -> World {
    World::new(consortium(&[1; 5]), with_withheld_sketches(template(2, 4, 1)), 4)
}

fn before_last_changes(world: &World, party: PartyId) -> Option<Model> {
    world.nodes[&party].member.as_ref().and_then(|member| member.before_last_changes()).cloned()
}

fn run(world: &mut World) -> Model {
    let before = world.coordinator.model().clone();
    assert!(world.start_round());
    finish(world);
    assert_ne!(world.coordinator.model().digest(), before.digest(), "the round changed the model");
    before
}

/// ALIGN-16: after each closing a member has the blocks as they were before it.
#[test]
fn a_member_keeps_its_blocks_as_they_were_before_the_last_closing() {
    let mut world = five();
    assert_eq!(before_last_changes(&world, FIRST), None, "nothing was published");
    for _ in 0..2 {
        let before = run(&mut world);
        assert_eq!(before_last_changes(&world, FIRST), Some(before));
    }
}

/// ALIGN-16: a rehearsal changes no block, and so no reference.
#[test]
fn a_rehearsal_changes_no_reference() {
    let mut world = five();
    let before = run(&mut world);
    assert!(world.start_rehearsal());
    finish(&mut world);
    assert_eq!(before_last_changes(&world, FIRST), Some(before));
}

/// ALIGN-16: a member that was restarted or that fetched the model has none until the next closing.
#[test]
fn a_member_that_fetched_the_model_has_no_reference_until_the_next_closing() {
    let mut world = five();
    run(&mut world);
    world.start_round();
    run_to(&mut world, LAST.0, |message| matches!(message, Message::Ended(_)));
    world.restart(LAST);
    finish(&mut world);
    world.connect(LAST);
    finish(&mut world);
    assert_eq!(before_last_changes(&world, LAST), None);
    assert!(before_last_changes(&world, FIRST).is_some(), "control");
    let before = run(&mut world);
    assert_eq!(before_last_changes(&world, LAST), Some(before));
}

/// ALIGN-16: rounds with another form need no reference, and keep no second model for it.
#[test]
fn a_round_with_sketches_leaves_no_reference() {
    let mut world = World::new(consortium(&[1; 5]), template(2, 4, 1), 4);
    run(&mut world);
    assert_eq!(before_last_changes(&world, FIRST), None);
}
