//! Rehearsals go through a whole round, tell nothing, and leave everything as it was.

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::{SketchForm, SketchValues};
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_testkit::world::{Observation, World};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::AnnouncedSketch;

use crate::liveness::finish;

/// Seven parties: five organisations make a cohort.
fn seven() -> World {
    let mut world = World::new(consortium(&[1; 7]), template(2, 5, 1), 4);
    world.trains_afresh = true;
    world
}

fn reports(world: &World) -> Vec<RoundReport> {
    let ended = world.observations.iter().filter_map(|observation| match observation {
        Observation::Ended(report) => Some(RoundReport::clone(report)),
        _ => None,
    });
    ended.collect()
}

/// The sketches that a member announced in a round.
fn sketches(world: &World, member: PartyId, round: u64) -> Vec<AnnouncedSketch> {
    let announced = world.observations.iter().find_map(|observation| match observation {
        Observation::FromMember(from, Frame::Message(Message::Announcement(signed))) if *from == member => {
            let body = signed.parse().expect("members encode what they sign");
            (body.round == Round(round)).then_some(body.sketches)
        }
        _ => None,
    });
    announced.expect("it announced")
}

/// ROUND-39, ROUND-45: every block is opened, all sums are zeros, and nobody stores an opening or an upload.
#[test]
fn a_rehearsal_opens_zeros_and_leaves_no_trace() {
    let mut world = seven();
    let before = world.coordinator.model().digest();
    assert!(world.start_rehearsal());
    finish(&mut world);
    let report = reports(&world).pop().expect("it ended");
    assert_eq!(report.sums.len(), world.template_mut().blocks.len());
    assert_eq!(world.coordinator.model().digest(), before);
    let sums = world.coordinator.checkpoint().last_sums;
    let chunks = sums.iter().filter_map(|frame| match frame {
        Frame::Chunk(chunk) => Some(&chunk.bytes),
        Frame::Message(_) => None,
    });
    assert!(chunks.flatten().all(|byte| *byte == 0));
    let records = world.observations.iter().filter(|observation| {
        matches!(
            observation,
            Observation::Opening(
                _,
                OpeningRecord::Uploading { .. } | OpeningRecord::Sealed { blocks: _, .. }
            )
        )
    });
    let stored = records.filter(|observation| match observation {
        Observation::Opening(_, OpeningRecord::Sealed { blocks, .. }) => !blocks.is_empty(),
        _ => true,
    });
    assert_eq!(stored.count(), 0);
    // A round from the same parameters without one member opens all blocks: there is no difference to take.
    world.silence_member(PartyId(7));
    world.start_round();
    finish(&mut world);
    assert_eq!(reports(&world).last().expect("it ended").sums.len(), world.template_mut().blocks.len());
    assert!(!world.events.iter().any(|event| matches!(event, Event::Repeated(_))));
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

/// A round is aborted, a rehearsal ends in one of two ways, and a round follows. Whether member 1 sends its contribution again.
fn is_sent_again_after(rehearsal: impl FnOnce(&mut World)) -> bool {
    let mut world = seven();
    let away = [5, 6, 7].map(PartyId);
    away.iter().for_each(|member| world.silence_member(*member));
    world.start_round();
    finish(&mut world);
    assert!(reports(&world)[0].sums.is_empty(), "too few announced");
    rehearsal(&mut world);
    assert_eq!(reports(&world).len(), 2);
    let zeros = sketches(&world, PartyId(1), 2);
    let nothing = SketchValues::zeros(SketchForm::Pairs, 16);
    assert!(zeros.iter().all(|sketch| sketch.values == nothing));
    for member in away {
        world.restart(member);
        world.connect(member);
    }
    world.start_round();
    finish(&mut world);
    assert!(!reports(&world)[2].sums.is_empty(), "nobody refuses");
    sketches(&world, PartyId(1), 1) == sketches(&world, PartyId(1), 3)
}

fn rehearsal_that_closes(world: &mut World) {
    for member in [5, 6, 7].map(PartyId) {
        world.restart(member);
        world.connect(member);
    }
    assert!(world.start_rehearsal());
    finish(world);
    assert!(!reports(world)[1].sums.is_empty());
}

fn rehearsal_that_is_aborted(world: &mut World) {
    assert!(world.start_rehearsal());
    finish(world);
    assert!(reports(world)[1].sums.is_empty());
}

/// ROUND-39, ROUND-31: what an abort left goes out again after a rehearsal, and is not trained and charged once more. Otherwise a
/// coordinator could collect sketches of one update by rehearsing between aborts.
#[test]
fn a_contribution_outlasts_a_rehearsal() {
    assert!(is_sent_again_after(rehearsal_that_closes));
    assert!(is_sent_again_after(rehearsal_that_is_aborted));
}

/// ROUND-31, ROUND-39: a closing ends what was contributed to its round, also if a rehearsal comes in between.
#[test]
fn a_contribution_does_not_outlast_its_closing_behind_a_rehearsal() {
    let mut world = seven();
    world.start_round();
    // Member 1 learns of the closing from the rehearsal's plan.
    world.withhold_ending(PartyId(1));
    finish(&mut world);
    assert!(world.start_rehearsal());
    finish(&mut world);
    world.start_round();
    finish(&mut world);
    assert_eq!(reports(&world).iter().filter(|report| !report.sums.is_empty()).count(), 3);
    assert_ne!(sketches(&world, PartyId(1), 1), sketches(&world, PartyId(1), 3));
}
