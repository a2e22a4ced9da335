//! `cloister doctor client` at machines that are sound, and at machines with one fault.

#![cfg(feature = "training")]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod examination;
mod hosts;
mod site;
mod tiny_base;

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cloister_params::consortium::{PublicBytes, Role};
use serde_json::{Value, json};

use examination::{Examined, LINKED_CHECKS, cloister, contents, doctor};
use hosts::service::Service;
use site::Site;
use tiny_base::{copy_base, write_letter_tokenizer};

/// The checks after those of every party that has a link.
const CHECKS: [&str; 10] = [
    "privacy_ledger",
    "device",
    "task",
    "base_model",
    "initial_parameters",
    "notes",
    "held_out_notes",
    "memory",
    "disk_space",
    "round_settings",
];

/// Links and what follows from them: what cannot be examined where no coordinator answers.
const OVER_LINKS: [&str; 4] = ["quic", "tcp", "clock", "coordinator"];

const NOTES: &str = "{\"text\": \"a b\", \"label\": \"a\"}\n{\"text\": \"c\", \"label\": \"b\"}\n";

/// Starts a service of a site, whose links are given up after a few seconds.
fn start(site: &Site, name: &str, arguments: &[&str]) -> Service {
    let mut command = cloister(arguments);
    command.args(["--idle-timeout-s", "5"]);
    Service::start(command, site.folder.join(format!("{name}.log")))
}

fn count(service: &Service, event: &str) -> usize {
    service.events().iter().filter(|line| line["event"] == event).count()
}

/// A consortium with a tiny published model, of which one hospital has all of its files.
struct World {
    site: Site,
    port: u16,
}

impl World {
    fn new(name: &str) -> Self {
        let mut site = Site::new(&format!("doctor-{name}"));
        site.enrol(&[Role::Member, Role::Custodian]);
        site.write_consortium();
        fs::set_permissions(site.path("data"), Permissions::from_mode(0o700)).unwrap();
        copy_base(&site.folder.join("base"));
        write_letter_tokenizer(&site.folder.join("base"));
        fs::write(site.path("notes.jsonl"), NOTES).unwrap();
        let mut command =
            cloister(&["experts", "task", "base", "task", "--members", "5", "--max-tokens", "8"]);
        command.args(["--objective", "classification", "--classes-of", "notes.jsonl"]);
        let output = command.current_dir(&site.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let world = Self { site, port };
        world.configure("");
        world
    }

    fn configure(&self, more: &str) {
        self.configure_with("task/task.json", more);
    }

    fn configure_with(&self, task: &str, more: &str) {
        let config = format!(
            "consortium = 'consortium.toml'\nidentity = 'party'\ncoordinator = '127.0.0.1:{}'\ntask = '{task}'\n\
             model = 'task/initial.parameters'\nbase_model = 'base'\nnotes = 'notes.jsonl'\nheld_out = 'notes.jsonl'\n\
             data = 'hospital-data'\ndevice = 'cpu'\n{more}",
            self.port
        );
        fs::write(self.site.folder.join("client.toml"), config).unwrap();
    }

    fn coordinator(&self, carrier: &str) -> Service {
        let site = &self.site;
        // A journal belongs to one consortium file, and these tests change it.
        fs::remove_dir_all(site.path("data")).unwrap();
        let (consortium, identity, data) = (site.path("consortium.toml"), site.path(""), site.path("data"));
        let (settings, model) = (site.path("task/settings.toml"), site.path("task/initial.parameters"));
        let listen = format!("127.0.0.1:{}", self.port);
        let service = start(
            site,
            "coordinator",
            &[
                "server",
                "--consortium",
                &consortium,
                "--identity",
                &identity,
                "--settings",
                &settings,
                "--model",
                &model,
                "--data",
                &data,
                "--listen",
                &listen,
                "--carrier",
                carrier,
            ],
        );
        service.wait_for("listening", |_| true);
        service
    }

    fn examine(&self, more: &[&str]) -> Examined {
        doctor(&[&["client", &self.site.path("client.toml")], more].concat())
    }

    /// Examines with other bytes in a file.
    fn with_file(&self, name: &str, text: &str) -> Examined {
        let before = fs::read(self.site.path(name)).unwrap();
        fs::write(self.site.path(name), text).unwrap();
        let examined = self.examine(&[]);
        fs::write(self.site.path(name), before).unwrap();
        examined
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.site.path(name)).unwrap()
    }
}

