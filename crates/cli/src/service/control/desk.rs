//! Where requests of operators are answered, whichever way they come.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_identity::operator::TokenDesk;
use cloister_params::consortium::PublicBytes;
use cloister_params::plan::RoundSettings;
use cloister_server::{ControlCommand, ControlRequest, ControlSender, NewRun, RunState, ServerStatus};
use cloister_transport::StopSwitch;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, oneshot};
use tokio::time::timeout;

use super::invitations::Invitations;
use super::reporter::EventReporter;
use super::status::{queue_json, run_json, status_json};
use super::watchers::{WatchedLines, Watchers};
use super::{OperatorRequest, RunToQueue, tokens};
use crate::rounds_so_far;

/// How long a coordinator that ends waits until answers are written.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// What is needed to carry out requests.
pub(crate) struct ControlDesk {
    pub(crate) coordinator: ControlSender,
    pub(crate) stop: Arc<StopSwitch>,
    /// The coordinator's data folder.
    pub(crate) data: PathBuf,
    /// The governance key that the coordinator's policy pins.
    pub(crate) governance_key: PublicBytes,
    /// Invitations and what came of them.
    pub(crate) invitations: Invitations,
    /// Tokens for requests over HTTPS.
    pub(crate) tokens: TokenDesk,
    /// Where requests over HTTPS are taken, if they are.
    pub(crate) https: Option<SocketAddr>,
    /// Programs that follow the events.
    pub(crate) watchers: Watchers,
    /// Where the events go.
    pub(crate) reporter: EventReporter,
    /// The round settings until an edition brings others.
    pub(crate) settings: Mutex<RoundSettings>,
    /// The answers that are being written.
    pub(crate) answering: Answering,
}

/// Whether requests wait for their answers. Clones are of the same requests.
#[derive(Clone, Default, Debug)]
pub(crate) struct Answering(Arc<RwLock<()>>);

impl Answering {
    /// Held from the time when a request was read until its answer is written.
    pub(super) async fn begin(&self) -> OwnedRwLockReadGuard<()> {
        self.0.clone().read_owned().await
    }

    /// Waits for a moment until all answers are written. A request can end the program, as the cancelling of the last run
    /// does, and its operator shall hear of it.
    pub(crate) async fn finish(&self) {
        let _ = timeout(FINISH_WITHIN, self.0.write()).await;
    }
}

impl ControlDesk {
    /// Answers a request. To watch and to stop need more than an answer: see [`ControlDesk::watch`] and
    /// [`ControlDesk::stop`].
    pub(super) async fn answer(&self, request: OperatorRequest) -> Result<Value, String> {
        let status = match request {
            OperatorRequest::Status | OperatorRequest::Watch | OperatorRequest::Stop => self.status().await?,
            OperatorRequest::Pause => self.ask(ControlCommand::Pause).await?,
            OperatorRequest::Resume => self.ask(ControlCommand::Resume).await?,
            OperatorRequest::Queue => return Ok(queue_json(&self.status().await?)),
            OperatorRequest::Start(run) => return self.queue_run(run).await,
            OperatorRequest::Cancel { number } => return self.cancel_run(number).await,
            OperatorRequest::Edition { file, signature, settings } => {
                self.begin_edition(&file, &signature, settings.as_deref()).await?
            }
            // They are none of the rounds' business.
            OperatorRequest::History { last } => return self.history(last).await,
            OperatorRequest::Invite { address, valid_hours, roles } => {
                return self.invitations.invite(address, valid_hours, roles);
            }
            OperatorRequest::Invitations => return Ok(self.invitations.list()),
            OperatorRequest::Uninvite { number } => return self.invitations.cancel(number),
            OperatorRequest::AddToken { role, name, valid_days } => {
                return tokens::add(&self.tokens, role, &name, valid_days);
            }
            OperatorRequest::Tokens => return Ok(tokens::list(&self.tokens)),
            OperatorRequest::RevokeToken { number } => return tokens::revoke(&self.tokens, number),
        };
        Ok(self.status_json(&status))
    }

    /// The status, and the events from then on.
    pub(super) async fn watch(&self) -> Result<(Value, WatchedLines), String> {
        // Before the status is asked for, so that no event is missed in between.
        let lines = self.watchers.admit()?;
        Ok((self.status_json(&self.status().await?), lines))
    }

    /// Stops the program. Answer before: it may end before another byte is written.
    pub(super) fn stop(&self) {
        self.stop.request();
    }

    fn status_json(&self, status: &ServerStatus) -> Value {
        let mut value = status_json(status);
        value["control_https"] = self.https.map(|address| address.to_string()).into();
        value
    }

    async fn status(&self) -> Result<ServerStatus, String> {
        self.ask(ControlCommand::Status).await
    }

    async fn queue_run(&self, run: RunToQueue) -> Result<Value, String> {
        let RunToQueue { rounds, name, settings, not_before, rehearsal, early_stop } = run;
        let run = NewRun { name, rounds, settings, rehearsal, not_before, early_stop };
        let status = self.ask(ControlCommand::QueueRun(run)).await?;
        // Numbers ascend, and nothing else was carried out in between.
        let queued = status.runs.last().map(|run| run_json(run, status.closed_rounds));
        Ok(json!({"queued": queued, "paused": status.is_paused}))
    }

    async fn cancel_run(&self, number: u32) -> Result<Value, String> {
        let status = self.ask(ControlCommand::CancelRun(number)).await?;
        let run = status.runs.iter().find(|run| run.number == number);
        let goes_on = run.is_some_and(|run| matches!(run.state, RunState::InProgress { .. }));
        Ok(json!({"cancelled": number, "in_round": goes_on}))
    }

    async fn history(&self, last: Option<u32>) -> Result<Value, String> {
        let data = self.data.clone();
        // It reads files of every round, and the coordinator's own task must not wait for them.
        let read = tokio::task::spawn_blocking(move || rounds_so_far::read(&data, last)).await;
        read.map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())
    }

    async fn begin_edition(
        &self,
        file: &str,
        signature: &str,
        settings: Option<&str>,
    ) -> Result<ServerStatus, String> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature.trim(), &mut bytes)
            .map_err(|_| "the signature is not 128 hexadecimal digits".to_owned())?;
        let epoch = Epoch::accept(file, &bytes, self.governance_key).map_err(|error| error.to_string())?;
        // Held until the edition has begun, so that two editions do not mix their settings.
        let mut present = self.settings.lock().await;
        let settings = match settings {
            Some(text) => RoundSettings::parse(text).map_err(|error| error.to_string())?,
            None => present.clone(),
        };
        let command =
            ControlCommand::BeginEdition { epoch: Arc::new(epoch), settings: Box::new(settings.clone()) };
        let status = self.ask(command).await?;
        *present = settings;
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
