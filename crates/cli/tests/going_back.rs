//! A consortium rehearses a round, trains until the model stops getting better, and goes back to the best one by a signed
//! edition. All of it with the program's commands alone.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod hosts;

use hosts::consortium::{World, words};
use hosts::service::{Service, wait_until};
use serde_json::Value;

const HOSTS: [&str; 5] = ["centre", "h1", "h2", "h3", "h4"];

fn json(world: &World, command: &str) -> Value {
    serde_json::from_str(&world.run(&words(command, &[]))).unwrap()
}

/// The digest of a hospital's model, as it is on its disk.
fn digest_at(world: &World, host: &str) -> Option<String> {
    let path = world.path(&format!("{host}/data/model.parameters"));
    let model = cloister_protocol::model::Model::from_bytes(&std::fs::read(path).ok()?)?;
    Some(model.digest().to_string())
}

/// ROUND-39: the rehearsal's round closes, and no ledger has anything of it.
fn rehearse(world: &World, hospitals: &[Service]) {
    world.run(&words("run start --data centre/data --rounds 1 --rehearsal", &[]));
    for hospital in hospitals {
        hospital.wait_for("rehearsed", |event| event["round"] == 3);
    }
    world.wait_for_rounds(3);
    assert_eq!(HOSTS[1..].iter().map(|host| world.released_rounds(host)).collect::<Vec<_>>(), [2; 4]);
}

/// RUN-05: a run whose evaluations never rise by so much ends after the second one. The result is the digest of the model that
/// the first one measured.
fn train_until_it_gets_no_better(world: &World) -> String {
    world.run(&words("run start --data centre/data --rounds 9 --patience 1 --least-gain 100", &[]));
    let ended = || {
        let queue = json(world, "run queue --data centre/data --json");
        let run = queue["runs"].as_array().unwrap().last().unwrap().clone();
        (run["state"] == "ended").then_some(run)
    };
    let run = wait_until(|| "the run has not ended".into(), ended);
    assert_eq!((&run["how"], &run["closed"]), (&"stopped_early".into(), &2.into()), "{run}");
    assert_eq!(run["best"]["round"], 4, "{run}");
    run["best"]["model"].as_str().unwrap().to_owned()
}

/// PRIV-15: each round published the noised counts of 16 records at each of four hospitals. The rehearsal published nothing.
fn check_evaluations(world: &World) {
    let history = json(world, "run history --data centre/data --json");
    let rounds = history["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 5, "{history}");
    for round in rounds {
        let evaluation = &round["evaluation"];
        if round["rehearsal"] == true {
            assert!(evaluation.is_null(), "{round}");
            continue;
        }
        let number = |name: &str| evaluation[name].as_f64().unwrap_or_else(|| panic!("{name}: {round}"));
        // The noise has a standard deviation of 0.75 records.
        assert!((number("records") - 64.0).abs() < 6.0, "{round}");
        assert!((0.0..=1.0).contains(&number("accuracy")), "{round}");
    }
}

/// CONS-16, FILE-02
#[test]
fn a_consortium_rehearses_ends_a_run_early_and_goes_back_to_the_best_model() {
    let hospitals =
        HOSTS[1..].iter().map(|host| (*host, "--role member --role custodian")).collect::<Vec<_>>();
    let Some(world) = World::new("going-back", &hospitals, 4) else { return };
    let mut coordinator = world.start_coordinator(world.network.listen_address());
    let listening = coordinator.wait_for("listening", |_| true)["address"].as_str().unwrap().to_owned();
    let address = |host: &&str| world.network.coordinator_address(host, listening.parse().unwrap());
    let hospitals: Vec<Service> =
        HOSTS[1..].iter().map(|host| world.start_hospital(host, &address(host))).collect();
    world.wait_for_rounds(2);
    rehearse(&world, &hospitals);
    let best = train_until_it_gets_no_better(&world);
    check_evaluations(&world);
    let kept = json(&world, "model list --data centre/data --json");
    assert!(kept["models"].as_array().unwrap().iter().any(|model| model["digest"] == *best), "{kept}");
    assert_ne!(digest_at(&world, "h1").unwrap(), best);

    world.run(&words("run pause --data centre/data", &[]));
    // The model before round 4 is the one that round 2 left, because round 3 was a rehearsal.
    let said = world.run(&words(
        "consortium sign governance --start centre/data/epoch-start.toml --back-to centre/data/rounds/0002.ending",
        &[],
    ));
    assert!(
        said.contains(&format!("the model is again {best}, that after round 2 of an earlier edition")),
        "{said}"
    );
    world.run(&words("run edition governance/consortium.toml --data centre/data", &[]));
    for hospital in &hospitals {
        let edition = hospital.wait_for("edition", |_| true);
        assert!(edition["changes"][0].as_str().unwrap().contains(&best), "{edition}");
    }
    let have_it = || HOSTS[1..].iter().all(|host| digest_at(&world, host).as_ref() == Some(&best));
    wait_until(|| "a hospital has another model".into(), || have_it().then_some(()));
    hospitals.into_iter().for_each(Service::stop);
    world.run(&words("run stop --data centre/data", &[]));
    coordinator.has_ended();
}
