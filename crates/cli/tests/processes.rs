//! A coordinator and hospitals as processes: killed as soon as their journals say what they are about to send and started
//! again, and with a budget that a plan exceeds.

#![cfg(all(feature = "training", target_os = "linux"))]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod rounds;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const HOSPITALS: u32 = 5;
/// The longest wait for a journal's record: four rounds on a busy machine take less.
const PATIENCE: Duration = Duration::from_secs(600);

/// A consortium whose parties run as processes.
struct Consortium {
    folder: PathBuf,
    address: String,
    minilm: PathBuf,
    server: Child,
    hospitals: Vec<Child>,
}

impl Drop for Consortium {
    fn drop(&mut self) {
        for process in self.hospitals.iter_mut().chain([&mut self.server]) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn cloister() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cloister"))
}

/// Keys, notes and settings of a consortium, as the demo writes them, without data; `None`, with a message,
/// if it cannot.
fn prepared(name: &str) -> Option<(PathBuf, PathBuf)> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
        return None;
    };
    let folder = std::env::temp_dir().join(format!("cloister-processes-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let flags =
        ["demo", "--members", "5", "--notes-per-member", "24", "--rounds", "1", "--quiet", "--folder"];
    assert!(cloister().args(flags).arg(&folder).stdout(Stdio::null()).status().unwrap().success());
    let hospitals = (1..=HOSPITALS).map(|hospital| identity(&folder, hospital));
    for party in hospitals.chain([folder.join("coordinator")]) {
        std::fs::remove_dir_all(party.join("data")).unwrap();
    }
    Some((folder, minilm.into()))
}

fn identity(folder: &Path, hospital: u32) -> PathBuf {
    folder.join(format!("hospital-{hospital:02}"))
}

impl Consortium {
    fn start(folder: PathBuf, minilm: PathBuf, rounds: u32) -> Self {
        let party_folder = folder.join("coordinator");
        let mut server = cloister();
        server.arg("server").arg("--consortium").arg(folder.join("consortium.toml"));
        server.arg("--settings").arg(folder.join("settings.toml"));
        server.arg("--model").arg(folder.join("initial.parameters"));
        server.arg("--identity").arg(&party_folder).arg("--data").arg(party_folder.join("data"));
        server.args([
            "--listen",
            "127.0.0.1:0",
            "--num-rounds",
            &rounds.to_string(),
            "--until-finished",
            "--events",
        ]);
        let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = first["address"].as_str().unwrap().to_owned();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let mut consortium = Self { folder, address, minilm, server, hospitals: Vec::new() };
        consortium.hospitals = (1..=HOSPITALS).map(|hospital| consortium.hospital(hospital)).collect();
        consortium
    }

    fn hospital(&self, hospital: u32) -> Child {
        let party_folder = identity(&self.folder, hospital);
        let mut client = cloister();
        client.arg("client").arg("--consortium").arg(self.folder.join("consortium.toml"));
        client.arg("--task").arg(self.folder.join("task.json"));
        client.arg("--model").arg(self.folder.join("initial.parameters"));
        client.arg("--held-out").arg(self.folder.join("held-out.jsonl"));
        client.arg("--base-model").arg(&self.minilm).arg("--notes").arg(party_folder.join("notes.jsonl"));
        client.arg("--data").arg(party_folder.join("data")).arg("--identity").arg(&party_folder);
        client.args(["--coordinator", &self.address, "--evaluate", "0/5", "--until-finished", "--events"]);
        let events = std::fs::File::create(party_folder.join("events")).unwrap();
        client.stdout(events).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn journal(&self, hospital: u32) -> Option<String> {
        let mut files =
            std::fs::read_dir(identity(&self.folder, hospital).join("data")).ok()?.filter_map(Result::ok);
        let file = files.find(|file| file.file_name().to_string_lossy().starts_with("journal-"))?;
        std::fs::read_to_string(file.path()).ok()
    }

    /// Kills a hospital as soon as its journal has a record, and starts it again after a while. The record is
    /// written before the frame is sent, so the restarted program cannot know whether it was.
    fn kill_at(&mut self, hospital: u32, record: &str, away: Duration) {
        let started = Instant::now();
        while !self.journal(hospital).is_some_and(|text| text.contains(record)) {
            assert!(self.server.try_wait().unwrap().is_none(), "the coordinator ended before {record:?}");
            assert!(started.elapsed() < PATIENCE, "{record:?} does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        let at = hospital as usize - 1;
        self.hospitals[at].kill().unwrap();
        self.hospitals[at].wait().unwrap();
        std::thread::sleep(away);
        self.hospitals[at] = self.hospital(hospital);
    }

    /// Waits until every process has ended. Returns the exit status of each hospital and its stderr.
    fn finish(&mut self) -> Vec<(Option<i32>, String)> {
        let end = |process: &mut Child| {
            let mut words = String::new();
            let _ = process.stderr.take().map(|mut stderr| stderr.read_to_string(&mut words));
            (process.wait().unwrap().code(), words)
        };
        let ended = self.hospitals.iter_mut().map(end).collect();
        assert!(self.server.wait().unwrap().success(), "the coordinator ends well");
        ended
    }
}

/// ROUND-04
#[test]
fn hospitals_killed_at_every_signature_come_back_and_sign_nothing_twice() {
    let Some((folder, minilm)) = prepared("signatures") else { return };
    let mut consortium = Consortium::start(folder.clone(), minilm, 4);
    consortium.kill_at(2, "announced 1\n", Duration::ZERO);
    consortium.kill_at(3, "signed 2 seal-1", Duration::ZERO);
    consortium.kill_at(4, "signed 3 outcome", Duration::ZERO);
    // By then all others have ended, and only the silence of this one tells the coordinator that it has not
    // got the ending.
    consortium.kill_at(5, "signed 4 closing", Duration::from_secs(12));
    for (status, words) in consortium.finish() {
        assert_eq!(status, Some(0), "{words}");
    }
    rounds::check(&folder, 1..=4);
    let model = |hospital| std::fs::read(identity(&folder, hospital).join("data/model.safetensors")).unwrap();
    for hospital in 1..=HOSPITALS {
        let journal = consortium.journal(hospital).unwrap();
        // Behind each line's digest.
        let step = |line: &str| line.split(' ').skip(1).take(3).collect::<Vec<_>>().join(" ");
        let steps: BTreeSet<String> = journal.lines().map(step).collect();
        assert_eq!(
            steps.len(),
            journal.lines().count(),
            "hospital {hospital} signed a step twice: {journal}"
        );
        assert!(model(hospital) == model(1), "hospital {hospital} has another model");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// PRIV-05
#[test]
fn a_hospital_whose_budget_has_no_room_ends_with_status_5_and_the_others_go_on() {
    let Some((folder, minilm)) = prepared("budget") else { return };
    let policy = identity(&folder, 5).join("policy.toml");
    let budget = "\n[privacy]\nunit = \"member\"\nmaximum_epsilon = 4.0\nmaximum_delta = 1e-6\n";
    std::fs::write(&policy, std::fs::read_to_string(&policy).unwrap() + budget).unwrap();
    let mut consortium = Consortium::start(folder.clone(), minilm, 1);
    let ended = consortium.finish();
    let codes: Vec<Option<i32>> = ended.iter().map(|(status, _)| *status).collect();
    assert_eq!(codes, [Some(0), Some(0), Some(0), Some(0), Some(5)], "{ended:?}");
    let refusal = &ended[4].1;
    for part in ["no contribution to round 1", "`maximum_epsilon`", "this party allows 4"] {
        assert!(refusal.contains(part), "{part:?} is not in: {refusal}");
    }
    rounds::check(&folder, 1..=1);
    let ledger = |hospital| {
        let path = identity(&folder, hospital).join("data/privacy-ledger");
        std::fs::read_to_string(path).unwrap().lines().filter(|line| line.contains("releases")).count()
    };
    assert_eq!((ledger(1), ledger(5)), (1, 0), "nothing is charged where nothing is released");
    let closed = |hospital| {
        let events = std::fs::read_to_string(identity(&folder, hospital).join("events")).unwrap();
        let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.find(|event| event["event"] == "closed").expect("the round closed")
    };
    // The four that took part are the smallest allowed cohort, so each of them is in every sum.
    for event in (1..=4).map(closed) {
        assert!(event["applied"].as_u64() > Some(0) && event["summed"] == event["applied"], "{event}");
    }
    assert_eq!(closed(5)["summed"], 0);
    std::fs::remove_dir_all(folder).unwrap();
}
