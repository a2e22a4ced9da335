//! A coordinator that is asked by the control socket in its data folder.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, FailureKind};
use crate::service::control::{OperatorRequest, socket_path};

/// Sends a request to the coordinator and returns its answer.
pub(super) fn ask(data: &Path, request: &OperatorRequest, within: Duration) -> Result<Value, Failure> {
    let path = socket_path(data);
    let answer = converse(&path, request, within).map_err(|error| unavailable(&path, &error))?;
    answered(&answer)
}

/// No coordinator listens at the socket.
pub(super) fn unavailable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::new(
        FailureKind::Unavailable,
        format!(
            "no coordinator answers at {path}: {error}; give --data with the data folder of a coordinator that runs, and run \
             this command as the coordinator's user"
        ),
    )
}

/// What a coordinator answered in a line.
pub(super) fn answered(line: &str) -> Result<Value, Failure> {
    let answer: Value = serde_json::from_str(line)
        .map_err(|_| Failure::new(FailureKind::Unavailable, "the coordinator ended before it answered"))?;
    match answer["error"].as_str() {
        Some(why) => Err(Failure::error(why)),
        None => Ok(answer["ok"].clone()),
    }
}

/// Writes a request as a line, and reads the line that answers it.
fn converse(path: &Path, request: &OperatorRequest, within: Duration) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(within))?;
    let line = serde_json::to_string(request)? + "\n";
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
