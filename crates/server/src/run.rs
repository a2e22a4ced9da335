//! The coordinator's loop.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Event, RoundReport, Time};
use cloister_protocol::model::Model;
use cloister_transport::{
    AcceptError, BindError, Fingerprint, Identity, Listener, Roster, RosterError, Settings,
};
use cloister_wire::frame::Frame;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::files::write_round;
use crate::links::{LinkReport, Links};

/// The reason with which links are closed after the last round; clients end well when they read it.
pub(crate) const FINISHED: &str = "the last round has ended";

/// Everything that a coordinator needs, loaded and checked.
#[derive(Debug)]
pub struct ServerConfig {
    /// The consortium.
    pub epoch: Arc<Epoch>,
    /// The coordinator's signing key.
    pub signing_key: Arc<SigningKey>,
    /// Its TLS identity.
    pub identity: Identity,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What each round does.
    pub settings: RoundSettings,
    /// The model to start from.
    pub model: Model,
    /// Rounds to run.
    pub num_rounds: u64,
    /// Members that must be connected before the first round starts.
    pub min_available_nodes: usize,
    /// How long to wait for them.
    pub start_within: Duration,
    /// How long a party that lost its link is waited for.
    pub reconnect_within: Duration,
    /// Limits of links.
    pub transport: Settings,
    /// Where logs and the model are written.
    pub folder: PathBuf,
}

/// What happened, for people and programs that watch.
#[derive(Debug)]
pub enum ServerEvent {
    /// The port is open.
    Listening(SocketAddr),
    /// A party is connected.
    Connected(PartyId),
    /// A party's link ended.
    Disconnected(PartyId, String),
    /// A peer was not let in.
    PeerRefused(AcceptError),
    /// A frame was refused.
    Fault(PartyId, String),
    /// Something of the round.
    Round(Event),
    /// A round ended.
    Ended(Box<RoundReport>),
}

/// Why the coordinator stopped before its last round.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The consortium file lists one certificate twice.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Files cannot be written, or the socket is gone.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Too few members came.
    #[error(
        "{got} of the {wanted} awaited members are connected after {seconds} s; start the others, or lower min_available_nodes"
    )]
    TooFewMembers {
        /// Connected members.
        got: usize,
        /// The members that were waited for.
        wanted: usize,
        /// How long.
        seconds: u64,
    },
    /// The round cannot go on.
    #[error("the round cannot go on: {0}; it has no sum")]
    QuorumLost(&'static str),
    /// The coordinator's own settings make no valid plan.
    #[error("the round settings make no valid plan: {0}")]
    InvalidPlan(String),
    /// Every round ended without a sum.
    #[error("{0} rounds in a row ended without a sum; too few members announced or uploaded in time")]
    NothingSummed(u64),
}

/// Aborted rounds in a row after which the coordinator gives up.
const GIVE_UP_AFTER: u64 = 3;

struct Server<'a> {
    config: &'a ServerConfig,
    coordinator: Coordinator,
    links: Links,
    started: Instant,
    closed_rounds: u64,
    aborted_in_a_row: u64,
    events: &'a mut (dyn FnMut(ServerEvent) + Send),
}

/// Runs the coordinator to its last round.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(
    config: ServerConfig,
    events: &mut (dyn FnMut(ServerEvent) + Send),
) -> Result<(), ServerError> {
    let parties = config.epoch.consortium().parties();
    let roster = Roster::new(parties.map(|party| (Fingerprint(party.certificate.0), party.id)))?;
    let mut listener = Listener::bind(config.listen, &config.identity, roster, &config.transport)?;
    let address =
        listener.local_address().map_err(|source| ServerError::Io { what: "the socket", source })?;
    events(ServerEvent::Listening(address));
    let (links, mut reports) = Links::new();
    let coordinator =
        Coordinator::new(config.signing_key.clone(), config.epoch.clone(), config.model.clone());
    let mut server = Server {
        config: &config,
        coordinator,
        links,
        started: Instant::now(),
        closed_rounds: 0,
        aborted_in_a_row: 0,
        events,
    };
    server.wait_for_members(&mut listener, &mut reports).await?;
    while server.closed_rounds < config.num_rounds {
        server.start_round()?;
        while server.coordinator.is_busy() {
            server.step(&mut listener, &mut reports).await?;
        }
    }
    server.links.close().await;
    Ok(())
}

