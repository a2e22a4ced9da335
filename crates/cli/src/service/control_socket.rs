//! The coordinator's control socket: a Unix socket in its data folder, which only its owner can open. Each
//! connection carries one request and one answer, each a line of JSON. After the answer to a request to watch, a line
//! for each event follows until either side ends.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloister_crypto::consortium::Epoch;
use cloister_identity::enrolment::EnrolmentRole;
use cloister_params::consortium::PublicBytes;
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::RoundPhase;
use cloister_server::{ControlCommand, ControlRequest, ControlSender, RoundStatus, ServerStatus};
use cloister_transport::StopSwitch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::invitations::Invitations;
use super::watchers::{Watchers, follow};

/// The longest request, in bytes: a consortium file and round settings.
const MOST_REQUEST_BYTES: u64 = 16 << 20;

/// How long one request may take, so that a program that only connects keeps no operator waiting.
const CONVERSE_WITHIN: Duration = Duration::from_mins(2);

/// What an operator asks of a running coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum OperatorRequest {
    /// How the rounds stand.
    Status,
    /// Start no further round.
    Pause,
    /// Start rounds again.
    Resume,
    /// Run this many further rounds with sums.
    Start { rounds: u64 },
    /// Stop the program.
    Stop,
    /// Send the events from now on.
    Watch,
    /// Begin the epoch of the next edition.
    Edition {
        /// The consortium file.
        file: String,
        /// The governance key's signature, in hexadecimal digits.
        signature: String,
        /// The round settings from now on, if they change.
        settings: Option<String>,
    },
    /// Invite a party.
    Invite {
        /// The coordinator's address, as the party reaches it.
        address: String,
        /// For how many hours the invitation can be used.
        valid_hours: u32,
        /// The roles for which the party is invited.
        roles: Vec<EnrolmentRole>,
    },
    /// List all invitations.
    Invitations,
    /// Cancel an invitation.
    Uninvite { number: u32 },
}

/// The socket in a coordinator's data folder.
pub(crate) fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// What the socket's side needs to carry out requests.
pub(crate) struct ControlSocket<'a> {
    pub(crate) coordinator: ControlSender,
    pub(crate) stop: &'a StopSwitch,
    /// The governance key that the coordinator's policy pins.
    pub(crate) governance_key: PublicBytes,
    /// Invitations and what came of them.
    pub(crate) invitations: Invitations,
    /// Programs that follow the events.
    pub(crate) watchers: Watchers,
    /// The round settings until an edition brings others.
    pub(crate) settings: RoundSettings,
}

