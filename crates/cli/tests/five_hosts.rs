//! A consortium of five hospitals, each at a host of its own, over ten rounds: hospitals are away for some of them, one
//! leaves and another joins while the coordinator runs, the coordinator restarts, and a firewall drops all UDP of one
//! hospital. All of it with the program's commands alone.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod hosts;

use hosts::consortium::{World, words};
use hosts::service::{Service, wait_until};
use serde_json::Value;

/// The coordinator's host, and the hospitals'. The last one joins later.
const HOSTS: [&str; 7] = ["centre", "h1", "h2", "h3", "h4", "h5", "h6"];
/// What each hospital is.
const BOTH_ROLES: &str = "--role member --role custodian";
/// The number of a hospital that no UDP reaches.
const BEHIND_FIREWALL: usize = 3;
const ROUNDS: u64 = 10;

/// Whether a round's list has this hospital's number.
fn lists(round: &Value, list: &str, number: usize) -> bool {
    round[list].as_array().unwrap().contains(&number.into())
}

/// The fifth hospital is away, then the fourth one too, and a round waits for them and names them. Then the first one ends
/// in the middle of a round.
fn hospitals_are_away(
    world: &World,
    coordinator: &Service,
    hospitals: &mut [Option<Service>],
    addresses: &[String],
) {
    let restart = |number: usize| world.start_hospital(HOSTS[number], &addresses[number]);
    hospitals[5].take().unwrap().stop();
    world.start_rounds(2);
    world.wait_for_rounds(4);
    // With two hospitals away no cohort is large enough.
    hospitals[4].take().unwrap().stop();
    let both_are_missing = || world.status()["missing"] == serde_json::json!([4, 5]);
    wait_until(|| format!("4 and 5 are away: {}", world.status()), || both_are_missing().then_some(()));
    let link = coordinator.wait_for("disconnected", |event| event["party"] == 4);
    assert_eq!(link["reason"], "the hospital stops, and will be back");
    world.start_rounds(2);
    let waiting = coordinator.wait_for("waiting", |event| event["missing"] == serde_json::json!([4, 5]));
    assert_eq!(waiting["connected"], 3, "{waiting}");
    hospitals[4] = Some(restart(4));
    world.wait_for_rounds(6);
    hospitals[5] = Some(restart(5));
    hospitals[5].as_ref().unwrap().wait_for("connected", |_| true);
    world.start_rounds(1);
    coordinator.wait_for("planned", |event| event["round"] == 7);
    // Ended by force, without a word to the coordinator.
    drop(hospitals[1].take());
    hospitals[1] = Some(restart(1));
    world.wait_for_rounds(7);
}

/// The second hospital leaves and the sixth joins, between two rounds.
fn roster_changes(world: &World, coordinator: &Service, hospitals: &mut [Option<Service>], address: &str) {
    world.run(&words("run pause --data centre/data", &[]));
    world.run(&words("consortium remove governance h2", &[]));
    world.add("h6");
    world.run(&words("consortium sign governance --start centre/data/epoch-start.toml", &[]));
    world.run(&words("run edition governance/consortium.toml --data centre/data", &[]));
    // The hospital that joins has the initial parameters alone; it gets the model of the last round by its digest.
    world.hand_over_edition("h6");
    hospitals[6] = Some(world.start_hospital("h6", address));
    hospitals[6].as_ref().unwrap().wait_for("connected", |_| true);
    world.run(&words("run resume --data centre/data", &[]));
    world.start_rounds(2);
    let round = coordinator.wait_for("round", |round| lists(round, "uploaded", 6));
    assert!(!lists(&round, "announced", 2), "{round}");
    for number in [1, 3, 4, 5] {
        let edition = hospitals[number].as_ref().unwrap().wait_for("edition", |_| true);
        assert_eq!(edition["changes"].as_array().unwrap().len(), 2, "hospital {number}: {edition}");
    }
    let removed = hospitals[2].take().unwrap();
    let refused = removed.wait_for("unreachable", |_| true);
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("not in the coordinator's consortium file"), "{refused}");
    world.wait_for_rounds(9);
}