impl Server<'_> {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn wait_for_members(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::UnboundedReceiver<LinkReport>,
    ) -> Result<(), ServerError> {
        let wanted = self.config.min_available_nodes;
        let limit = tokio::time::Instant::now() + self.config.start_within;
        let members: BTreeSet<PartyId> = self.config.epoch.consortium().members().collect();
        loop {
            let got = self.coordinator.connected().intersection(&members).count();
            if got >= wanted {
                return Ok(());
            }
            let step = self.step(listener, reports);
            if let Ok(result) = tokio::time::timeout_at(limit, step).await {
                result?;
            } else {
                let seconds = self.config.start_within.as_secs();
                return Err(ServerError::TooFewMembers { got, wanted, seconds });
            }
        }
    }

    fn start_round(&mut self) -> Result<(), ServerError> {
        let now = self.now();
        self.coordinator
            .start_round(self.config.settings.clone(), now)
            .map_err(|fault| ServerError::InvalidPlan(fault.to_string()))?;
        self.carry_out()
    }

    /// Waits for one thing to happen and carries out what follows.
    async fn step(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::UnboundedReceiver<LinkReport>,
    ) -> Result<(), ServerError> {
        let deadline = self.coordinator.deadline().map(|Time(at)| self.started + Duration::from_millis(at));
        let until = tokio::time::Instant::from_std(deadline.unwrap_or(self.started));
        tokio::select! {
            link = listener.accept() => match link {
                Ok(link) => {
                    let party = self.links.add(link);
                    (self.events)(ServerEvent::Connected(party));
                    self.coordinator.handle_connected(party, self.now());
                }
                Err(AcceptError::Stopped) => {
                    let source = io::Error::other("the listener stopped");
                    return Err(ServerError::Io { what: "listening", source });
                }
                Err(refused) => (self.events)(ServerEvent::PeerRefused(refused)),
            },
            Some(report) = reports.recv() => self.handle_report(report),
            () = tokio::time::sleep_until(until), if deadline.is_some() => {
                self.coordinator.handle_time(self.now());
            }
        }
        self.carry_out()
    }

    fn handle_report(&mut self, report: LinkReport) {
        match report {
            LinkReport::Frame(party, frame) => self.handle_frame(party, frame),
            LinkReport::Ended(party, number, reason) if self.links.is_present(party, number) => {
                (self.events)(ServerEvent::Disconnected(party, reason));
                self.links.start_grace(party, number, self.config.reconnect_within);
            }
            LinkReport::GraceOver(party, number) if self.links.is_present(party, number) => {
                self.coordinator.handle_disconnected(party, self.now());
            }
            LinkReport::Ended(..) | LinkReport::GraceOver(..) => {}
        }
    }

    fn handle_frame(&mut self, party: PartyId, frame: Frame) {
        if let Err(fault) = self.coordinator.handle_frame(party, frame, self.now()) {
            (self.events)(ServerEvent::Fault(party, fault.to_string()));
        }
    }

    fn carry_out(&mut self) -> Result<(), ServerError> {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                CoordinatorOutput::Send { to, frame } => self.links.send(to, frame),
                CoordinatorOutput::Event(Event::QuorumLost(why)) => return Err(ServerError::QuorumLost(why)),
                CoordinatorOutput::Event(Event::Refused(PartyId::COORDINATOR, why)) => {
                    return Err(ServerError::InvalidPlan(why));
                }
                CoordinatorOutput::Event(event) => (self.events)(ServerEvent::Round(event)),
                CoordinatorOutput::Ended(report) => self.finish_round(report)?,
            }
        }
        Ok(())
    }

    fn finish_round(&mut self, report: Box<RoundReport>) -> Result<(), ServerError> {
        write_round(&self.config.folder, &report)
            .map_err(|source| ServerError::Io { what: "writing the round's files", source })?;
        if report.opened.is_empty() {
            self.aborted_in_a_row += 1;
        } else {
            self.closed_rounds += 1;
            self.aborted_in_a_row = 0;
        }
        (self.events)(ServerEvent::Ended(report));
        if self.aborted_in_a_row >= GIVE_UP_AFTER {
            return Err(ServerError::NothingSummed(self.aborted_in_a_row));
        }
        Ok(())
    }
}