/// WIRE-09: the client is connected before, meanwhile and afterwards, over the same link.
#[test]
fn a_sound_hospital_has_no_fault_and_its_client_stays_connected() {
    let world = World::new("sound");
    let coordinator = world.coordinator("auto");
    let before = contents(&world.site.folder.join("party"));
    let examined = world.examine(&["--settings", &world.site.path("task/settings.toml")]);
    assert_eq!(examined.order, [LINKED_CHECKS.as_slice(), &CHECKS].concat());
    examined.expect_sound();
    assert_eq!(examined.in_state("warning"), Vec::<&str>::new(), "{:#?}", examined.checks);
    assert_eq!(examined.in_state("not_checked"), Vec::<&str>::new(), "{:#?}", examined.checks);
    assert!(!world.site.folder.join("hospital-data").exists(), "the data folder is not made");
    assert!(contents(&world.site.folder.join("party")) == before, "nothing is written");

    let client = start(&world.site, "client", &["client", "--config", &world.site.path("client.toml")]);
    client.wait_for("connected", |_| true);
    let before = contents(&world.site.folder.join("hospital-data"));
    for _ in 0..2 {
        let examined = world.examine(&[]);
        examined.expect_sound();
        let found = |check: &str| examined.checks[check]["found"].to_string();
        assert!(found("data_folder").contains("(cloister client) uses it"), "{}", found("data_folder"));
        assert!(found("quic").contains("lets this party in"), "{}", found("quic"));
        assert!(found("memory").contains("running client"), "{}", found("memory"));
    }
    assert!(contents(&world.site.folder.join("hospital-data")) == before, "nothing is written");
    // A link that was replaced would be noticed at both ends.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        (count(&client, "connected"), count(&client, "reconnecting")),
        (1, 0),
        "{:#?}",
        client.events()
    );
    assert_eq!(count(&coordinator, "disconnected"), 0, "{:#?}", coordinator.events());
    let status = cloister(&["run", "status", "--json", "--data", &world.site.path("data")]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["connected"], json!([1]));
}

#[test]
fn each_fault_of_a_hospital_s_files_is_found_by_its_check_alone() {
    let world = World::new("files");
    let _coordinator = world.coordinator("auto");
    for key in ["party/key.pem", "party/signing.key"] {
        fs::set_permissions(world.site.path(key), Permissions::from_mode(0o640)).unwrap();
        world.examine(&[]).expect_faults(&["keys"], 78, &["0640", "chmod 600"]);
        fs::set_permissions(world.site.path(key), Permissions::from_mode(0o600)).unwrap();
    }
    let changed = world.read("consortium.toml").replace("weight = 1", "weight = 2");
    world.with_file("consortium.toml", &changed).expect_faults(
        &["consortium_file"],
        78,
        &["not signed by the governance key"],
    );
    // Rows are counted, and nothing of a row is printed.
    let rows = format!("{NOTES}{}", NOTES.replace("\"b\"}", "\"secret label\"}"));
    let unknown = world.with_file("notes.jsonl", &rows);
    let both = ["notes", "held_out_notes"];
    unknown.expect_faults(&both, 78, &["1 of 4 rows cannot be used", "line 4", "cloister data check"]);
    assert!(!format!("{:?}", unknown.checks).contains("secret"), "{:#?}", unknown.checks);
    world.with_file("notes.jsonl", "").expect_faults(&both, 78, &["has no rows"]);
    world.with_file("task/task.json", "{").expect_faults(&["task"], 78, &["task.json"]);
    let config = world.read("base/config.json").replace("{", "{ ");
    world.with_file("base/config.json", &config).expect_faults(&["base_model"], 78, &["config.json"]);
    // The settings and parameters of another task.
    let other = fs::read(world.site.path("model")).unwrap();
    let before = fs::read(world.site.path("task/initial.parameters")).unwrap();
    fs::write(world.site.path("task/initial.parameters"), other).unwrap();
    let examined = world.examine(&["--settings", &world.site.path("settings.toml")]);
    let faults = ["initial_parameters", "round_settings"];
    examined.expect_faults(&faults, 78, &["get the initial parameters of this task"]);
    fs::write(world.site.path("task/initial.parameters"), before).unwrap();

    fs::create_dir(world.site.path("hospital-data")).unwrap();
    fs::set_permissions(world.site.path("hospital-data"), Permissions::from_mode(0o700)).unwrap();
    fs::write(world.site.path("hospital-data/privacy-ledger"), "another program's\n").unwrap();
    world.examine(&[]).expect_faults(&["privacy_ledger"], 78, &["line 1", "restore it"]);
    fs::remove_file(world.site.path("hospital-data/privacy-ledger")).unwrap();
    world.examine(&[]).expect_sound();
}

