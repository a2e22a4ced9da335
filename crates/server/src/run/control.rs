//! What an operator asks of a running coordinator.

use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;
use cloister_protocol::coordinator::RoundPhase;
use tokio::sync::{mpsc, oneshot};

use super::Server;
use crate::config::ServerEvent;
use crate::edition::{EditionError, check_edition, epoch_start, start_model};
use crate::runs::{NewRun, Run};

/// The file in the coordinator's folder that says that no round starts. It survives a restart of the program.
const PAUSED: &str = "paused";

/// What an operator asks for.
#[derive(Debug)]
pub enum ControlCommand {
    /// How the rounds stand.
    Status,
    /// Start no further round until [`ControlCommand::Resume`]. A round in progress goes on.
    Pause,
    /// Start rounds again.
    Resume,
    /// Run further rounds with sums after those that wait already.
    QueueRun(NewRun),
    /// Start no further round of the run with this number. A round in progress goes on.
    CancelRun(u32),
    /// Begin the epoch of the next edition (`CONS-11`), with these round settings.
    BeginEdition {
        /// The edition, whose signature was checked.
        epoch: Arc<Epoch>,
        /// The settings of its rounds.
        settings: Box<RoundSettings>,
    },
}

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct ControlRequest {
    /// What is asked for.
    pub command: ControlCommand,
    /// The answer: how the rounds stand afterwards, or why nothing was done.
    pub reply: oneshot::Sender<Result<ServerStatus, String>>,
}

/// The operator's end.
pub type ControlSender = mpsc::Sender<ControlRequest>;

/// How a coordinator stands.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerStatus {
    /// The number of the edition in force.
    pub edition: u32,
    /// The round in progress; none between rounds.
    pub round: Option<RoundStatus>,
    /// Whether no further round starts.
    pub is_paused: bool,
    /// Rounds with sums so far, over all epochs of the folder.
    pub closed_rounds: u64,
    /// How many of them there will be with those of all runs.
    pub num_rounds: u64,
    /// The runs: those that wait, the one in progress, and the last ones that have ended. In the order of their numbers.
    pub runs: Vec<Run>,
    /// Parties that are connected.
    pub connected: Vec<PartyId>,
    /// Parties that are not.
    pub missing: Vec<PartyId>,
}

/// How the round in progress stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundStatus {
    /// Its number in its edition.
    pub number: Round,
    /// When it began, by the coordinator's clock; none if the file of its times cannot be read.
    pub begun: Option<UtcTime>,
    /// What it waits for.
    pub phase: RoundPhase,
}

/// An edition that the coordinator begins after its links are closed.
#[derive(Debug)]
pub(super) struct NextEdition {
    pub(super) epoch: Arc<Epoch>,
    pub(super) settings: Box<RoundSettings>,
}

impl Server<'_> {
    /// Whether the operator has paused the rounds.
    pub(super) fn is_paused(&self) -> bool {
        self.config.folder.join(PAUSED).exists()
    }

    /// Answers a request. The result is the edition to begin, if one was asked for and can begin.
    pub(super) fn answer(&mut self, request: ControlRequest) -> Option<NextEdition> {
        let (next, answer) = match self.carry_out_command(request.command) {
            Ok(next) => {
                let mut status = self.status();
                // It begins as soon as the links are closed, and what the operator asked for is done then.
                if let Some(next) = &next {
                    status.edition = next.epoch.consortium().epoch_number();
                }
                (next, Ok(status))
            }
            Err(why) => (None, Err(why)),
        };
        // Whoever asked may be gone.
        let _ = request.reply.send(answer);
        next
    }

    fn carry_out_command(&mut self, command: ControlCommand) -> Result<Option<NextEdition>, String> {
        let path = self.config.folder.join(PAUSED);
        match command {
            ControlCommand::Status => {}
            ControlCommand::Pause => {
                cloister_storage::replace(&path, |_| Ok(())).map_err(|error| error.to_string())?;
                (self.events)(ServerEvent::RoundsPaused);
            }
            ControlCommand::Resume => {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error.to_string());
                    }
                    _ => {}
                }
                self.pace.forget_pause();
                (self.events)(ServerEvent::RoundsResumed);
            }
            ControlCommand::QueueRun(run) => self.queue_run(run)?,
            ControlCommand::CancelRun(number) => self.cancel_run(number)?,
            ControlCommand::BeginEdition { epoch, settings } => {
                self.check_next(&epoch, &settings).map_err(|error| error.to_string())?;
                return Ok(Some(NextEdition { epoch, settings }));
            }
        }
        Ok(None)
    }

    fn check_next(&self, epoch: &Epoch, settings: &RoundSettings) -> Result<(), EditionError> {
        if self.coordinator.is_busy() {
            return Err(EditionError::InRound);
        }
        let present = epoch_start(self.config.epoch.digest(), &self.coordinator.checkpoint());
        check_edition(epoch, &self.config.epoch, &present, settings)?;
        // Looked for now: without it, or with settings that do not fit it, the coordinator would end when the edition begins.
        let model = start_model(epoch, self.coordinator.model(), self.config)?;
        model.check(&settings.blocks).map_err(|error| EditionError::Settings(error.to_string()))
    }

    fn status(&self) -> ServerStatus {
        let connected = self.coordinator.connected();
        let parties = self.config.epoch.consortium().parties().map(|party| party.id);
        ServerStatus {
            edition: self.config.epoch.consortium().epoch_number(),
            round: self.round_status(),
            is_paused: self.is_paused(),
            closed_rounds: self.closed_rounds,
            num_rounds: self.closed_rounds.saturating_add(self.runs.remaining(self.closed_rounds)),
            runs: self.runs.runs().to_vec(),
            connected: connected.iter().copied().collect(),
            missing: parties.filter(|party| !connected.contains(party)).collect(),
        }
    }

    fn round_status(&self) -> Option<RoundStatus> {
        let (number, phase) = self.coordinator.progress()?;
        Some(RoundStatus { number, begun: self.begun(number), phase })
    }
}
