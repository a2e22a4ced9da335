//! A coordinator that is asked over HTTPS, with an operator's token (`CTRL-01`, `CTRL-02`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cloister_params::consortium::Consortium;
use cloister_transport::{Fingerprint, HostPort, dial_coordinator, printable};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::http::{BodyFault, HttpStream, MessageBody, read_body};
use crate::service::control::{OperatorRequest, path_of};

/// How long to wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long the coordinator may take to read a next part of a request.
const WRITE_WITHIN: Duration = Duration::from_mins(1);
/// The longest answer: a history has some hundred bytes for each step of each round.
const MOST_ANSWER_BYTES: usize = 64 << 20;

/// How a coordinator is reached over the network.
#[derive(Debug, Args)]
pub(super) struct RemoteFlags {
    /// The URL of the coordinator's HTTPS control port. Without it, the socket in the data folder is asked.
    #[arg(long, global = true, value_name = "URL", value_parser = parse_url)]
    url: Option<HostPort>,
    /// The file with the token, which `cloister run token add` printed at the coordinator. Only its owner may read it.
    #[arg(long, global = true, value_name = "FILE", env = "CLOISTER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The consortium file, which names the coordinator's certificate. It is taken at its word, so get it from a party.
    #[arg(long, global = true, value_name = "FILE", requires = "url", conflicts_with = "fingerprint")]
    consortium: Option<PathBuf>,
    /// The SHA-256 of the coordinator's certificate, in place of the consortium file.
    #[arg(long, global = true, value_name = "SHA-256", requires = "url")]
    fingerprint: Option<Fingerprint>,
}

fn parse_url(text: &str) -> Result<HostPort, String> {
    let address =
        text.strip_prefix("https://").ok_or("expected a URL like https://cloister.example.org:8443")?;
    address.strip_suffix('/').unwrap_or(address).parse().map_err(|error| format!("{error}"))
}

/// A coordinator that is reached over the network, and the token for it.
pub(super) struct RemoteCoordinator {
    target: HostPort,
    certificate: Fingerprint,
    token: Zeroizing<String>,
}

impl RemoteFlags {
    /// The coordinator that the flags name, if they name one.
    pub(super) fn coordinator(&self) -> Result<Option<RemoteCoordinator>, Failure> {
        let Some(target) = self.url.clone() else { return Ok(None) };
        let certificate = match (&self.consortium, self.fingerprint) {
            (Some(path), _) => pinned_certificate(path)?,
            (None, Some(fingerprint)) => fingerprint,
            (None, None) => {
                return Err(Failure::new(
                    FailureKind::Usage,
                    "give --consortium with the consortium file, or --fingerprint, so that the token goes to the consortium's \
                     coordinator alone",
                ));
            }
        };
        let path = self.token_file.as_ref().ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                "give --token-file or CLOISTER_TOKEN_FILE with the file of the token",
            )
        })?;
        let token = read_token(path)?;
        Ok(Some(RemoteCoordinator { target, certificate, token }))
    }
}

fn pinned_certificate(path: &Path) -> Result<Fingerprint, Failure> {
    let consortium = Consortium::parse(&read_text(path)?);
    let consortium = consortium.map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    Ok(Fingerprint(consortium.coordinator().certificate.0))
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = cloister_storage::read_secret(path)
        .map_err(|error| Failure::config(format!("cannot read the token in {}: {error}", path.display())))?;
    let token = Zeroizing::new(text.trim().to_owned());
    // An empty file, or one with more than a token, would fail at the coordinator for a reason that hides this one.
    match token.starts_with("cloister_") && token.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(token),
        false => Err(Failure::config(format!(
            "{} is no token: it must have the one line that `cloister run token add` printed",
            path.display()
        ))),
    }
}

