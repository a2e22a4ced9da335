//! A hospital that enrols over the network at a running coordinator, and joins with the next edition. All of it with the
//! program's commands alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod scratch;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cloister_cluster::plan::{model, template};
use cloister_identity::enrolment::EnrolmentRole;
use cloister_identity::online::{Invitation, InvitationToken};
use cloister_params::id::PartyId;
use cloister_transport::{ConnectError, Fingerprint, Identity, TransportSettings, connect};
use scratch::{Scratch, mode};
use serde_json::Value;

const BOTH: [EnrolmentRole; 2] = [EnrolmentRole::Member, EnrolmentRole::Custodian];

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running coordinator of a consortium with five hospitals.
struct Running {
    scratch: Scratch,
    governance_key: String,
    coordinator: Process,
    address: SocketAddr,
}

impl Running {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let governance_key = scratch.found();
        let settings = template(2, 4, 1);
        std::fs::write(scratch.path("settings.toml"), settings.to_toml().unwrap()).unwrap();
        std::fs::write(scratch.path("model"), model(&settings).to_bytes()).unwrap();
        std::fs::write(scratch.path("coordinator/policy.toml"), pin(&governance_key)).unwrap();
        let (coordinator, address) = start(&scratch, "127.0.0.1:0");
        Self { scratch, governance_key, coordinator, address }
    }

    /// Stops the coordinator, does something to its files, and starts it again at the same address.
    fn restart(&mut self, meanwhile: impl FnOnce(&Scratch)) {
        self.scratch.succeeds("run stop");
        assert!(self.coordinator.0.wait().unwrap().success());
        meanwhile(&self.scratch);
        let listen = self.address.to_string();
        (self.coordinator, self.address) = start(&self.scratch, &listen);
    }

    fn invite(&self, more: &str) -> String {
        let address = self.address;
        self.scratch.succeeds(&format!("run invite --address {address} {more}")).trim_end().to_owned()
    }

    /// The command with which a hospital enrols. Texts may have blanks.
    fn enroll(&self, invite: &str, folder: &str, name: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.args(["enroll", "--json", "--invite", invite, "--identity", folder, "--name", name]);
        command.args(["--organisation", "Hospital"]).args(more).current_dir(&self.scratch.0);
        command
    }

    fn enrolled(&self, invite: &str, folder: &str, name: &str, more: &[&str]) -> Value {
        let output = self.enroll(invite, folder, name, more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn rejected(&self, invite: &str, folder: &str, name: &str, more: &[&str], says: &str) {
        let output = self.enroll(invite, folder, name, more).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{errors}");
        assert!(errors.contains(says), "{says:?} is not in: {errors}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Whether the coordinator lets a folder's keys in as this party.
    fn connects(&self, folder: &str, party: u32) -> Result<(), ConnectError> {
        let identity = Identity::load(&self.scratch.path(folder)).unwrap();
        let coordinator = Identity::load(&self.scratch.path("coordinator")).unwrap().fingerprint();
        let settings = TransportSettings::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime
            .block_on(connect(self.address, &identity, coordinator, PartyId(party), &settings))
            .map(|link| assert_eq!(link.peer(), PartyId::COORDINATOR))
    }
}

fn pin(governance_key: &str) -> String {
    format!("governance_key = \"{governance_key}\"\n")
}

fn start(scratch: &Scratch, listen: &str) -> (Process, SocketAddr) {
    let flags = "server --consortium governance/consortium.toml --identity coordinator --settings settings.toml \
                 --model model --data data --events --listen";
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(flags.split_whitespace()).arg(listen).current_dir(&scratch.0);
    let log = scratch.path("events");
    let file = File::options().create(true).append(true).open(&log).unwrap();
    let before = std::fs::metadata(&log).unwrap().len();
    let process = Process(command.stdout(file).spawn().unwrap());
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log).unwrap();
        let events = text[usize::try_from(before).unwrap()..].lines();
        let mut events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(listening) = events.find(|event| event["event"] == "listening") {
            return (process, listening["address"].as_str().unwrap().parse().unwrap());
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the coordinator does not listen: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same invitation with another certificate, or another token.
fn altered(invite: &str, coordinator: Option<Fingerprint>, token: Option<InvitationToken>) -> String {
    let parsed = Invitation::parse(invite).unwrap();
    let altered = Invitation::new(
        parsed.address().to_owned(),
        coordinator.unwrap_or(parsed.coordinator()),
        parsed.roles().to_vec(),
        parsed.expires(),
        token.unwrap_or_else(|| parsed.token().clone()),
    );
    altered.unwrap().to_text().to_string()
}

/// CONS-09, CONS-13, CONS-14, CONS-15
#[test]
fn a_hospital_is_invited_enrols_and_joins_with_the_next_edition() {
    let world = Running::new("joins");
    let invite = world.invite("");
    let parsed = Invitation::parse(&invite).unwrap();
    assert_eq!((parsed.roles(), parsed.address()), (&BOTH[..], world.address.to_string().as_str()));
    let left = parsed.expires().duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_hours(71) && left <= Duration::from_hours(72), "{left:?}");

    let kept = world.enrolled(&invite, "north", "north", &["--carrier", "tcp"]);
    assert_eq!((&kept["state"], &kept["consortium"]), (&"kept".into(), &"Test".into()));
    let fingerprint = world.scratch.fingerprint("north");
    assert_eq!(kept["fingerprint"].as_str().unwrap().replace(' ', "-"), fingerprint);
    let file = world.scratch.path("data/enrolments/north-1.toml");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        std::fs::read_to_string(world.scratch.path("north/enrolment.toml")).unwrap()
    );
    assert_eq!((mode(&file), mode(&world.scratch.path("data/invitations.toml"))), (0o600, 0o600));
    // A lost answer is asked for again, over whatever carrier.
    assert_eq!(world.enrolled(&invite, "north", "north", &["--carrier", "quic"]), kept);
    assert!(
        matches!(world.connects("north", 6), Err(ConnectError::NotInConsortium { .. })),
        "an enrolment lets nobody in"
    );

    let waiting = ["--wait", "--governance-key", &world.governance_key];
    let mut waiting =
        world.enroll(&invite, "north", "north", &waiting).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    assert_eq!(serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["state"], "kept");
    let add = "consortium add governance data/enrolments/north-1.toml --fingerprint";
    world.scratch.fails(&format!("{add} {}", world.scratch.fingerprint("h1")), "has the fingerprint");
    world.scratch.succeeds(&format!("{add} {fingerprint}"));
    world.scratch.succeeds("run pause");
    world.scratch.succeeds("consortium sign governance --start data/epoch-start.toml");
    world.scratch.succeeds("run edition governance/consortium.toml");
    let fetched: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&fetched["state"], &fetched["edition"]), (&"fetched".into(), &2.into()), "{fetched}");
    assert!(waiting.wait().unwrap().success());
    for name in ["consortium.toml", "consortium.toml.sig"] {
        let got = std::fs::read_to_string(world.scratch.path(&format!("north/{name}"))).unwrap();
        assert_eq!(got, std::fs::read_to_string(world.scratch.path(&format!("governance/{name}"))).unwrap());
    }
    world.connects("north", 6).unwrap();
}

