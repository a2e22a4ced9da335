//! A consortium of five hospitals, each at a host of its own, over ten rounds: hospitals are away for some of them, one
//! leaves and another joins while the coordinator runs, the coordinator restarts, and a firewall drops all UDP of one
//! hospital. All of it with the program's commands alone.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod hosts;

use std::path::PathBuf;

use hosts::network::Network;
use hosts::service::{Service, wait_until};
use serde_json::Value;

/// The coordinator's host, and the hospitals'. The last one joins later.
const HOSTS: [&str; 7] = ["centre", "h1", "h2", "h3", "h4", "h5", "h6"];
/// The number of a hospital that no UDP reaches.
const BEHIND_FIREWALL: usize = 3;
const ROUNDS: u64 = 10;

struct World {
    folder: PathBuf,
    minilm: PathBuf,
    network: Network,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A command's words, and then others that may have blanks.
fn words(text: &str, more: &[&str]) -> Vec<String> {
    text.split_whitespace().chain(more.iter().copied()).map(str::to_owned).collect()
}

/// Notes of two kinds that a classifier tells apart.
fn notes(hospital: usize, count: usize) -> String {
    let note = |number: usize| {
        let (label, finding) =
            [("heart", "chest pain and a murmur"), ("lung", "cough and wheezing")][number % 2];
        format!("note {number} of ward {hospital}: {finding},{label}\n")
    };
    format!("text,label\n{}", (0..count).map(note).collect::<String>())
}

impl World {
    /// A consortium of the coordinator and five hospitals, with what all agree on. Nothing runs yet.
    fn new() -> Option<Self> {
        let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("cloister-hosts-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        HOSTS.iter().for_each(|host| std::fs::create_dir_all(folder.join(host)).unwrap());
        let world = Self { folder, minilm: minilm.into(), network: Network::new(&HOSTS) };
        world.make_keys("centre", "--role coordinator");
        (1..=6).for_each(|number| world.make_keys(HOSTS[number], ""));
        let init = "consortium init governance --name Test --coordinator centre/identity/enrolment.toml --fingerprint";
        let said = world.run(&words(init, &[&world.fingerprint("centre")]));
        let governance_key = said.lines().next().unwrap().split_whitespace().last().unwrap().to_owned();
        (1..=5).for_each(|number| world.add(HOSTS[number]));
        world.run(&words("consortium sign governance", &[]));
        let policy = format!("governance_key = \"{governance_key}\"\n");
        for (number, host) in HOSTS.iter().enumerate() {
            world.hand_over_edition(host);
            world.write(&format!("{host}/identity/policy.toml"), &policy);
            world.write(&format!("{host}/notes.csv"), &notes(number, 16));
        }
        world.run(&words(
            "task new agreed --classes heart,lung --max-tokens 16 --moe-layers 1 --experts-per-layer 4 --no-privacy-budget \
             --consortium h1/consortium.toml --policy h1/identity/policy.toml",
            &[],
        ));
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command that must succeed, without a network. The result is what it prints.
    fn run(&self, arguments: &[String]) -> String {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloister"));
        let output = command.args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn make_keys(&self, host: &str, role: &str) {
        self.run(&words(
            &format!("identity new {host}/identity --name {host} --organisation {host} {role}"),
            &[],
        ));
    }

    fn fingerprint(&self, host: &str) -> String {
        let shown = self.run(&words(&format!("identity show --json {host}/identity"), &[]));
        serde_json::from_str::<Value>(&shown).unwrap()["fingerprint"].as_str().unwrap().to_owned()
    }

    fn add(&self, host: &str) {
        let add = format!("consortium add governance {host}/identity/enrolment.toml --fingerprint");
        self.run(&words(&add, &[&self.fingerprint(host)]));
    }

    /// Gives a host the newest signed consortium file.
    fn hand_over_edition(&self, host: &str) {
        for name in ["consortium.toml", "consortium.toml.sig"] {
            std::fs::copy(self.path(&format!("governance/{name}")), self.path(&format!("{host}/{name}")))
                .unwrap();
        }
    }

    fn start(&self, host: &str, arguments: &[String]) -> Service {
        let mut command = self.network.command(host, &self.path(host), env!("CARGO_BIN_EXE_cloister"));
        command.args(arguments).env("CLOISTER_BASE_MODEL", &self.minilm);
        Service::start(command, self.path(&format!("{host}.log")))
    }

    fn start_coordinator(&self, listen: &str) -> Service {
        let flags = "server --consortium consortium.toml --identity identity --settings ../agreed/settings.toml --model \
             ../agreed/initial.parameters --data data --num-rounds 2 --min-available-nodes 4 --idle-timeout-s 5 --reconnect-within-s 2";
        let service = self.start("centre", &words(flags, &["--listen", listen]));
        service.wait_for("listening", |_| true);
        service
    }

    fn start_hospital(&self, host: &str, coordinator: &str) -> Service {
        let flags = "client --consortium consortium.toml --identity identity --task ../agreed/task.json --model \
                     ../agreed/initial.parameters --notes notes.csv --held-out notes.csv --data data --idle-timeout-s 5";
        self.start(host, &words(flags, &["--coordinator", coordinator]))
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.run(&words("run status --data centre/data --json", &[]))).unwrap()
    }

    fn rounds(&self) -> u64 {
        self.status()["closed_rounds"].as_u64().unwrap()
    }

    fn wait_for_rounds(&self, rounds: u64) {
        wait_until(
            || format!("no {rounds} rounds: {}", self.status()),
            || (self.rounds() >= rounds).then_some(()),
        );
    }

    /// Lets more rounds begin.
    fn start_rounds(&self, rounds: u64) {
        self.run(&words(&format!("run start --data centre/data --rounds {rounds}"), &[]));
    }

    /// The rounds in which a hospital's update was released, as its own ledger lists them.
    fn released_rounds(&self, host: &str) -> usize {
        let explained = self.run(&words(&format!("privacy explain {host}/data/privacy-ledger --json"), &[]));
        let explained: Value = serde_json::from_str(&explained).unwrap();
        explained["rounds"].as_array().unwrap().len()
    }
}

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
        assert_eq!(
            (steps.first().copied(), steps.last().copied()),
            (round["begun"].as_str(), round["ended"].as_str())
        );
    }
}

/// CONS-11
#[test]
fn five_hosts_close_ten_rounds_while_hospitals_are_away_leave_and_join() {
    let Some(mut world) = World::new() else { return };
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