/// LOG-02: the history of a coordinator that was stopped.
fn check_history(world: &World) {
    let history = world.run(&words("run history --data centre/data --json", &[]));
    let history: Value = serde_json::from_str(&history).unwrap();
    let rounds = history["rounds"].as_array().unwrap();
    let closed: Vec<&Value> = rounds.iter().filter(|round| round["state"] == "closed").collect();
    assert_eq!(closed.len() as u64, ROUNDS, "{history}");
    assert_eq!((&closed[0]["edition"], &closed[ROUNDS as usize - 1]["edition"]), (&1.into(), &2.into()));
    for round in closed {
        let count = |name: &str| round[name].as_u64().unwrap();
        assert!((4..=5).contains(&count("summed")) && count("summed") <= count("announced"), "{round}");
        assert!(count("blocks") > 0 && count("bytes_up") > 0, "{round}");
        // Times to the second in UTC sort as texts do.
        let steps: Vec<&str> =
            round["steps"].as_array().unwrap().iter().map(|step| step["time"].as_str().unwrap()).collect();
        assert!(steps.is_sorted(), "{round}");
        assert!(round["run"].is_u64(), "{round}");
        assert_eq!(
            (steps.first().copied(), steps.last().copied()),
            (round["begun"].as_str(), round["ended"].as_str())
        );
    }
}

/// CONS-11
#[test]
fn five_hosts_close_ten_rounds_while_hospitals_are_away_leave_and_join() {
    let hospitals = HOSTS[1..].iter().map(|host| (*host, BOTH_ROLES)).collect::<Vec<_>>();
    let Some(mut world) = World::new("hosts", &hospitals, 5) else { return };
    world.network.drop_udp(HOSTS[BEHIND_FIREWALL]);
    let mut coordinator = world.start_coordinator(world.network.listen_address());
    let listening = coordinator.wait_for("listening", |_| true)["address"].as_str().unwrap().to_owned();
    let address = |host: &&str| world.network.coordinator_address(host, listening.parse().unwrap());
    let addresses: Vec<String> = HOSTS.iter().map(address).collect();
    let mut hospitals: Vec<Option<Service>> =
        (1..=5).map(|number| Some(world.start_hospital(HOSTS[number], &addresses[number]))).collect();
    // At the index of each hospital's number.
    hospitals.insert(0, None);
    hospitals.push(None);
    for (number, hospital) in
        hospitals.iter().enumerate().filter_map(|(number, hospital)| Some((number, hospital.as_ref()?)))
    {
        let carrier = if number == BEHIND_FIREWALL { "tcp" } else { "quic" };
        assert_eq!(hospital.wait_for("connected", |_| true)["carrier"], carrier, "hospital {number}");
    }
    world.wait_for_rounds(2);
    hospitals_are_away(&world, &coordinator, &mut hospitals, &addresses);
    roster_changes(&world, &coordinator, &mut hospitals, &addresses[6]);

    // A restart with the first edition's file goes on in the second: the coordinator kept it.
    coordinator.stop();
    coordinator = world.start_coordinator(&listening);
    world.start_rounds(1);
    world.wait_for_rounds(ROUNDS);
    assert_eq!(world.status()["edition"], 2);
    assert!(world.path("centre/data/rounds/edition-002/0001.log.jsonl").exists());
    let model = |host: &str| std::fs::read(world.path(&format!("{host}/data/model.safetensors"))).unwrap();
    let have_one_model = || ["h3", "h4", "h5", "h6"].iter().all(|host| model(host) == model("h1"));
    wait_until(|| "the hospitals' models differ".into(), || have_one_model().then_some(()));
    world.run(&words("run stop --data centre/data", &[]));
    coordinator.has_ended();
    check_history(&world);
    hospitals.into_iter().flatten().for_each(Service::stop);

    for line in std::fs::read_to_string(world.path("h1.log")).unwrap().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "the log has a line that is no JSON: {line}");
    }
    let released = ["h1", "h2", "h5", "h6"].map(|host| world.released_rounds(host));
    assert_eq!(released[0], ROUNDS as usize, "the ledger goes on over both editions");
    assert!(released[1..].iter().all(|rounds| (1..ROUNDS as usize).contains(rounds)), "{released:?}");
}