impl ControlSocket<'_> {
    /// Answers requests for ever. An error is that of the socket.
    pub(crate) async fn serve(mut self, path: &Path) -> io::Result<()> {
        let listener = listen(path).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            // One after the other: requests are rare, and an operator waits for each answer.
            match timeout(CONVERSE_WITHIN, self.converse(stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a request to the control socket broke off: {error}"),
                Err(_) => {
                    tracing::warn!("a request to the control socket was not written or answered in time")
                }
            }
        }
    }

    async fn converse(&mut self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader.take(MOST_REQUEST_BYTES));
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(OperatorRequest::Watch) => return self.begin_watch(reader, writer).await,
            Ok(OperatorRequest::Stop) => {
                // The answer first: the program may end before another byte is written.
                let status = self.ask(ControlCommand::Status).await;
                let written = write_answer(&mut writer, status.map(|status| status_json(&status))).await;
                self.stop.request();
                return written;
            }
            Ok(request) => self.answer(request).await,
            Err(error) => Err(format!("the request cannot be read: {error}")),
        };
        write_answer(&mut writer, answer).await
    }

    /// Answers with the status. From then on the connection has a task of its own, so that other requests are answered.
    async fn begin_watch(
        &self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        mut writer: OwnedWriteHalf,
    ) -> io::Result<()> {
        // Before the status is asked for, so that no event is missed in between.
        let lines = match self.watchers.admit() {
            Ok(lines) => lines,
            Err(why) => return write_answer(&mut writer, Err(why)).await,
        };
        let status = self.ask(ControlCommand::Status).await;
        write_answer(&mut writer, status.map(|status| status_json(&status))).await?;
        tokio::spawn(follow(reader, writer, lines));
        Ok(())
    }

    async fn answer(&mut self, request: OperatorRequest) -> Result<Value, String> {
        let status = match request {
            OperatorRequest::Status | OperatorRequest::Watch | OperatorRequest::Stop => {
                self.ask(ControlCommand::Status).await?
            }
            OperatorRequest::Pause => self.ask(ControlCommand::Pause).await?,
            OperatorRequest::Resume => self.ask(ControlCommand::Resume).await?,
            OperatorRequest::Start { rounds } => {
                let closed = self.ask(ControlCommand::Status).await?.closed_rounds;
                self.ask(ControlCommand::SetRounds(closed + rounds)).await?;
                self.ask(ControlCommand::Resume).await?
            }
            OperatorRequest::Edition { file, signature, settings } => {
                self.begin_edition(&file, &signature, settings.as_deref()).await?
            }
            // They are none of the rounds' business.
            OperatorRequest::Invite { address, valid_hours, roles } => {
                return self.invitations.invite(address, valid_hours, roles);
            }
            OperatorRequest::Invitations => return Ok(self.invitations.list()),
            OperatorRequest::Uninvite { number } => return self.invitations.cancel(number),
        };
        Ok(status_json(&status))
    }

    async fn begin_edition(
        &mut self,
        file: &str,
        signature: &str,
        settings: Option<&str>,
    ) -> Result<ServerStatus, String> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature.trim(), &mut bytes)
            .map_err(|_| "the signature is not 128 hexadecimal digits".to_owned())?;
        let epoch = Epoch::accept(file, &bytes, self.governance_key).map_err(|error| error.to_string())?;
        let settings = match settings {
            Some(text) => RoundSettings::parse(text).map_err(|error| error.to_string())?,
            None => self.settings.clone(),
        };
        let command =
            ControlCommand::BeginEdition { epoch: Arc::new(epoch), settings: Box::new(settings.clone()) };
        let status = self.ask(command).await?;
        self.settings = settings;
        Ok(status)
    }

    async fn ask(&self, command: ControlCommand) -> Result<ServerStatus, String> {
        let (reply, answer) = oneshot::channel();
        let is_sent = self.coordinator.send(ControlRequest { command, reply }).await.is_ok();
        match answer.await {
            Ok(answer) if is_sent => answer,
            _ => Err("the coordinator is stopping".to_owned()),
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

fn status_json(status: &ServerStatus) -> Value {
    json!({
        "edition": status.edition,
        "in_round": status.round.is_some(),
        "round": status.round.map(|round| round_json(&round)),
        "paused": status.is_paused,
        "closed_rounds": status.closed_rounds,
        "num_rounds": status.num_rounds,
        "connected": status.connected,
        "missing": status.missing,
    })
}

fn round_json(round: &RoundStatus) -> Value {
    // A clock that was set back since gives 0.
    let elapsed =
        round.begun.map(|begun| SystemTime::now().duration_since(begun.to_time()).unwrap_or_default());
    json!({
        "number": round.number,
        "begun": round.begun,
        "seconds": elapsed.map(|elapsed| elapsed.as_secs()),
        "waits_for": waits_for(round.phase),
    })
}

/// What a round waits for, in words.
fn waits_for(phase: RoundPhase) -> &'static str {
    match phase {
        RoundPhase::Keys => "custodians' keys for the round",
        RoundPhase::Announcements => "announcements",
        RoundPhase::FirstSeal => "custodians' signatures of the first seal",
        RoundPhase::Uploads => "uploads",
        RoundPhase::SecondSeal => "custodians' signatures of the second seal",
        RoundPhase::Abort => "custodians' signatures of the abort",
        RoundPhase::Reveals => "reveals",
        RoundPhase::LateSketches => "late sketches",
        RoundPhase::Closing => "custodians' signatures of the closing",
    }
}