impl RemoteCoordinator {
    /// Sends a request and returns its answer.
    pub(super) fn ask(&self, request: &OperatorRequest, within: Duration) -> Result<Value, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::error)?;
        runtime.block_on(async {
            let asking = async { self.answered(self.send(request).await?).await };
            tokio::time::timeout(within, asking).await.unwrap_or_else(|_| {
                Err(self.unavailable(format_args!("no answer came within {} s", within.as_secs())))
            })
        })
    }

    /// Sends a request. The result is an answer whose body may go on.
    pub(super) async fn send(&self, request: &OperatorRequest) -> Result<Response<Incoming>, Failure> {
        let request = self.request(request)?;
        // Only after the certificate was checked, so that no other server gets the token.
        let stream = dial_coordinator(&self.target, self.certificate, CONNECT_WITHIN).await;
        let stream = stream.map_err(|why| Failure::new(FailureKind::Unavailable, why))?;
        let shaken = http1::handshake(HttpStream::new(stream, WRITE_WITHIN)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.unavailable(error))?;
        // It carries the answer's body too, and ends with it.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.unavailable(error))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(self.refusal(status, answer.into_body()).await),
        }
    }

    /// The whole answer in JSON.
    async fn answered(&self, answer: Response<Incoming>) -> Result<Value, Failure> {
        let body = read_body(answer.into_body(), MOST_ANSWER_BYTES).await.map_err(|fault| match fault {
            BodyFault::TooLong => Failure::error(format!(
                "the answer of {} has more than {MOST_ANSWER_BYTES} bytes",
                self.target
            )),
            BodyFault::Broken => self.unavailable("the connection broke before the answer was whole"),
        })?;
        let answer = serde_json::from_slice(&body);
        answer
            .map(with_printable_texts)
            .map_err(|_| self.unavailable("its answer is not that of a coordinator"))
    }

    /// A request with its path, body and token.
    fn request(&self, request: &OperatorRequest) -> Result<Request<MessageBody>, Failure> {
        let fields = serde_json::to_value(request).map_err(Failure::error)?;
        let Value::Object(mut fields) = fields else { return Err(Failure::error("a request is an object")) };
        let command = fields.remove("command");
        let command = command.as_ref().and_then(Value::as_str).unwrap_or_default();
        let (method, path) = path_of(command).ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                "tokens are made, listed and revoked at the coordinator's machine alone; leave out --url there",
            )
        })?;
        fields.retain(|_, value| !value.is_null());
        let (path, body) = match method {
            Method::GET => (path + &query(&fields), Bytes::new()),
            _ => (path, Value::from(fields).to_string().into()),
        };
        let token = Zeroizing::new(format!("Bearer {}", *self.token));
        let mut authorization = HeaderValue::from_str(&token).map_err(Failure::error)?;
        authorization.set_sensitive(true);
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.to_string())
            .header(AUTHORIZATION, authorization)
            .body(MessageBody::Whole(body))
            .map_err(Failure::error)
    }

    /// Why the coordinator did not carry a request out.
    async fn refusal(&self, status: StatusCode, body: Incoming) -> Failure {
        let body = read_body(body, MOST_ANSWER_BYTES).await.unwrap_or_default();
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = match answer["error"].as_str() {
            Some(why) => printable(why.as_bytes()),
            None => format!("{} answered {status} without a reason", self.target),
        };
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => FailureKind::Config,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE => {
                FailureKind::Unavailable
            }
            _ => FailureKind::Error,
        };
        Failure::new(kind, why)
    }

    fn unavailable(&self, detail: impl std::fmt::Display) -> Failure {
        Failure::new(
            FailureKind::Unavailable,
            format!(
                "the coordinator at {} did not answer: {detail}; check that it runs, and try again",
                self.target
            ),
        )
    }
}

/// An answer whose texts command no terminal: the coordinator is trusted for availability alone.
pub(super) fn with_printable_texts(value: Value) -> Value {
    match value {
        Value::String(text) => printable(text.as_bytes()).into(),
        Value::Array(items) => items.into_iter().map(with_printable_texts).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, with_printable_texts(value))).collect()
        }
        other => other,
    }
}

/// The fields of a request that has no body. All of them are numbers.
fn query(fields: &Map<String, Value>) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
