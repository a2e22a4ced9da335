//! `cloister doctor server` at machines that are sound, and at machines with one fault.

// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod examination;
mod site;

use std::fs::{File, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use examination::{Examined, cloister, contents, doctor};
use site::Site;

const CHECKS: [&str; 15] = [
    "configuration",
    "keys",
    "certificate",
    "policy",
    "consortium_file",
    "round_settings",
    "initial_parameters",
    "data_folder",
    "journal",
    "kept_models",
    "disk_space",
    "coordinator",
    "udp_port",
    "tcp_port",
    "control_https",
];

/// A coordinator that listens at a port that is free.
fn site(name: &str) -> Site {
    let site = Site::new(&format!("doctor-{name}"));
    site.write_consortium();
    std::fs::set_permissions(site.path("data"), Permissions::from_mode(0o700)).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    configure(&site, &format!("127.0.0.1:{port}"));
    site
}

fn configure(site: &Site, listen: &str) {
    let config = format!(
        "consortium = 'consortium.toml'\nidentity = '.'\nsettings = 'settings.toml'\nmodel = 'model'\ndata = 'data'\n\
         listen = '{listen}'\n"
    );
    std::fs::write(site.folder.join("server.toml"), config).unwrap();
}

fn examine(site: &Site) -> Examined {
    doctor(&["server", &site.path("server.toml")])
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_sound_coordinator_has_no_fault_before_and_while_it_runs() {
    let site = site("server");
    let before = contents(&site.folder);
    let examined = examine(&site);
    assert_eq!(examined.order, CHECKS);
    examined.expect_sound();
    assert_eq!(examined.in_state("not_checked").len() + examined.in_state("warning").len(), 0);
    assert!(contents(&site.folder) == before, "nothing is written");

    let mut command = cloister(&["server", "--config", &site.path("server.toml")]);
    let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
    let started = Instant::now();
    while !cloister(&["run", "status", "--data", &site.path("data")]).output().unwrap().status.success() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let examined = examine(&site);
    examined.expect_sound();
    let found = |check: &str| examined.checks[check]["found"].to_string();
    assert!(found("data_folder").contains("(cloister server) uses it"), "{}", found("data_folder"));
    assert!(found("coordinator").contains("it runs: edition 1; rounds 0 of 1"), "{}", found("coordinator"));
    assert!(found("udp_port").contains("in use, and the coordinator runs"), "{}", found("udp_port"));
    assert!(found("tcp_port").contains("in use, and the coordinator runs"), "{}", found("tcp_port"));
    drop(running);
}

#[test]
fn each_fault_of_a_coordinator_is_found_by_its_check_alone() {
    let site = site("server-faults");
    let break_file = |name: &str, text: &str, examine: &dyn Fn()| {
        let before = std::fs::read(site.path(name)).unwrap();
        std::fs::write(site.path(name), text).unwrap();
        examine();
        std::fs::write(site.path(name), before).unwrap();
    };
    let read = |name: &str| std::fs::read_to_string(site.path(name)).unwrap();

    for key in ["key.pem", "signing.key"] {
        std::fs::set_permissions(site.path(key), Permissions::from_mode(0o644)).unwrap();
        examine(&site).expect_faults(&["keys"], 78, &[key, "0644", "chmod 600"]);
        std::fs::set_permissions(site.path(key), Permissions::from_mode(0o600)).unwrap();
    }
    break_file("consortium.toml", &read("consortium.toml").replace("weight = 1", "weight = 2"), &|| {
        examine(&site).expect_faults(&["consortium_file"], 78, &["not signed by the governance key"]);
    });
    break_file("model", "no model", &|| {
        examine(&site).expect_faults(&["initial_parameters"], 78, &["not a file of model parameters"]);
    });
    std::fs::write(site.path("data/journal"), "another program's").unwrap();
    examine(&site).expect_faults(&["journal"], 78, &["record 1", "restore the file"]);
    std::fs::remove_file(site.path("data/journal")).unwrap();

    let lock = File::create(site.path("data/lock")).unwrap();
    lock.lock().unwrap();
    examine(&site).expect_faults(&["data_folder"], 69, &["which is no `cloister server`", "end it"]);
    drop(lock);

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    configure(&site, &taken.local_addr().unwrap().to_string());
    examine(&site).expect_faults(&["udp_port"], 69, &["UDP port", "already in use"]);
    break_file("server.toml", "num_round = 3\n", &|| {
        let examined = examine(&site);
        examined.expect_faults(&["configuration"], 78, &["unknown setting num_round"]);
        assert_eq!(examined.order, CHECKS, "every check is named all the same");
        assert_eq!(examined.in_state("not_checked").len(), CHECKS.len() - 1);
    });
    configure(&site, "127.0.0.1:0");
    examine(&site).expect_sound();
}

#[test]
fn an_endpoint_for_operators_is_examined_with_its_port_and_tokens() {
    let site = site("server-https");
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(examine(&site).checks["control_https"]["found"].to_string().contains("answers no operators"));
    let (listen, https) = (free(), free());
    configure(&site, &listen);
    let config = std::fs::read_to_string(site.path("server.toml")).unwrap();
    std::fs::write(site.path("server.toml"), format!("{config}control_https = '{https}'\n")).unwrap();
    let examined = examine(&site);
    examined.expect_sound();
    assert_eq!(examined.in_state("warning"), ["control_https"]);
    assert!(examined.checks["control_https"]["advice"].to_string().contains("run token add"));

    let mut command = cloister(&["server", "--config", &site.path("server.toml")]);
    let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
    let started = Instant::now();
    let add = ["run", "token", "add", "--role", "viewer", "--name", "wall", "--data", &site.path("data")];
    while !cloister(&add).output().unwrap().status.success() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let examined = examine(&site);
    examined.expect_sound();
    let found = examined.checks["control_https"]["found"].to_string();
    assert!(found.contains("the coordinator runs; tokens: 1 valid, 0 expired"), "{found}");
    assert_eq!(examined.in_state("warning").len(), 0);
    drop(running);
    let taken = TcpListener::bind(https).unwrap();
    examine(&site).expect_faults(&["control_https"], 69, &["TCP port", "already in use"]);
    drop(taken);
    std::fs::write(site.path("data/operator-tokens.toml"), "version = 2").unwrap();
    examine(&site).expect_faults(&["control_https"], 78, &["operator-tokens.toml", "install that version"]);
}

#[test]
fn the_text_has_a_line_for_each_check() {
    let site = site("server-text");
    std::fs::set_permissions(site.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    let output = cloister(&["doctor", "server", &site.path("server.toml")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.iter().filter(|line| !line.starts_with(' ')).count(), CHECKS.len(), "{text}");
    assert!(lines[1].starts_with("fault        keys                other users of this machine"), "{text}");
    assert!(lines[2].trim_start().starts_with("→ run `chmod 600"), "{text}");
    assert!(lines[3].starts_with("not checked  certificate"), "{text}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "cloister: 1 of 15 checks found a fault: keys\n");
}
