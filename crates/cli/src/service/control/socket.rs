//! The coordinator's control socket: a Unix socket in its data folder, which only its owner can open. Each
//! connection carries one request and one answer, each a line of JSON. After the answer to a request to watch, a line
//! for each event follows until either side ends.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::watchers::follow;
use super::{ControlDesk, OperatorRequest};

/// The longest request, in bytes: a consortium file and round settings.
pub(super) const MOST_REQUEST_BYTES: u64 = 16 << 20;

/// How long one request may take, so that a program that only connects keeps no operator waiting.
const CONVERSE_WITHIN: Duration = Duration::from_mins(2);

/// The socket in a coordinator's data folder.
pub(crate) fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Answers requests for ever. An error is that of the socket.
pub(crate) async fn serve_socket(desk: &ControlDesk, path: &Path) -> io::Result<()> {
    let listener = listen(path).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        // One after the other: requests are rare, and an operator waits for each answer.
        match timeout(CONVERSE_WITHIN, converse(desk, stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a request to the control socket broke off: {error}"),
            Err(_) => tracing::warn!("a request to the control socket was not written or answered in time"),
        }
    }
}

async fn converse(desk: &ControlDesk, stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MOST_REQUEST_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(OperatorRequest::Watch) => return begin_watch(desk, reader, writer).await,
        Ok(request) => {
            let _answering = desk.answering.begin().await;
            let stops = request == OperatorRequest::Stop;
            let written = write_answer(&mut writer, desk.answer(request).await).await;
            if stops {
                desk.stop();
            }
            return written;
        }
        Err(error) => Err(format!("the request cannot be read: {error}")),
    };
    write_answer(&mut writer, answer).await
}

/// Answers with the status. From then on the connection has a task of its own, so that other requests are answered.
async fn begin_watch(
    desk: &ControlDesk,
    reader: impl AsyncRead + Send + Unpin + 'static,
    mut writer: OwnedWriteHalf,
) -> io::Result<()> {
    match desk.watch().await {
        Err(why) => write_answer(&mut writer, Err(why)).await,
        Ok((status, lines)) => {
            write_answer(&mut writer, Ok(status)).await?;
            tokio::spawn(follow(reader, writer, lines));
            Ok(())
        }
    }
}

async fn write_answer(writer: &mut OwnedWriteHalf, answer: Result<Value, String>) -> io::Result<()> {
    let answer = match answer {
        Ok(status) => json!({"ok": status}),
        Err(why) => json!({"error": why}),
    };
    writer.write_all(format!("{answer}\n").as_bytes()).await
}

/// Listens at a path. A socket that an earlier run left behind is replaced.
async fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        cloister_storage::create_folder(folder)?;
    }
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::other("another coordinator listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // The folder keeps others out as well; the umask was set before.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