/// CONS-14
#[test]
fn a_governance_key_that_only_the_coordinator_names_is_neither_used_nor_shown() {
    let world = Running::new("unpinned");
    // A party that is listed already enrols again, as one that lost its files but not its keys.
    let invite = world.invite("");
    let shown = world.scratch.shown(&world.governance_key);
    let output = world.scratch.run(&format!("enroll --json --invite {invite} --identity h1"));
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["state"], "listed", "{listed}");
    let digits = shown["governance_fingerprint"].as_str().unwrap().replace(' ', "-");
    assert!(
        !listed.to_string().contains(&world.governance_key),
        "it could be copied instead of compared: {listed}"
    );
    let file = world.scratch.path("h1/consortium.toml");
    assert!(!file.exists(), "nothing is written before a person has compared the key");
    let other = "11".repeat(32);
    let enroll = format!("enroll --invite {invite} --identity h1");
    world.scratch.fails(&format!("{enroll} --governance-key {other}"), "is not accepted");
    assert!(!file.exists());
    // The digits that the key's holder reads out, and others.
    let wrong = "00000-00000-00000-00000-00000";
    world
        .scratch
        .fails(&format!("{enroll} --governance-fingerprint {wrong}"), "names another governance key");
    assert!(!file.exists());
    world.scratch.succeeds(&format!("{enroll} --governance-fingerprint {digits}"));
    // What is no edition under this key stays as it is.
    std::fs::write(&file, "from a later version").unwrap();
    world.scratch.fails(&format!("{enroll} --governance-fingerprint {digits}"), "stays as it is");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "from a later version");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(world.scratch.path("h1/policy.toml"), pin(&world.governance_key)).unwrap();
    world.scratch.fails(&format!("{enroll} --governance-key {other}"), "policy.toml pins");
    // Control: the key that the policy pins.
    let said = world.scratch.succeeds(&enroll);
    assert!(said.contains("edition 1") && file.exists(), "{said}");
}

