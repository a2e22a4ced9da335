//! Streams that close or are full: no reader of them stops anything, and nothing panics.

#![cfg(target_os = "linux")]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod site;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use site::Site;

fn floors() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["consortium", "floors"]);
    command
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let left = floors().stdout(closed()).output().unwrap();
    assert!(left.status.success(), "{:?}", left.status);
    assert_eq!(String::from_utf8_lossy(&left.stderr), "");
    let read = floors().output().unwrap();
    assert!(!read.stdout.is_empty(), "control: there is something to read");
}

#[test]
fn a_full_device_is_told_in_a_sentence() {
    let output = floors().stdout(File::create("/dev/full").unwrap()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("standard output") && errors.contains("space"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    let deaf = floors().stdout(File::create("/dev/full").unwrap()).stderr(closed()).output().unwrap();
    assert_eq!(deaf.status.code(), Some(1), "nobody hears it, and the status says so all the same");
}

#[test]
fn a_failure_is_told_to_nobody_without_a_panic() {
    let missing = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.args(["privacy", "explain", "no-such-ledger"]);
        command
    };
    let heard = missing().output().unwrap();
    let unheard = missing().stderr(closed()).output().unwrap();
    assert_eq!(heard.status.code(), unheard.status.code());
    assert_ne!(unheard.status.code(), Some(101));
}

/// Whether a coordinator still waits for its members two seconds after its start.
fn goes_on(mut server: Child) -> bool {
    std::thread::sleep(Duration::from_secs(2));
    let ended = server.try_wait().unwrap();
    let _ = server.kill();
    let _ = server.wait();
    ended.is_none()
}

#[test]
fn a_coordinator_goes_on_without_its_watchers() {
    let site = Site::new("watchers");
    site.write_consortium();
    let listening = |flags: &[&str]| {
        let mut server = site.server("127.0.0.1:0", 600);
        server.args(flags);
        server
    };
    assert!(goes_on(listening(&[]).stderr(closed()).spawn().unwrap()), "nobody reads what it tells");
    let both = listening(&["--events"]).stdout(closed()).stderr(closed()).spawn().unwrap();
    assert!(goes_on(both), "nor its events");
    // A reader that takes one line and leaves.
    let mut server = listening(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty() && goes_on(server), "{line}");
    let mut ended = site.server("127.0.0.1:0", 0).stderr(closed()).stdout(Stdio::piped()).spawn().unwrap();
    let mut events = String::new();
    ended.stdout.take().unwrap().read_to_string(&mut events).unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(69), "its end has the status that it has with a reader");
}

#[test]
fn a_port_alone_is_listened_at_and_a_name_is_no_address_of_this_machine() {
    let site = Site::new("listen");
    site.write_consortium();
    site.fails("0", 69, &["0 of 5 members are connected"]);
    site.fails(":0", 69, &["0 of 5 members are connected"]);
    site.fails("coordinator.example.org:443", 2, &["an address of this machine", "0.0.0.0:443"]);
    site.fails("192.0.2.1:443", 69, &["192.0.2.1:443 is not an address of this machine", "0.0.0.0:443"]);
}
