//! Runs every command of the operator's guide, in its order, each at the host that its block names. The tools of the system
//! that need an administrator are stood in for by `hosts/tools`; all else is the program itself, and what it leaves.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod hosts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hosts::network::Network;
use hosts::service::wait_until;
use serde_json::Value;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The coordinator's host first.
const HOSTS: [&str; 5] = ["centre", "north", "south", "west", "east"];
/// The folders of a machine that the guide names. Each host of the test has its own.
const ABSOLUTE: [&str; 4] = ["/etc/cloister", "/var/lib", "/srv/cloister", "/usr/share/cloister"];
/// The coordinator's address in the guide.
const ADDRESS: &str = "cloister.example.org:443";
/// Where operators ask it.
const CONTROL_ADDRESS: &str = "cloister.example.org:8443";

/// Commands of the guide, and where they run.
struct Block {
    hosts: Vec<String>,
    /// The number of rounds with sums to wait for after the commands.
    rounds: Option<u64>,
    /// Whether the tests of packages run these commands instead of this one.
    installs: bool,
    commands: String,
}

/// The blocks of a page. Every block must name its host.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut block = Block { hosts: Vec::new(), rounds: None, installs: false, commands: String::new() };
        let mut words = info.split_whitespace();
        assert_eq!(words.next(), Some("sh"), "a block that is no shell: {line}");
        for word in words {
            match (word.strip_prefix("wait="), word) {
                (Some(rounds), _) => block.rounds = Some(rounds.parse().unwrap()),
                (None, "install") => block.installs = true,
                (None, host) => block.hosts.push(host.to_owned()),
            }
        }
        assert!(!block.hosts.is_empty(), "a block without a host: {line}");
        for line in lines.by_ref().take_while(|line| line.trim_start() != "```") {
            writeln!(block.commands, "{}", line.get(indent..).unwrap_or("")).unwrap();
        }
        blocks.push(block);
    }
    blocks
}

struct World {
    folder: PathBuf,
    network: Network,
    /// The coordinator's address here.
    address: String,
    /// Where operators ask it here.
    control_address: String,
    /// What people read to one another, by the names that the guide gives it.
    spoken: BTreeMap<String, String>,
}

