//! `cloister run watch`: what happens at a running coordinator, as it happens.

use std::path::Path;

use cloister_transport::printable;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{SignalKind, signal};

use super::{answered, unavailable};
use crate::failure::{Failure, FailureKind};
use crate::output;
use crate::service::control::{OperatorRequest, socket_path};

/// Follows a coordinator until this program is interrupted, or the coordinator ends.
pub(super) fn follow(data: &Path, as_json: bool) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::error)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::error)?;
        tokio::select! {
            ended = print_events(data, as_json) => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// Prints the status and then each event.
async fn print_events(data: &Path, as_json: bool) -> Result<(), Failure> {
    let path = socket_path(data);
    // `_writer` stays open: its end would be taken for this program's.
    let (mut lines, _writer) = ask_to_watch(&path).await.map_err(|error| unavailable(&path, &error))?;
    let first = next_line(&mut lines).await?.unwrap_or_default();
    let status = answered(&first)?;
    match as_json {
        true => output::line(with_name(status))?,
        false => output::print(super::status::to_text(&status))?,
    }
    while let Some(line) = next_line(&mut lines).await? {
        let event: Value = serde_json::from_str(&line).map_err(|_| has_ended())?;
        if let Some(why) = event["error"].as_str() {
            return Err(Failure::error(why));
        }
        match as_json {
            true => output::line(line)?,
            false => output::line(to_text(&event))?,
        }
    }
    Err(has_ended())
}

async fn ask_to_watch(
    path: &Path,
) -> std::io::Result<(Lines<BufReader<OwnedReadHalf>>, tokio::net::unix::OwnedWriteHalf)> {
    let (reader, mut writer) = UnixStream::connect(path).await?.into_split();
    let request = serde_json::to_string(&OperatorRequest::Watch)? + "\n";
    writer.write_all(request.as_bytes()).await?;
    Ok((BufReader::new(reader).lines(), writer))
}

async fn next_line(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> Result<Option<String>, Failure> {
    lines.next_line().await.map_err(|_| has_ended())
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