/// CONS-13, CONS-14
#[test]
fn invitations_that_are_wrong_used_expired_or_cancelled_are_rejected() {
    let mut world = Running::new("rejected");
    let invite = world.invite("--role member");
    let (other, expired) = (world.invite("--valid-hours 1"), world.invite(""));
    let typo = invite.replacen(",member,", ",membre,", 1);
    world.rejected(&typo, "north", "north", &[], "checksum");
    assert!(!world.scratch.path("north").exists(), "no keys are made for a wrong invitation");
    let elsewhere = altered(&invite, Some(Fingerprint([7; 32])), None);
    world.rejected(&elsewhere, "north", "north", &[], "presented certificate");
    let unknown = altered(&invite, None, Some(InvitationToken::new([7; 16])));
    world.rejected(&unknown, "north", "north", &[], "no invitation with this token");
    assert!(!world.scratch.path("data/enrolments").exists(), "nothing was kept");
    assert_eq!(world.enrolled(&invite, "north", "north", &[])["state"], "kept", "control");
    world.rejected(&invite, "south", "south", &[], "was used before");
    world.rejected(&other, "taken", "h3", &[], "another party with the name");
    world.rejected(&other, "north", "north", &[], "other roles than the invitation");

    // The list survives a restart. An invitation's time is changed while the coordinator is away.
    world.restart(|scratch| {
        let book = scratch.path("data/invitations.toml");
        let text = std::fs::read_to_string(&book).unwrap();
        let third = text.rfind("expires = ").unwrap();
        let line_end = third + text[third..].find('\n').unwrap();
        std::fs::write(&book, format!("{}expires = 1000{}", &text[..third], &text[line_end..])).unwrap();
    });
    world.rejected(&expired, "south2", "south", &[], "has expired");
    world.rejected(&invite, "south", "south", &[], "was used before");
    let list = world.scratch.succeeds("run invitations");
    for state in ["used by north: data/enrolments/north-1.toml", "open", "expired"] {
        assert!(list.contains(state), "{state:?} is not in: {list}");
    }
    let token = invite.rsplit(',').nth(1).unwrap();
    let book = std::fs::read_to_string(world.scratch.path("data/invitations.toml")).unwrap();
    assert!(!list.contains(token) && !book.contains(token));
    world.scratch.succeeds("run uninvite 2");
    world.rejected(&other, "south2", "south", &[], "no invitation with this token");
    let again = world.invite("");
    assert_eq!(world.enrolled(&again, "south2", "south", &[])["state"], "kept", "control");
    world.restart(|_| {});
    assert_eq!(world.enrolled(&again, "south2", "south", &[])["state"], "kept");
}
