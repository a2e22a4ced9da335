//! One connection: one request, and its answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use cloister_identity::operator::TokenUse;
use cloister_transport::{OperatorStream, PeerSource};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, StatusCode};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, duplex, split};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::{sleep, timeout};
use tracing::Level;

use super::super::watchers::follow;
use super::super::{ControlDesk, OperatorRequest};
use super::Deadlines;
use super::answer::{HttpAnswer, HttpRefusal, done, lines};
use super::failures::{FailedTokens, MOST_FAILURES};
use super::routes::{self, RequestRoute};
use crate::http::{BodyFault, HttpStream, read_body};

/// The most bytes of a header, which is also the least that hyper buffers.
const MOST_HEADER_BYTES: usize = 8 << 10;
/// The most fields of a header.
const MOST_FIELDS: usize = 32;
/// How many bytes of events wait for a program that watches, before it counts as slow.
const STREAM_BUFFER: usize = 64 << 10;

/// One connection and its request.
pub(super) struct HttpExchange {
    desk: Arc<ControlDesk>,
    failures: Arc<FailedTokens>,
    peer: SocketAddr,
    deadlines: Deadlines,
    /// Whether the header has come.
    has_begun: AtomicBool,
    /// Keeps a coordinator that ends from doing so before the answer is written.
    held: OnceLock<OwnedRwLockReadGuard<()>>,
    /// Whether the request is to stop the program.
    stops: AtomicBool,
}

impl HttpExchange {
    pub(super) fn new(
        desk: Arc<ControlDesk>,
        failures: Arc<FailedTokens>,
        peer: SocketAddr,
        deadlines: Deadlines,
    ) -> Self {
        let (has_begun, held, stops) = Default::default();
        Self { desk, failures, peer, deadlines, has_begun, held, stops }
    }

