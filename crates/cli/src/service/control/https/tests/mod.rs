//! The endpoint in this process, before a coordinator that agrees to everything.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use cloister_cluster::plan::template;
use cloister_identity::online::EnrolmentDesk;
use cloister_identity::operator::{OperatorRole, OperatorToken, TokenDesk};
use cloister_params::consortium::PublicBytes;
use cloister_server::{ControlRequest, ServerStatus};
use cloister_transport::{
    Fingerprint, HostPort, Identity, OperatorStream, StopSignal, Validity, dial_coordinator,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, RwLock, mpsc};
use tracing::Level;

use super::super::{Answering, EventReporter, Invitations, Watchers};
use super::failures::MOST_FAILURES;
use super::routes::{Permission, ROUTES};
use super::*;

mod leaving;

const LONG: Duration = Duration::from_secs(60);
const QUICK: Deadlines =
    Deadlines { header: Duration::from_millis(300), body: Duration::from_millis(300), write: LONG };

fn status() -> ServerStatus {
    ServerStatus {
        edition: 1,
        round: None,
        is_paused: false,
        closed_rounds: 0,
        num_rounds: 1,
        runs: Vec::new(),
        connected: Vec::new(),
        missing: Vec::new(),
    }
}

/// An endpoint, and what its clients need.
struct Endpoint {
    address: HostPort,
    certificate: Fingerprint,
    desk: Arc<ControlDesk>,
    stop: StopSignal,
    /// The coordinator answers while nobody writes.
    busy: Arc<RwLock<()>>,
    folder: PathBuf,
}

