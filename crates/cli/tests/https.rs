//! A coordinator that is asked over HTTPS with operators' tokens, as processes.

// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod coordinator;
mod json_lines;
mod site;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use coordinator::{Coordinator, comes_true};
use json_lines::JsonLines;
use serde_json::{Value, json};

/// A coordinator that is asked over HTTPS, and where.
struct Asked {
    coordinator: Coordinator,
    url: String,
}

impl Asked {
    fn start(name: &str) -> Self {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let coordinator = Coordinator::start_with(name, &["--control-https", &address]);
        assert_eq!(coordinator.json(&["status"])["control_https"], address);
        Self { coordinator, url: format!("https://{address}") }
    }

    /// Makes a token and its file. The result is the file's path.
    fn token(&self, role: &str) -> String {
        let path = self.coordinator.site.path(&format!("{role}.token"));
        let text = self.coordinator.says(&["token", "add", "--role", role, "--name", role]);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A request over the network, without the coordinator's data folder.
    fn remote(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        let consortium = self.coordinator.site.path("consortium.toml");
        command.arg("run").args(arguments).args(["--url", &self.url, "--consortium", &consortium]);
        command.args(["--token-file", token]).env("CLOISTER_DATA", "/nowhere");
        command
    }

    /// Asks for the status with these flags beside the URL.
    fn status_with(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.args(["run", "status", "--url", &self.url]).args(flags);
        command
    }

    fn says(&self, token: &str, arguments: &[&str]) -> String {
        let output = self.remote(token, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn fails(command: &mut Command, code: i32, says: &str) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(says), "{says:?} is not in: {errors}");
}

/// CTRL-02
#[test]
fn operators_ask_over_the_network_what_their_roles_allow() {
    let asked = Asked::start("https");
    let [viewer, operator, registrar] = ["viewer", "operator", "registrar"].map(|role| asked.token(role));
    let local = |arguments: &[&str]| asked.coordinator.says(arguments);
    for command in ["status", "queue", "history"] {
        assert_eq!(asked.says(&viewer, &[command]), local(&[command]), "{command}");
    }
    let mut watch = asked.remote(&viewer, &["watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = JsonLines::new(watch.stdout.take().unwrap());
    assert_eq!(lines.next().unwrap()["event"], "status");
    asked.says(&operator, &["pause"]);
    assert_eq!(lines.next().unwrap()["event"], "rounds_paused");
    let request = lines.next().unwrap();
    assert_eq!(
        (&request["event"], &request["name"]),
        (&json!("operator_request"), &json!("operator")),
        "who it was"
    );
    let settings = asked.coordinator.site.path("settings.toml");
    let queued = asked.says(&operator, &["start", &settings, "--rounds", "2", "--name", "far"]);
    assert!(queued.starts_with("run 2 (far) is queued"), "{queued}");
    assert_eq!(lines.next().unwrap()["event"], "run_queued");
    assert!(asked.says(&viewer, &["queue"]).contains("waits: far"));
    assert!(asked.says(&operator, &["cancel", "2"]).contains("run 2 is cancelled"));
    let invitation = asked.says(&registrar, &["invite", "--address", "h.example.org:443"]);
    assert!(invitation.starts_with("cloister-invitation-1,"), "{invitation}");
    assert!(asked.says(&registrar, &["invitations"]).contains("open"));

    fails(&mut asked.remote(&viewer, &["pause"]), 78, "`pause` needs the role operator");
    fails(&mut asked.remote(&operator, &["invitations"]), 78, "`invitations` needs the role registrar");
    fails(&mut asked.remote(&registrar, &["stop"]), 78, "`stop` needs the role operator");
    fails(&mut asked.remote(&operator, &["cancel", "9"]), 1, "there is no run 9");
    fails(&mut asked.remote(&operator, &["token", "list"]), 2, "at the coordinator's machine alone");
    let edition = asked.coordinator.site.path("consortium.toml");
    fails(&mut asked.remote(&registrar, &["edition", &edition]), 1, "give a later one");

    assert!(asked.says(&operator, &["stop"]).contains("edition"), "it answers before it stops");
    assert!(lines.any(|event| event["event"] == "stopping"));
    assert_eq!(watch.wait().unwrap().code(), Some(69), "the coordinator ended");
    fails(&mut asked.remote(&viewer, &["status"]), 69, "has --control-https");
}

/// The status and the JSON of an answer.
fn curl(url: &str, flags: &[&str], path: &str) -> (String, Value) {
    let mut command = Command::new("curl");
    // The certificate names no host. That it is compared is tested with the program's own end.
    command.args(["--silent", "--insecure", "--max-time", "60", "--write-out", "\n%{http_code}"]).args(flags);
    let output = command.arg(format!("{url}{path}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

/// CTRL-01, CTRL-02: a program that shares no code with this one.
#[test]
fn curl_is_answered_over_the_newest_tls_alone() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no curl here");
        return;
    }
    let asked = Asked::start("https-curl");
    let operator = asked.token("operator");
    let header = asked.coordinator.site.path("header");
    let token = std::fs::read_to_string(operator).unwrap();
    std::fs::write(&header, format!("Authorization: Bearer {token}")).unwrap();
    let with_token = ["--header", &format!("@{header}")];
    let (status, answer) = curl(&asked.url, &with_token, "/v1/status");
    assert_eq!((status.as_str(), &answer["num_rounds"]), ("200", &json!(1)), "{answer}");
    let body = ["--data", r#"{"rounds": 2, "name": "from curl"}"#];
    let (status, answer) = curl(&asked.url, &[&with_token[..], &body].concat(), "/v1/start");
    assert_eq!((status.as_str(), &answer["queued"]["name"]), ("200", &json!("from curl")), "{answer}");
    assert_eq!(curl(&asked.url, &[], "/v1/status").0, "401");
    let (status, _) = curl(&asked.url, &[&with_token[..], &["--tls-max", "1.2"]].concat(), "/v1/status");
    assert_eq!(status, "000", "no connection");
}

/// CTRL-03
#[test]
fn tokens_are_made_listed_and_revoked_at_the_coordinator_and_survive_its_restart() {
    let mut asked = Asked::start("https-tokens");
    let path = asked.token("viewer");
    let token = std::fs::read_to_string(&path).unwrap();
    assert!(token.starts_with("cloister_viewer_") && token.trim().len() == 16 + 64, "{token}");
    let listed = || asked.coordinator.json(&["token", "list"])["tokens"][0].clone();
    let before = listed();
    assert_eq!(
        (&before["name"], &before["state"], &before["last_used"]),
        (&json!("viewer"), &json!("valid"), &Value::Null)
    );
    asked.says(&path, &["status"]);
    assert!(listed()["last_used"].is_string());
    assert!(!asked.coordinator.says(&["token", "list", "--json"]).contains(token.trim()));
    let flags = ["--control-https", asked.url.strip_prefix("https://").unwrap()].map(str::to_owned);
    asked.coordinator.restart(&flags.each_ref().map(String::as_str));
    assert!(comes_true(|| asked.remote(&path, &["status"]).output().unwrap().status.success()));
    asked.coordinator.says(&["token", "revoke", "1"]);
    fails(&mut asked.remote(&path, &["status"]), 78, "not known here, or was revoked");
    assert_eq!(
        asked.coordinator.says(&["token", "list"]),
        "no tokens; make one with `cloister run token add`\n"
    );
}

/// CTRL-01
#[test]
fn the_token_goes_to_the_coordinator_alone_and_comes_from_a_file_of_its_owner() {
    let asked = Asked::start("https-pins");
    let token = asked.token("operator");
    let other = "07".repeat(32);
    fails(
        &mut asked.status_with(&["--token-file", &token, "--fingerprint", &other]),
        69,
        "nothing was sent to it",
    );
    fails(&mut asked.status_with(&["--token-file", &token]), 2, "give --consortium");
    let consortium = asked.coordinator.site.path("consortium.toml");
    fails(&mut asked.status_with(&["--consortium", &consortium]), 2, "CLOISTER_TOKEN_FILE");
    let mut named = asked.status_with(&["--consortium", &consortium]);
    assert!(named.env("CLOISTER_TOKEN_FILE", &token).output().unwrap().status.success(), "control");
    // The variable may stay set where the socket is asked.
    let mut local = asked.coordinator.run(&["status"]);
    assert!(local.env("CLOISTER_TOKEN_FILE", &token).output().unwrap().status.success());
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&mut asked.remote(&token, &["status"]), 78, "chmod");
    let wrong = asked.coordinator.site.path("wrong.token");
    std::fs::write(&wrong, "secret").unwrap();
    std::fs::set_permissions(&wrong, std::fs::Permissions::from_mode(0o600)).unwrap();
    fails(&mut asked.remote(&wrong, &["status"]), 78, "is no token");
    let mut http = Command::new(env!("CARGO_BIN_EXE_cloister"));
    fails(http.args(["run", "status", "--url", "http://127.0.0.1:1"]), 2, "expected a URL like https://");
}

/// CTRL-05
#[test]
fn what_changes_something_is_logged_with_the_tokens_name_and_without_the_token() {
    let site = site::Site::new("https-log");
    site.write_consortium();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let log = std::fs::File::create(site.path("log")).unwrap();
    let mut command = site.server("127.0.0.1:0", 600);
    command.args(["--log-format", "json", "--control-https", &address]).stderr(log);
    let mut process = command.spawn().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.arg("run").args(arguments).args(["--data", &site.path("data")]).output().unwrap()
    };
    assert!(comes_true(|| run(&["status"]).status.success()));
    let token = run(&["token", "add", "--role", "operator", "--name", "night shift"]).stdout;
    let path = site.path("token");
    std::fs::write(&path, &token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let remote = [
        "--url",
        &format!("https://{address}"),
        "--consortium",
        &site.path("consortium.toml"),
        "--token-file",
        &path,
    ];
    for arguments in [&["status"][..], &["pause"], &["cancel", "9"], &["invite", "--address", "h:1"]] {
        run(&[arguments, &remote].concat());
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let text = std::fs::read_to_string(site.path("log")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<&Value> = lines.iter().filter(|line| line["event"] == "operator_request").collect();
    let commands: Vec<(&str, bool)> =
        logged.iter().map(|line| (line["command"].as_str().unwrap(), line["refused"].is_string())).collect();
    assert_eq!(commands, [("pause", false), ("cancel", true), ("invite", true)]);
    assert!(logged.iter().all(|line| line["name"] == "night shift" && line["token"] == 1), "{text}");
    assert!(!text.contains(String::from_utf8(token).unwrap().trim()), "{text}");
}
