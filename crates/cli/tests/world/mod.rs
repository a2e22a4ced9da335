//! A consortium that the program's own commands found, and its parties as processes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, dead_code)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A running service and the file of its log.
pub(crate) struct Service {
    pub(crate) process: Child,
    pub(crate) log: PathBuf,
}

impl Service {
    /// The events of its log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
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

pub(crate) struct World {
    folder: PathBuf,
    minilm: PathBuf,
    pub(crate) address: String,
    governance_key: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn cloister() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cloister"))
}

impl World {
    /// Notes, task, settings and initial parameters as the demo writes them for six hospitals, and a consortium that commands
    /// found. Party `h1` has the first roles, and so on; the first parties, as many as `enrolled`, are listed at first.
    pub(crate) fn new(name: &str, roles: &[&str], enrolled: usize) -> Option<Self> {
        let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("cloister-{name}-{}", std::process::id()));
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
        for (number, roles) in (1..).zip(roles) {
            world.party(&format!("h{number}"), roles);
        }
        let fingerprint = world.fingerprint("coordinator");
        let init =
            "consortium init governance --name Test --coordinator coordinator/enrolment.toml --fingerprint";
        let said = world.run(&words(init, &[&fingerprint]));
        world.governance_key = said.lines().next().unwrap().split_whitespace().last().unwrap().to_owned();
        (1..=enrolled).for_each(|number| world.add(number));
        world.run(&words("consortium sign governance", &[]));
        world.copy_edition("first.toml");
        let parties = (1..=roles.len()).map(|number| format!("h{number}"));
        for party in parties.chain(["coordinator".to_owned()]) {
            let policy = format!("governance_key = \"{}\"\n", world.governance_key);
            std::fs::write(world.path(&format!("{party}/policy.toml")), policy).unwrap();
        }
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command that must succeed. The result is what it prints.
    pub(crate) fn run(&self, arguments: &[String]) -> String {
        let output = cloister().args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn party(&self, name: &str, roles: &str) {
        let mut arguments = words(&format!("identity new {name} --name {name} --organisation {name}"), &[]);
        arguments.extend(roles.split(' ').flat_map(|role| ["--role".to_owned(), role.to_owned()]));
        self.run(&arguments);
    }

    fn fingerprint(&self, name: &str) -> String {
        let shown: Value = serde_json::from_str(&self.run(&words("identity show --json", &[name]))).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    pub(crate) fn add(&self, number: usize) {
        let fingerprint = self.fingerprint(&format!("h{number}"));
        self.run(&words(
            &format!("consortium add governance h{number}/enrolment.toml --fingerprint"),
            &[&fingerprint],
        ));
    }

    pub(crate) fn copy_edition(&self, name: &str) {
        for suffix in ["", ".sig"] {
            let from = self.path(&format!("governance/consortium.toml{suffix}"));
            std::fs::copy(from, self.path(&format!("{name}{suffix}"))).unwrap();
        }
    }

    pub(crate) fn start(&self, name: &str, mut command: Command) -> Service {
        let log = self.path(&format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.args(["--log-format", "json"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Service { process: command.current_dir(&self.folder).spawn().unwrap(), log }
    }

    pub(crate) fn coordinator(&mut self, consortium: &str) -> Service {
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

    pub(crate) fn hospital(&self, number: usize, consortium: &str) -> Service {
        let mut command = cloister();
        let flags = format!(
            "client --identity h{number} --task agreed/task.json --model agreed/initial.parameters --held-out agreed/held-out.jsonl \
             --notes agreed/hospital-{number:02}/notes.jsonl --data h{number}/data --evaluate 0/5 --idle-timeout-s 5 --consortium"
        );
        command.args(words(&flags, &[consortium])).arg("--base-model").arg(&self.minilm);
        command.args(["--coordinator", &self.address]);
        self.start(&format!("h{number}"), command)
    }

    pub(crate) fn custodian(&self, number: usize, consortium: &str) -> Service {
        let mut command = cloister();
        let flags = format!(
            "custodian --identity h{number} --model agreed/initial.parameters --data h{number}/data --idle-timeout-s 5 --consortium"
        );
        command.args(words(&flags, &[consortium])).args(["--coordinator", &self.address]);
        self.start(&format!("h{number}"), command)
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.run(&words("run status --data data --json", &[]))).unwrap()
    }

    pub(crate) fn wait_for_rounds(&self, rounds: u64) {
        let started = Instant::now();
        while self.status()["closed_rounds"].as_u64().unwrap() < rounds {
            assert!(started.elapsed() < PATIENCE, "{}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A command's words, and then others that may have blanks.
pub(crate) fn words(text: &str, more: &[&str]) -> Vec<String> {
    text.split_whitespace().chain(more.iter().copied()).map(str::to_owned).collect()
}
