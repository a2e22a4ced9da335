//! A consortium whose parties are at hosts of their own, made by the program's commands alone.

use std::path::PathBuf;

use serde_json::Value;

use super::network::Network;
use super::service::{Service, wait_until};

/// Hosts, the files at each of them, and what all agree on.
pub(crate) struct World {
    folder: PathBuf,
    minilm: PathBuf,
    pub(crate) network: Network,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A command's words, and then others that may have blanks.
pub(crate) fn words(text: &str, more: &[&str]) -> Vec<String> {
    text.split_whitespace().chain(more.iter().copied()).map(str::to_owned).collect()
}

/// Notes of two kinds that a classifier tells apart.
fn notes(host: &str, count: usize) -> String {
    let note = |number: usize| {
        let (label, finding) =
            [("heart", "chest pain and a murmur"), ("lung", "cough and wheezing")][number % 2];
        format!("note {number} of {host}: {finding},{label}\n")
    };
    format!("text,label\n{}", (0..count).map(note).collect::<String>())
}

impl World {
    /// A consortium of the coordinator at the host `centre` and of the first parties, as many as `enrolled`, with what all
    /// agree on. A party is the name of its host, and its roles as flags. Nothing runs yet.
    pub(crate) fn new(name: &str, parties: &[(&str, &str)], enrolled: usize) -> Option<Self> {
        let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("cloister-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let hosts: Vec<&str> = std::iter::once("centre").chain(parties.iter().map(|party| party.0)).collect();
        hosts.iter().for_each(|host| std::fs::create_dir_all(folder.join(host)).unwrap());
        let world = Self { folder, minilm: minilm.into(), network: Network::new(&hosts) };
        world.make_keys("centre", "--role coordinator");
        parties.iter().for_each(|(host, roles)| world.make_keys(host, roles));
        let init = "consortium init governance --name Test --coordinator centre/identity/enrolment.toml --fingerprint";
        let said = world.run(&words(init, &[&world.fingerprint("centre")]));
        let governance_key = said.lines().next().unwrap().split_whitespace().last().unwrap().to_owned();
        parties[..enrolled].iter().for_each(|(host, _)| world.add(host));
        world.run(&words("consortium sign governance", &[]));
        let policy = format!("governance_key = \"{governance_key}\"\n");
        for host in hosts {
            world.hand_over_edition(host);
            world.write(&format!("{host}/identity/policy.toml"), &policy);
            world.write(&format!("{host}/notes.csv"), &notes(host, 16));
        }
        world.run(&words(
            "task new agreed --classes heart,lung --max-tokens 16 --moe-layers 1 --experts-per-layer 4 --held-out-records 16 \
             --no-privacy-budget \
             --consortium centre/consortium.toml --policy centre/identity/policy.toml",
            &[],
        ));
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command that must succeed, without a network. The result is what it prints.
    pub(crate) fn run(&self, arguments: &[String]) -> String {
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

    pub(crate) fn fingerprint(&self, host: &str) -> String {
        let shown = self.run(&words(&format!("identity show --json {host}/identity"), &[]));
        serde_json::from_str::<Value>(&shown).unwrap()["fingerprint"].as_str().unwrap().to_owned()
    }

    pub(crate) fn add(&self, host: &str) {
        let add = format!("consortium add governance {host}/identity/enrolment.toml --fingerprint");
        self.run(&words(&add, &[&self.fingerprint(host)]));
    }

    /// Gives a host the newest signed consortium file.
    pub(crate) fn hand_over_edition(&self, host: &str) {
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

    pub(crate) fn start_coordinator(&self, listen: &str) -> Service {
        let flags = "server --consortium consortium.toml --identity identity --settings ../agreed/settings.toml --model \
             ../agreed/initial.parameters --data data --num-rounds 2 --min-available-nodes 4 --idle-timeout-s 5 --reconnect-within-s 2";
        let service = self.start("centre", &words(flags, &["--listen", listen]));
        service.wait_for("listening", |_| true);
        service
    }

    pub(crate) fn start_hospital(&self, host: &str, coordinator: &str) -> Service {
        let flags = "client --consortium consortium.toml --identity identity --task ../agreed/task.json --model \
                     ../agreed/initial.parameters --notes notes.csv --held-out notes.csv --data data --idle-timeout-s 5";
        self.start(host, &words(flags, &["--coordinator", coordinator]))
    }

    pub(crate) fn start_custodian(&self, host: &str, coordinator: &str) -> Service {
        let flags = "custodian --consortium consortium.toml --identity identity --model ../agreed/initial.parameters --data data \
                     --idle-timeout-s 5";
        self.start(host, &words(flags, &["--coordinator", coordinator]))
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.run(&words("run status --data centre/data --json", &[]))).unwrap()
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.status()["closed_rounds"].as_u64().unwrap()
    }

    pub(crate) fn wait_for_rounds(&self, rounds: u64) {
        wait_until(
            || format!("no {rounds} rounds: {}", self.status()),
            || (self.rounds() >= rounds).then_some(()),
        );
    }

    /// Lets more rounds begin.
    pub(crate) fn start_rounds(&self, rounds: u64) {
        self.run(&words(&format!("run start --data centre/data --rounds {rounds}"), &[]));
    }

    /// The rounds in which a hospital's update was released, as its own ledger lists them.
    pub(crate) fn released_rounds(&self, host: &str) -> usize {
        let explained = self.run(&words(&format!("privacy explain {host}/data/privacy-ledger --json"), &[]));
        let explained: Value = serde_json::from_str(&explained).unwrap();
        let rounds = explained["rounds"].as_array().unwrap();
        let is_timed = |round: &Value| {
            let closed = round["closed"]["at"].as_str();
            // Times to the second in UTC sort as texts do. A hospital need not see a round end.
            round["charged_at"].as_str().is_some_and(|charged| closed.is_none_or(|closed| charged <= closed))
        };
        assert!(rounds.iter().all(is_timed), "{explained}");
        rounds.len()
    }
}