    /// Serves the connection until it ends.
    pub(super) async fn serve(self: Arc<Self>, stream: OperatorStream) {
        let exchange = self.clone();
        let service = service_fn(move |request| {
            let exchange = exchange.clone();
            async move { Ok::<_, Infallible>(exchange.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.keep_alive(false).max_buf_size(MOST_HEADER_BYTES).max_headers(MOST_FIELDS);
        let stream = HttpStream::new(stream, self.deadlines.write);
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        // CTRL-04: dropping the connection closes it.
        tokio::select! {
            _ = &mut connection => {}
            () = sleep(self.deadlines.header) => {
                if !self.has_begun.load(Ordering::Relaxed) {
                    return;
                }
                // An error says that the program has left.
                let _ = connection.await;
            }
        }
        if self.stops.load(Ordering::Relaxed) {
            self.desk.stop();
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> HttpAnswer {
        self.has_begun.store(true, Ordering::Relaxed);
        self.carry_out(request).await.unwrap_or_else(|refusal| refusal.answer())
    }

    async fn carry_out(self: &Arc<Self>, request: Request<Incoming>) -> Result<HttpAnswer, HttpRefusal> {
        // The token first: a stranger does not learn what can be asked, and no byte of its body is read.
        let token = self.token(request.headers())?;
        let (method, path) = (request.method(), request.uri().path());
        let route = routes::find(method, path).ok_or_else(|| {
            let why = format!(
                "there is no request {method} {path}; protocols/operation.md lists all. The program that asks may be of \
                 another version"
            );
            HttpRefusal::new(StatusCode::NOT_FOUND, why)
        })?;
        // CTRL-02
        if !route.permission.is_given_to(token.role) {
            let why = format!(
                "the token {} has the role {}, and `{}` needs the role {}; ask the coordinator's operator for one",
                token.name,
                token.role,
                route.command,
                route.permission.role()
            );
            self.log(&token, route, Some(&why));
            return Err(HttpRefusal::new(StatusCode::FORBIDDEN, why));
        }
        let request = self.read(request, route).await?;
        if request == OperatorRequest::Watch {
            return self.watch().await;
        }
        let _ = self.held.set(self.desk.answering.begin().await);
        self.stops.store(request == OperatorRequest::Stop, Ordering::Relaxed);
        let exchange = self.clone();
        // CTRL-05: a task of its own, because a program that leaves now ends the connection's.
        let answering = tokio::spawn(async move {
            let answer = exchange.desk.answer(request).await;
            exchange.log(&token, route, answer.as_ref().err().map(String::as_str));
            answer
        });
        let answer = answering.await.unwrap_or_else(|error| Err(error.to_string()));
        answer.map(|answer| done(&answer)).map_err(|why| HttpRefusal::new(StatusCode::CONFLICT, why))
    }

    /// Whose token the request has (`CTRL-03`).
    fn token(&self, headers: &HeaderMap) -> Result<TokenUse, HttpRefusal> {
        let text = headers.get(AUTHORIZATION).and_then(bearer_token);
        let checked = match text {
            Some(text) => self.desk.tokens.check(text, SystemTime::now()).map_err(|why| why.to_string()),
            None => Err("the request has no token; send one as `Authorization: Bearer TOKEN`".to_owned()),
        };
        checked.map_err(|why| {
            // CTRL-04
            if self.failures.count(PeerSource::new(self.peer.ip()), Instant::now()) {
                let why = format!(
                    "more than {MOST_FAILURES} requests from this network had no valid token within a minute; wait a minute, \
                     and check the token"
                );
                return HttpRefusal::new(StatusCode::TOO_MANY_REQUESTS, why);
            }
            let sentence = format!("a request of {} over HTTPS was refused: {why}", self.peer);
            let fields = json!({"event": "operator_refused", "address": self.peer.to_string(), "reason": why});
            // Scanners, which have no token, come to a public port at any hour.
            let level = if text.is_some() { Level::WARN } else { Level::DEBUG };
            self.desk.reporter.report(level, &sentence, fields);
            HttpRefusal::new(StatusCode::UNAUTHORIZED, why)
        })
    }

    /// Reads a request as the control socket has it: a command with its fields.
    async fn read(
        &self,
        request: Request<Incoming>,
        route: &RequestRoute,
    ) -> Result<OperatorRequest, HttpRefusal> {
        let mut fields = query(request.uri().query().unwrap_or_default())?;
        // CTRL-04
        let body = timeout(self.deadlines.body, read_body(request.into_body(), route.most_bytes)).await;
        let seconds = self.deadlines.body.as_secs();
        let body = body.map_err(|_| {
            let why = format!("the body was not here within {seconds} s; send the request again");
            HttpRefusal::new(StatusCode::REQUEST_TIMEOUT, why)
        })?;
        let body = body.map_err(|fault| match fault {
            BodyFault::TooLong => {
                let most = route.most_bytes;
                let why =
                    format!("the body of `{}` has at most {most} bytes; send a shorter one", route.command);
                HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
            }
            BodyFault::Broken => HttpRefusal::malformed("the body ended early; send the request again"),
        })?;
        if !body.is_empty() {
            let object: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| {
                HttpRefusal::malformed(format!("the body is not an object in JSON: {error}"))
            })?;
            fields.extend(object);
        }
        // Last, so that a body cannot name another command than the path, for which the token was checked.
        fields.insert("command".to_owned(), route.command.into());
        serde_json::from_value(fields.into())
            .map_err(|error| HttpRefusal::malformed(format!("`{}` cannot be read: {error}", route.command)))
    }

    /// Answers with the status, and then with each event.
    async fn watch(&self) -> Result<HttpAnswer, HttpRefusal> {
        let unavailable = |why: String| HttpRefusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
        let (status, watched) = self.desk.watch().await.map_err(unavailable)?;
        let _ = watched.hold().map(|held| self.held.set(held));
        let (inner, outer) = duplex(STREAM_BUFFER);
        let (reader, mut writer) = split(inner);
        tokio::spawn(async move {
            writer.write_all(format!("{status}\n").as_bytes()).await?;
            follow(reader, writer, watched).await
        });
        Ok(lines(outer))
    }

    /// Logs a request that changes something, or would have (`CTRL-05`). The log has the token's name and never the token.
    fn log(&self, token: &TokenUse, route: &RequestRoute, refusal: Option<&str>) {
        if !route.changes() {
            return;
        }
        let TokenUse { number, name, role } = token;
        let outcome = match refusal {
            None => "carried out".to_owned(),
            Some(why) => format!("refused: {why}"),
        };
        let sentence = format!(
            "{} by the {role}'s token {number} ({name}) from {}: {outcome}",
            route.command, self.peer
        );
        let fields = json!({
            "event": "operator_request", "command": route.command, "token": number, "name": name, "role": role,
            "address": self.peer.to_string(), "refused": refusal
        });
        self.desk.reporter.report(Level::INFO, &sentence, fields);
    }
}

/// The token of a header as RFC 6750 has it. Names of schemes have no case.
fn bearer_token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

/// The fields of a query. All of them are numbers.
fn query(text: &str) -> Result<Map<String, Value>, HttpRefusal> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let fields = pairs.map(|pair| {
        let (name, number) = pair.split_once('=')?;
        Some((name.to_owned(), Value::from(number.parse::<u32>().ok()?)))
    });
    let fields: Option<Map<String, Value>> = fields.collect();
    fields.ok_or_else(|| {
        HttpRefusal::malformed("the query is not of the form NAME=NUMBER; see protocols/operation.md")
    })
}
