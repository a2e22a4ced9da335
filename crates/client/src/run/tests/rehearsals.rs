//! What a hospital's loop makes of rehearsals.

use cloister_params::plan::{SketchForm, SketchValues};
use cloister_wire::statement::AnnouncedSketch;

use super::*;

/// What a member announces after its training, and how much it has charged.
fn announced(rehearsal: bool) -> (Vec<AnnouncedSketch>, usize) {
    let (mut world, config, _folder) = site(if rehearsal { "rehearsal" } else { "no-rehearsal" });
    (world.template_mut().rehearsal, world.template_mut().training.private) = (rehearsal, None);
    let settings = world.template_mut().clone();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, given) = client(&config, &settings, &mut events);
    world.start_round();
    show(&mut world, &mut client);
    let (plan, ..) = train_job(&given);
    client.handle_report(WorkerReport::Trained(plan, trained(&settings))).expect("it takes part");
    let sketches = client.to_send.frames().find_map(|frame| match frame {
        Frame::Message(Message::Announcement(signed)) => Some(signed.parse().expect("its own").sketches),
        _ => None,
    });
    drop(client);
    let rehearses = reported.iter().any(|event| matches!(event, ClientEvent::Rehearsing(_)));
    assert_eq!(rehearses, rehearsal);
    (sketches.expect("it announces"), charges(&config))
}

/// ROUND-39: a rehearsal goes through training, and neither charges nor uses what was trained.
#[test]
fn a_rehearsal_is_trained_for_and_nothing_is_charged() {
    let (sketches, charged) = announced(true);
    assert_eq!(charged, 0);
    let nothing = SketchValues::zeros(SketchForm::Pairs, 16);
    assert!(
        !sketches.is_empty() && sketches.iter().all(|sketch| sketch.values == nothing),
        "no noise, and nothing of the training"
    );
    let (sketches, charged) = announced(false);
    assert!(charged == 1 && sketches.iter().any(|sketch| sketch.values != nothing), "control");
}

/// ROUND-39, PRIV-13: what an abort left goes out after a rehearsal without another charge, and its closing is recorded.
#[test]
fn a_charge_outlasts_a_rehearsal_and_is_closed_after_it() {
    let (mut world, config, _folder) = site("outlasting");
    world.template_mut().training.private = None;
    let settings = world.template_mut().clone();
    let mut events = |_| ();
    let (mut client, given) = client(&config, &settings, &mut events);
    start_round_without_the_floor(&mut world);
    show(&mut world, &mut client);
    let (plan, ..) = train_job(&given);
    client.handle_report(WorkerReport::Trained(plan, trained(&settings))).expect("it is charged");
    expire(&mut world, &mut client);
    for member in [2, 3, 4].map(PartyId) {
        world.restart(member);
        world.connect(member);
    }
    assert!(world.start_rehearsal());
    show(&mut world, &mut client);
    let (plan, rehearsal, _) = train_job(&given);
    assert!(rehearsal.settings.rehearsal);
    client.handle_report(WorkerReport::Trained(plan, trained(&settings))).expect("it takes part");
    expire(&mut world, &mut client);
    let history = || History::read(&config.ledger()).expect("a sound ledger");
    assert_eq!(
        (history().charges.len(), history().closed[0].is_none()),
        (1, true),
        "a rehearsal closes nothing"
    );
    client.to_send.clear();
    world.start_round();
    show(&mut world, &mut client);
    assert!(announces(&client.to_send) && given.try_recv().is_err(), "it is not trained again");
    expire(&mut world, &mut client);
    assert_eq!((history().charges.len(), history().closed[0].is_some()), (1, true));
}
