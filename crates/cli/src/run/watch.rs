//! `cloister run watch`: what happens at a running coordinator, as it happens.

use std::path::Path;

use cloister_transport::printable;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

use super::local::{answered, unavailable};
use super::remote::{RemoteCoordinator, with_printable_texts};
use crate::failure::{Failure, FailureKind};
use crate::http::next_data;
use crate::output;
use crate::service::control::{OperatorRequest, socket_path};
use crate::service::log;

/// The longest line of an event, in bytes.
const MOST_LINE_BYTES: usize = 4 << 20;

/// Follows a coordinator until this program is interrupted, or the coordinator ends.
pub(super) fn follow(data: &Path, remote: Option<RemoteCoordinator>, as_json: bool) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::error)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::error)?;
        let following = async {
            match remote {
                Some(remote) => EventLines::ask_over_https(&remote).await?.print(as_json).await,
                None => EventLines::ask_socket(data).await?.print(as_json).await,
            }
        };
        tokio::select! {
            ended = following => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// The lines of events of a coordinator. The first one was the status.
struct EventLines {
    status: Value,
    source: LineSource,
}

/// Where lines come from.
enum LineSource {
    Socket {
        lines: Lines<BufReader<OwnedReadHalf>>,
        /// Stays open: its end would be taken for this program's.
        _writer: OwnedWriteHalf,
    },
    Https {
        body: Incoming,
        /// The beginning of the next line.
        begun: Vec<u8>,
    },
}

impl EventLines {
    async fn ask_socket(data: &Path) -> Result<Self, Failure> {
        let path = socket_path(data);
        let asked = ask_to_watch(&path).await;
        let (lines, writer) = asked.map_err(|error| unavailable(&path, &error))?;
        let mut source = LineSource::Socket { lines, _writer: writer };
        let status = answered(&source.next().await?.unwrap_or_default())?;
        Ok(Self { status, source })
    }

    async fn ask_over_https(remote: &RemoteCoordinator) -> Result<Self, Failure> {
        let answer = remote.send(&OperatorRequest::Watch).await?;
        let mut source = LineSource::Https { body: answer.into_body(), begun: Vec::new() };
        let first = source.next().await?.ok_or_else(has_ended)?;
        let status: Value = serde_json::from_str(&first).map_err(|_| has_ended())?;
        Ok(Self { status: with_printable_texts(status), source })
    }

    /// Prints the status and then each event.
    async fn print(mut self, as_json: bool) -> Result<(), Failure> {
        match as_json {
            true => output::line(log::escape_commands(&with_name(self.status).to_string()))?,
            false => output::print(super::status::to_text(&self.status))?,
        }
        while let Some(line) = self.source.next().await? {
            let event: Value = serde_json::from_str(&line).map_err(|_| has_ended())?;
            if let Some(why) = event["error"].as_str() {
                return Err(Failure::error(why));
            }
            match as_json {
                true => output::line(log::escape_commands(&line))?,
                false => output::line(to_text(&event))?,
            }
        }
        Err(has_ended())
    }
}

impl LineSource {
    async fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Socket { lines, .. } => lines.next_line().await.map_err(|_| has_ended()),
            Self::Https { body, begun } => next_line(body, begun).await,
        }
    }
}

/// The next line of a body that goes on.
async fn next_line(body: &mut Incoming, begun: &mut Vec<u8>) -> Result<Option<String>, Failure> {
    loop {
        if let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let rest = begun.split_off(end + 1);
            let line = std::mem::replace(begun, rest);
            return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
        }
        if begun.len() > MOST_LINE_BYTES {
            return Err(has_ended());
        }
        match next_data(body).await {
            Ok(Some(data)) => begun.extend_from_slice(&data),
            Ok(None) | Err(_) => return Ok(None),
        }
    }
}

async fn ask_to_watch(path: &Path) -> std::io::Result<(Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)> {
    let (reader, mut writer) = UnixStream::connect(path).await?.into_split();
    let request = serde_json::to_string(&OperatorRequest::Watch)? + "\n";
    writer.write_all(request.as_bytes()).await?;
    Ok((BufReader::new(reader).lines(), writer))
}

fn has_ended() -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        "the coordinator has ended, or closed the connection; watch again when it runs",
    )
}

/// The status as the first of the events.
fn with_name(mut status: Value) -> Value {
    status["event"] = "status".into();
    status
}

/// An event as a line for people. A reason in it may be a peer's words.
fn to_text(event: &Value) -> String {
    let [time, message] =
        ["time", "message"].map(|name| printable(event[name].as_str().unwrap_or_default().as_bytes()));
    format!("{time} {message}")
}