impl Drop for World {
    fn drop(&mut self) {
        for host in HOSTS {
            for entry in std::fs::read_dir(self.folder.join(host).join("run")).into_iter().flatten().flatten()
            {
                if entry.path().extension().is_some_and(|extension| extension == "pid") {
                    let process = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    let _ = Command::new("kill").args(["-KILL", process.trim()]).status();
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Notes of two kinds that a classifier tells apart.
fn notes(host: &str, labels: bool) -> String {
    let note = |number: usize| {
        let (label, finding) =
            [("heart", "chest pain and a murmur"), ("lung", "cough and wheezing")][number % 2];
        let label = if labels { format!(",{label}") } else { String::new() };
        format!("note {number} of {host}: {finding}{label}\n")
    };
    let header = if labels { "text,label\n" } else { "text\n" };
    header.to_owned() + &(0..16).map(note).collect::<String>()
}

impl World {
    fn new(minilm: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-guide-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for host in HOSTS {
            let role = if host == "centre" { "coordinator" } else { "hospital" };
            let host_folder = folder.join(host);
            for name in ["run", "srv/cloister", "usr/share/cloister", &format!("etc/cloister/{role}")] {
                std::fs::create_dir_all(host_folder.join(name)).unwrap();
            }
            // As systemd makes it.
            std::fs::create_dir_all(host_folder.join(format!("var/lib/cloister-{role}"))).unwrap();
            std::os::unix::fs::symlink(format!("etc/cloister/{role}"), host_folder.join("work")).unwrap();
            std::os::unix::fs::symlink(minilm, host_folder.join("usr/share/cloister/minilm-l6-v2")).unwrap();
            for (name, labels) in [("notes", true), ("held-out", true), ("new-notes", false)] {
                std::fs::write(host_folder.join(format!("srv/cloister/{name}.csv")), notes(host, labels))
                    .unwrap();
            }
        }
        let network = Network::new(&HOSTS);
        let [address, control_address] =
            [ADDRESS, CONTROL_ADDRESS].map(|address| match network.has_names() {
                true => address.to_owned(),
                // A port that was free a moment ago.
                false => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string(),
            });
        Self { folder, network, address, control_address, spoken: BTreeMap::new() }
    }

    /// The commands with the folders and the address of this test.
    fn placed(&self, host: &str, commands: &str) -> String {
        let root = self.folder.join(host).display().to_string();
        let mut placed = commands.to_owned();
        for folder in ABSOLUTE {
            placed = placed.replace(folder, &format!("{root}{folder}"));
        }
        if self.address != ADDRESS {
            placed = placed.replace(ADDRESS, &self.address);
            placed = placed.replace("listen = \"443\"", &format!("listen = \"{}\"", self.address));
            placed = placed.replace(CONTROL_ADDRESS, &self.control_address);
            placed = placed.replace("\"8443\"", &format!("\"{}\"", self.control_address));
        }
        placed
    }

    fn output(&self, host: &str, commands: &str) -> Output {
        let folder = self.folder.join(host).join("work");
        let mut command = self.network.command(host, &folder, "bash");
        command.args(["-euo", "pipefail", "-c", &self.placed(host, commands)]);
        let tools = format!("{REPOSITORY}/crates/cli/tests/hosts/tools");
        let program = Path::new(env!("CARGO_BIN_EXE_cloister"));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{tools}:{}:{path}", program.parent().unwrap().display()));
        command.env("TEST_HOSTS", &self.folder).env("TEST_HOST", host).env("TEST_PROGRAM", program);
        command.env("TEST_UNITS", format!("{REPOSITORY}/deploy/systemd")).envs(&self.spoken);
        command.output().unwrap()
    }

    /// Runs commands that must succeed. The result is what they print.
    fn run(&self, host: &str, commands: &str) -> String {
        let output = self.output(host, commands);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "at {host}:\n{commands}\n{errors}\n{}", self.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The end of each service's log.
    fn logs(&self) -> String {
        let mut logs = String::new();
        for host in HOSTS {
            for unit in ["cloister-coordinator", "cloister-hospital"] {
                let log = std::fs::read_to_string(self.folder.join(format!("{host}/run/{unit}.log")));
                let lines: Vec<String> =
                    log.unwrap_or_default().lines().rev().take(12).map(str::to_owned).collect();
                lines.iter().rev().for_each(|line| writeln!(logs, "{host}: {line}").unwrap());
            }
        }
        logs
    }

    /// Notes what people read to one another after a block: digits of keys, and the lines that commands printed for others.
    fn listen(&mut self, printed: &str) {
        for line in printed.lines() {
            if let Some(key) = line.strip_prefix("governance key") {
                self.spoken
                    .insert("GOVERNANCE_KEY".into(), key.split_whitespace().last().unwrap().to_owned());
            }
            let is_founding = printed.starts_with("governance key");
            if let Some(digits) = line.strip_prefix("fingerprint").filter(|_| is_founding) {
                self.spoken.insert("GOVERNANCE".into(), digits.trim().to_owned());
            }
            if line.starts_with("cloister_operator_") {
                self.spoken.insert("TOKEN".into(), line.to_owned());
            }
            if line.starts_with("cloister-invitation-") {
                self.spoken.insert("INVITE".into(), line.to_owned());
            }
        }
        for host in HOSTS {
            for (folder, suffix) in [("identity", ""), ("renewed", "_RENEWED")] {
                let name = host.to_uppercase() + suffix;
                if self.folder.join(format!("{host}/work/{folder}/enrolment.toml")).exists()
                    && !self.spoken.contains_key(&name)
                {
                    let shown = self.run(host, &format!("cloister identity show {folder} --json"));
                    let shown: Value = serde_json::from_str(&shown).unwrap();
                    self.spoken.insert(name, shown["fingerprint"].as_str().unwrap().to_owned());
                }
            }
        }
    }

    fn wait_for_rounds(&self, rounds: u64) {
        let closed = || {
            let status =
                self.run("centre", "cloister run status --data /var/lib/cloister-coordinator --json");
            serde_json::from_str::<Value>(&status).unwrap()["closed_rounds"].as_u64().unwrap()
        };
        wait_until(|| format!("no {rounds} rounds:\n{}", self.logs()), || (closed() >= rounds).then_some(()));
    }
}

#[test]
fn every_command_of_the_guide_works() {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
        return;
    };
    let page = std::fs::read_to_string(format!("{REPOSITORY}/deploy/guide.md")).unwrap();
    let mut world = World::new(Path::new(&minilm));
    for block in blocks(&page) {
        if block.installs {
            let package = format!("./cloister_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
            assert!(block.commands.contains(&package), "another version: {}", block.commands);
            continue;
        }
        for host in &block.hosts {
            let printed = world.run(host, &block.commands);
            world.listen(&printed);
        }
        block.rounds.into_iter().for_each(|rounds| world.wait_for_rounds(rounds));
    }
    let refused = world.output("centre", "false");
    assert!(!refused.status.success(), "a command that fails would be noticed");
}
