//! A consortium that changes while its coordinator runs: one hospital leaves, another joins, and the rounds go on from
//! the model that the last one left. All of it with the program's commands alone.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);

/// A running service and the file of its log.
struct Service {
    process: Child,
    log: PathBuf,
}

impl Service {
    /// The events of its log so far.
    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            if let Some(found) = self.events().into_iter().find(|event| is_it(event)) {
                return found;
            }
            let log = || std::fs::read_to_string(&self.log).unwrap();
            assert!(started.elapsed() < PATIENCE, "{what} does not come: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct World {
    folder: PathBuf,
    minilm: PathBuf,
    address: String,
    governance_key: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn cloister() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cloister"))
}

impl World {
    /// Notes, task, settings and initial parameters as the demo writes them, and a consortium that commands found.
    fn new() -> Option<Self> {
        let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("cloister-editions-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut world =
            Self { folder, minilm: minilm.into(), address: String::new(), governance_key: String::new() };
        let demo = [
            "demo",
            "--members",
            "6",
            "--notes-per-member",
            "16",
            "--rounds",
            "1",
            "--quiet",
            "--folder",
            "agreed",
        ];
        world.run(&demo.map(str::to_owned));
        world.party("coordinator", "coordinator");
        for number in 1..=6 {
            world.party(&format!("h{number}"), "member");
        }
        let fingerprint = world.fingerprint("coordinator");
        let init =
            "consortium init governance --name Test --coordinator coordinator/enrolment.toml --fingerprint";
        let said = world.run(&words(init, &[&fingerprint]));
        world.governance_key = said.lines().next().unwrap().split_whitespace().last().unwrap().to_owned();
        (1..=5).for_each(|number| world.add(number));
        world.run(&words("consortium sign governance", &[]));
        world.copy_edition("first.toml");
        for party in ["coordinator", "h1", "h2", "h3", "h4", "h5", "h6"] {
            let policy = format!("governance_key = \"{}\"\n", world.governance_key);
            std::fs::write(world.path(&format!("{party}/policy.toml")), policy).unwrap();
        }
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command that must succeed. The result is what it prints.
    fn run(&self, arguments: &[String]) -> String {
        let output = cloister().args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn party(&self, name: &str, role: &str) {
        let mut arguments =
            words(&format!("identity new {name} --name {name} --organisation {name} --role {role}"), &[]);
        if role == "member" {
            arguments.extend(words("--role custodian", &[]));
        }
        self.run(&arguments);
    }

    fn fingerprint(&self, name: &str) -> String {
        let shown: Value = serde_json::from_str(&self.run(&words("identity show --json", &[name]))).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    fn add(&self, number: u32) {
        let fingerprint = self.fingerprint(&format!("h{number}"));
        self.run(&words(
            &format!("consortium add governance h{number}/enrolment.toml --fingerprint"),
            &[&fingerprint],
        ));
    }

    fn copy_edition(&self, name: &str) {
        for suffix in ["", ".sig"] {
            let from = self.path(&format!("governance/consortium.toml{suffix}"));
            std::fs::copy(from, self.path(&format!("{name}{suffix}"))).unwrap();
        }
    }

    fn start(&self, name: &str, mut command: Command) -> Service {
        let log = self.path(&format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.args(["--log-format", "json"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Service { process: command.current_dir(&self.folder).spawn().unwrap(), log }
    }

    fn coordinator(&mut self, consortium: &str) -> Service {
        let mut command = cloister();
        let listen = if self.address.is_empty() { "127.0.0.1:0".to_owned() } else { self.address.clone() };
        let flags = "server --identity coordinator --settings agreed/settings.toml --model agreed/initial.parameters --data data \
                     --num-rounds 9 --idle-timeout-s 5 --reconnect-within-s 2 --consortium";
        command.args(words(flags, &[consortium])).args(["--listen", &listen]);
        let service = self.start("coordinator", command);
        let started = Instant::now();
        while !cloister().args(["run", "status"]).current_dir(&self.folder).output().unwrap().status.success()
        {
            assert!(started.elapsed() < PATIENCE, "the coordinator does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.address.is_empty() {
            let listening = service.wait_for("listening", |event| event["event"] == "listening");
            self.address = listening["address"].as_str().unwrap().to_owned();
        }
        service
    }

    fn hospital(&self, number: u32, consortium: &str) -> Service {
        let mut command = cloister();
        let flags = format!(
            "client --identity h{number} --task agreed/task.json --model agreed/initial.parameters --held-out agreed/held-out.jsonl \
             --notes agreed/hospital-{number:02}/notes.jsonl --data h{number}/data --evaluate 0/5 --idle-timeout-s 5 --consortium"
        );
        command.args(words(&flags, &[consortium])).arg("--base-model").arg(&self.minilm);
        command.args(["--coordinator", &self.address]);
        self.start(&format!("h{number}"), command)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.run(&words("run status --data data --json", &[]))).unwrap()
    }

    fn wait_for_rounds(&self, rounds: u64) {
        let started = Instant::now();
        while self.status()["closed_rounds"].as_u64().unwrap() < rounds {
            assert!(started.elapsed() < PATIENCE, "{}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A command's words, and then others that may have blanks.
fn words(text: &str, more: &[&str]) -> Vec<String> {
    text.split_whitespace().chain(more.iter().copied()).map(str::to_owned).collect()
}

/// CONS-11
#[test]
fn a_hospital_leaves_and_another_joins_between_rounds_while_the_coordinator_runs() {
    let Some(mut world) = World::new() else { return };
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