#[test]
fn a_data_folder_that_another_program_uses_is_a_fault() {
    let world = World::new("used");
    let _coordinator = world.coordinator("auto");
    // The client makes its journal, and ends.
    let client = start(&world.site, "client", &["client", "--config", &world.site.path("client.toml")]);
    client.wait_for("connected", |_| true);
    drop(client);
    world.examine(&[]).expect_sound();
    let entries = fs::read_dir(world.site.path("hospital-data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let journal = names.into_iter().find(|path| path.to_string_lossy().contains("/journal-")).unwrap();
    let file = File::open(&journal).unwrap();
    file.lock().unwrap();
    world.examine(&[]).expect_faults(&["data_folder"], 69, &["which is no `cloister client`", "end it"]);
    drop(file);
    let damaged = fs::read_to_string(&journal).unwrap().replacen("begun", "began", 1);
    fs::write(&journal, damaged).unwrap();
    world.examine(&[]).expect_faults(&["journal"], 78, &["line 1", "start a new epoch"]);
}

#[test]
fn each_fault_of_a_link_is_found_by_its_check_alone() {
    let mut world = World::new("links");
    // Nothing listens.
    world.examine(&[]).expect_faults(&["quic", "tcp"], 69, &["no answer"]);
    let over_tcp = world.coordinator("tcp");
    let examined = world.examine(&[]);
    examined.expect_sound();
    assert_eq!(examined.in_state("warning"), ["quic"], "{:#?}", examined.checks);
    let found = examined.checks["quic"]["found"].to_string();
    assert!(found.contains("links go over the other carrier"), "{found}");
    // The same without another carrier is a fault.
    world.configure("carrier = 'quic'\n");
    let examined = world.examine(&[]);
    examined.expect_faults(&["quic"], 69, &["no answer", "no firewall blocks its UDP"]);
    assert_eq!(examined.in_state("not_checked")[..3], ["tcp", "clock", "coordinator"]);
    world.configure("");
    drop(over_tcp);

    // The coordinator does not know this hospital's certificate, and later its own is another one.
    let (certificate, file) = (world.site.file.parties[0].certificate, world.site.file.clone());
    world.site.file.parties[0].certificate = PublicBytes([101; 32]);
    world.site.write_consortium();
    let coordinator = world.coordinator("auto");
    let examined = world.examine(&[]);
    examined.expect_faults(&["consortium_file"], 78, &["is not in the consortium file"]);
    for check in OVER_LINKS {
        assert_eq!(examined.checks[check]["state"], "not_checked");
    }
    world.site.file.parties[0].certificate = certificate;
    world.site.write_consortium();
    let faults = ["quic", "tcp"];
    world.examine(&[]).expect_faults(&faults, 69, &["is not in the coordinator's consortium file"]);
    world.site.file.coordinator.certificate = PublicBytes([200; 32]);
    world.site.write_consortium();
    let said = ["pinned", "whether this network inspects TLS"];
    world.examine(&[]).expect_faults(&faults, 69, &said);
    drop(coordinator);
    world.site.file = file;
    world.site.write_consortium();
    let _coordinator = world.coordinator("auto");
    world.examine(&[]).expect_sound();
    world.configure("proxy = '127.0.0.1:1'\n");
    world.examine(&[]).expect_faults(&["tcp"], 69, &["the proxy 127.0.0.1:1 cannot be reached"]);
}
