//! A consortium that changes while its coordinator runs: one hospital leaves, another joins, and the rounds go on from
//! the model that the last one left. All of it with the program's commands alone.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use world::{PATIENCE, Service, World, words};

/// CONS-11
#[test]
fn a_hospital_leaves_and_another_joins_between_rounds_while_the_coordinator_runs() {
    let Some(mut world) = World::new("editions", &["member custodian"; 6], 5) else { return };
    let coordinator = world.coordinator("first.toml");
    let hospitals: Vec<Service> = (1..=5).map(|number| world.hospital(number, "first.toml")).collect();
    world.wait_for_rounds(1);
    world.run(&words("run pause --data data", &[]));
    let started = Instant::now();
    while world.status()["in_round"] == true {
        assert!(started.elapsed() < PATIENCE, "the round does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = world.status()["closed_rounds"].as_u64().unwrap();
    world.run(&words("consortium remove governance h2", &[]));
    world.add(6);
    world.run(&words("consortium sign governance --start data/epoch-start.toml", &[]));
    world.copy_edition("second.toml");
    world.run(&words("run edition second.toml --data data", &[]));
    // The hospital that joins has the initial parameters alone; it gets the model of the last round by its digest.
    let joined = world.hospital(6, "second.toml");
    world.run(&words("run resume --data data", &[]));
    world.wait_for_rounds(before + 1);
    let round = coordinator.wait_for("a round of the second edition", |event| {
        event["event"] == "round" && event["uploaded"].as_array().is_some_and(|list| list.contains(&6.into()))
    });
    assert!(!round["announced"].as_array().unwrap().contains(&2.into()), "{round}");
    for (index, hospital) in hospitals.iter().enumerate().filter(|(index, _)| *index != 1) {
        let edition = hospital.wait_for("the edition", |event| event["event"] == "edition");
        assert_eq!(edition["changes"].as_array().unwrap().len(), 2, "hospital {}: {edition}", index + 1);
    }
    let refused = hospitals[1].wait_for("the rejection", |event| event["event"] == "unreachable");
    assert!(
        refused["reason"].as_str().unwrap().contains("not in the coordinator's consortium file"),
        "{refused}"
    );
    joined.wait_for("the closing", |event| event["event"] == "closed");

    // A restart with the first edition's file goes on in the second: the coordinator kept it.
    drop(coordinator);
    let coordinator = world.coordinator("first.toml");
    world.wait_for_rounds(before + 2);
    assert_eq!(world.status()["edition"], 2);
    assert!(world.path("data/rounds/edition-002/0001.log.jsonl").exists());
    world.run(&words("run stop --data data", &[]));
    coordinator.wait_for("the stop", |event| event["event"] == "stopping");
    // A hospital that is told to stop in the middle of its training ends in good order.
    let mut stopped = hospitals.into_iter().next().unwrap();
    let id = stopped.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(stopped.process.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(&stopped.log).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