impl Endpoint {
    fn new(name: &str, deadlines: Deadlines) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-https-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("writable");
        let identity = Identity::generate("coordinator", Validity::unlimited()).expect("randomness");
        let listener = OperatorListener::bind(([127, 0, 0, 1], 0).into(), &identity).expect("a free port");
        let address = listener.local_address().expect("bound");
        let (coordinator, mut requests) = mpsc::channel::<ControlRequest>(1);
        let busy = Arc::<RwLock<()>>::default();
        let answers = busy.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let _answers = answers.read().await;
                let _ = request.reply.send(Ok(status()));
            }
        });
        let enrolments = Arc::new(EnrolmentDesk::open(&folder, PublicBytes([9; 32])).expect("a new folder"));
        let (switch, stop) = StopSignal::new();
        let watchers = Watchers::new();
        let desk = Arc::new(ControlDesk {
            coordinator,
            stop: Arc::new(switch),
            data: folder.clone(),
            governance_key: PublicBytes([9; 32]),
            invitations: Invitations::new(enrolments, identity.fingerprint()),
            tokens: TokenDesk::open(&folder).expect("a new folder"),
            https: Some(address),
            reporter: EventReporter::new(watchers.clone(), false),
            watchers,
            settings: Mutex::new(template(2, 4, 1)),
            answering: Answering::default(),
        });
        tokio::spawn(serve_within(desk.clone(), listener, deadlines));
        let address = address.to_string().parse().expect("an address");
        Self { address, certificate: identity.fingerprint(), desk, stop, busy, folder }
    }

    /// A token of a role, valid for so many seconds from now or, if negative, until then.
    fn token(&self, role: OperatorRole, seconds: i64) -> String {
        let now = SystemTime::now();
        let span = Duration::from_secs(seconds.unsigned_abs());
        let expires = if seconds < 0 { now - span } else { now + span };
        let number = self.desk.tokens.tokens().len() as u8;
        let token = OperatorToken::new(role, [number; 32]);
        self.desk.tokens.add(&token, role.name(), expires, now).expect("room");
        token.to_text().to_string()
    }

    async fn dial(&self) -> OperatorStream {
        dial_coordinator(&self.address, self.certificate, LONG).await.expect("it listens")
    }

    /// Sends bytes and reads until the end: the status, the header, and the body.
    async fn send(&self, bytes: &[u8]) -> (u16, String, Value) {
        let mut stream = self.dial().await;
        stream.write_all(bytes).await.expect("open");
        let mut answer = Vec::new();
        // Without a closing message of TLS the end is an error, after all bytes.
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it ends");
        let answer = String::from_utf8(answer).expect("text");
        let (header, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = header.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        (status, header.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn ask(&self, line: &str, token: Option<&str>, body: &str) -> (u16, String, Value) {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {}\r\n\r\n{body}", body.len());
        self.send(request.as_bytes()).await
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A body with which each request is complete.
fn body(command: &str) -> &'static str {
    match command {
        "start" => r#"{"rounds": 1}"#,
        "cancel" | "uninvite" => r#"{"number": 1}"#,
        "invite" => r#"{"address": "h:1", "valid_hours": 1, "roles": ["member"]}"#,
        "edition" => r#"{"file": "", "signature": ""}"#,
        _ => "",
    }
}

/// CTRL-02: written down once more, from the page and not from the table.
fn may(role: OperatorRole, command: &str) -> bool {
    match command {
        "status" | "queue" | "history" | "watch" => true,
        "start" | "cancel" | "pause" | "resume" | "stop" => role == OperatorRole::Operator,
        "invitations" | "invite" | "uninvite" | "edition" => role == OperatorRole::Registrar,
        other => panic!("{other} is on no page"),
    }
}

/// CTRL-02, CTRL-05
#[tokio::test]
async fn each_role_may_ask_what_the_page_says_and_nothing_else() {
    let endpoint = Endpoint::new("matrix", DEADLINES);
    for role in OperatorRole::ALL {
        let token = endpoint.token(role, 60);
        for route in ROUTES.iter().filter(|route| route.command != "watch") {
            let (method, command) = (&route.method, route.command);
            let line = format!("{method} /v1/{command}");
            let (status, header, answer) = endpoint.ask(&line, Some(&token), body(command)).await;
            // The empty edition is refused by what answers requests.
            let allowed = if command == "edition" { 409 } else { 200 };
            let expected = if may(role, command) { allowed } else { 403 };
            assert_eq!(status, expected, "{role} {command}: {answer}");
            assert!(header.contains("cache-control: no-store"), "{header}");
            if status == 403 {
                assert!(answer["error"].as_str().expect("a reason").contains(route.permission.role().name()));
            }
        }
    }
    let mut stop = endpoint.stop.clone();
    tokio::time::timeout(LONG, stop.requested()).await.expect("an operator asked for it");
    // Tokens, and methods that change something with GET, are no requests.
    let token = endpoint.token(OperatorRole::Operator, 60);
    for line in
        ["POST /v1/add_token", "GET /v1/tokens", "GET /v1/stop", "POST /v1/status", "GET /v2/status", "GET /"]
    {
        let (status, _, answer) = endpoint.ask(line, Some(&token), "").await;
        assert_eq!(status, 404, "{line}");
        assert!(answer["error"].as_str().expect("a reason").contains("operation.md"), "{answer}");
    }
    // A body names no other command than its path.
    let viewer = endpoint.token(OperatorRole::Viewer, 60);
    let (status, _, _) = endpoint.ask("GET /v1/status", Some(&viewer), r#"{"command": "stop"}"#).await;
    assert_eq!(status, 413, "a request that reads has no body");
    let text = r#"{"command": "stop", "rounds": 1}"#;
    let (status, _, answer) = endpoint.ask("POST /v1/start", Some(&token), text).await;
    assert_eq!((status, answer.get("queued").is_some()), (200, true), "{answer}");
}

/// CTRL-03, CTRL-04
#[tokio::test]
async fn a_request_without_a_valid_token_is_refused_before_anything_else() {
    let endpoint = Endpoint::new("tokens", DEADLINES);
    let (valid, expired) =
        (endpoint.token(OperatorRole::Viewer, 60), endpoint.token(OperatorRole::Viewer, -60));
    let revoked = endpoint.token(OperatorRole::Viewer, 60);
    endpoint.desk.tokens.revoke(3).expect("it is there");
    let wrong = valid.replace("00", "ff");
    for (token, says) in [
        (None, "Authorization: Bearer TOKEN"),
        (Some("x"), "not known here"),
        (Some(wrong.as_str()), "not known here"),
        (Some(&expired), "expired"),
        (Some(&revoked), "was revoked"),
    ] {
        // Also where nothing is, so that strangers do not learn what is there.
        for line in ["GET /v1/status", "GET /nothing"] {
            let (status, header, answer) = endpoint.ask(line, token, "").await;
            assert_eq!(status, 401, "{token:?}");
            assert!(header.contains("www-authenticate: bearer"), "{header}");
            assert!(answer["error"].as_str().expect("a reason").contains(says), "{answer}");
        }
    }
    let (status, header, _) = endpoint.ask("GET /v1/status", Some(&wrong), "").await;
    assert_eq!(status, 429, "after {MOST_FAILURES} of them");
    assert!(header.contains("retry-after: 60"), "{header}");
    let scheme = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nauthorization: bearer {valid}\r\n\r\n");
    let (status, _, _) = endpoint.send(scheme.as_bytes()).await;
    assert_eq!(status, 200, "an operator behind the same address is not locked out");
}

/// CTRL-01
#[tokio::test]
async fn nothing_is_sent_to_a_server_with_another_certificate() {
    let endpoint = Endpoint::new("pin", DEADLINES);
    let refused = dial_coordinator(&endpoint.address, Fingerprint([7; 32]), LONG).await.expect_err("another");
    assert!(
        refused.contains("nothing was sent") && refused.contains(&endpoint.certificate.to_string()),
        "{refused}"
    );
    let other = Identity::generate("another", Validity::unlimited()).expect("randomness");
    let mut impostor = OperatorListener::bind(([127, 0, 0, 1], 0).into(), &other).expect("a free port");
    let address = impostor.local_address().expect("bound").to_string().parse().expect("an address");
    let (refused, accepted) = tokio::join!(
        dial_coordinator(&address, endpoint.certificate, LONG),
        tokio::time::timeout(Duration::from_millis(500), impostor.accept()),
    );
    assert!(refused.is_err() && accepted.is_err(), "the impostor's handshake never ends");
    // Control: with the right one there is a connection.
    drop(endpoint.dial().await);
}

/// CTRL-04
#[tokio::test]
async fn bodies_are_bounded_and_malformed_ones_are_refused_with_what_to_do() {
    let endpoint = Endpoint::new("bodies", QUICK);
    let token = endpoint.token(OperatorRole::Operator, 60);
    let announced = |bytes: usize| {
        format!(
            "POST /v1/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {bytes}\r\n\r\n"
        )
    };
    let (status, _, answer) = endpoint.send(announced(17 << 10).as_bytes()).await;
    assert_eq!(status, 413, "before a byte of it: {answer}");
    let chunk = format!("{:x}\r\n{}\r\n", 17 << 10, "x".repeat(17 << 10));
    let chunked = announced(0).replace("Content-Length: 0", "Transfer-Encoding: chunked") + &chunk;
    let (status, _, answer) = endpoint.send(chunked.as_bytes()).await;
    assert_eq!(status, 413, "a length that is not announced: {answer}");
    let (status, _, answer) = endpoint.send(announced(100).as_bytes()).await;
    assert_eq!(status, 408, "a body that does not come: {answer}");
    for (body, says) in [
        ("{", "not an object in JSON"),
        ("[1]", "not an object in JSON"),
        ("{}", "missing field `number`"),
        (r#"{"number": -1}"#, "invalid value"),
        (r#"{"number": 1, "more": 1}"#, "unknown field"),
    ] {
        let (status, _, answer) = endpoint.ask("POST /v1/cancel", Some(&token), body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().expect("a reason").contains(says), "{answer}");
    }
    let misspelt = r#"{"rounds": 1, "not_befor": "2100-01-01T00:00:00Z"}"#;
    let (status, _, answer) = endpoint.ask("POST /v1/start", Some(&token), misspelt).await;
    assert_eq!(status, 400, "a run must not start at once because of it: {answer}");
    for query in ["last=x", "last", "last=1&last"] {
        let (status, _, _) = endpoint.ask(&format!("GET /v1/history?{query}"), Some(&token), "").await;
        assert_eq!(status, 400, "{query}");
    }
    let (status, _, answer) = endpoint.ask("GET /v1/history?last=3", Some(&token), "").await;
    assert_eq!((status, answer), (200, json!({"rounds": []})));
    let long = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    assert_eq!(endpoint.send(long.as_bytes()).await.0, 431);
}

/// CTRL-04
#[tokio::test]
async fn a_program_that_sends_slowly_is_cut_off_and_keeps_nobody_waiting() {
    let endpoint = Endpoint::new("slow", QUICK);
    let token = endpoint.token(OperatorRole::Viewer, 60);
    let begun = Instant::now();
    let mut slow = endpoint.dial().await;
    let (mut reader, mut writer) = tokio::io::split(&mut slow);
    let trickling = async {
        for byte in b"GET /v1/status HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cut = async {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        (begun.elapsed(), answer)
    };
    let other = async {
        let (status, _, _) = endpoint.ask("GET /v1/status", Some(&token), "").await;
        (begun.elapsed(), status)
    };
    let both = async { tokio::join!(cut, other) };
    let ((cut_after, answer), (answered_after, status)) = tokio::select! {
        both = both => both,
        () = trickling => panic!("it trickles until it is cut"),
    };
    assert_eq!((answer.len(), status), (0, 200));
    assert!(cut_after >= QUICK.header && cut_after < LONG, "{cut_after:?}");
    assert!(answered_after < cut_after, "{answered_after:?} and {cut_after:?}");
}

/// CTRL-04
#[tokio::test]
async fn one_source_has_few_connections_and_gets_their_places_back() {
    let endpoint = Endpoint::new("places", DEADLINES);
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(endpoint.dial().await);
    }
    let refused = dial_coordinator(&endpoint.address, endpoint.certificate, LONG).await;
    assert!(refused.expect_err("no place").contains("handshake"));
    open.pop();
    let token = endpoint.token(OperatorRole::Viewer, 60);
    let mut again = None;
    // The endpoint hears at some time that one has left.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        again = dial_coordinator(&endpoint.address, endpoint.certificate, LONG).await.ok();
        if again.is_some() {
            break;
        }
    }
    drop((again.expect("a place"), open));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(endpoint.ask("GET /v1/status", Some(&token), "").await.0, 200);
}

/// CTRL-02
#[tokio::test]
async fn a_watch_streams_the_status_and_each_event_as_it_happens() {
    let endpoint = Endpoint::new("watch", DEADLINES);
    let token = endpoint.token(OperatorRole::Viewer, 60);
    let mut stream = endpoint.dial().await;
    let request = format!("GET /v1/watch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut lines = BufReader::new(stream).lines();
    let mut next = async || loop {
        let line = lines.next_line().await.expect("open").expect("a line");
        // Between them are the header, and the lengths of chunks.
        if let Ok(Value::Object(event)) = serde_json::from_str(&line) {
            return event;
        }
    };
    assert_eq!(next().await["edition"], 1);
    for number in 0..3 {
        endpoint.desk.watchers.publish(
            Level::INFO,
            "sentence",
            &json!({"event": "planned", "round": number}),
        );
        assert_eq!(next().await["round"], number, "before the next one is published");
    }
    // It is a route of every role, and the only one that the matrix leaves out.
    assert_eq!(ROUTES.iter().filter(|route| route.permission == Permission::See).count(), 4);
}
