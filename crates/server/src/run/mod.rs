//! The coordinator's loop.

mod control;
mod ending;
mod enrolment;
mod pace;
mod pulling;
mod round;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use cloister_params::id::{Digest, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Event, Input, Time};
use cloister_protocol::fault::Fault;
use cloister_transport::{AcceptError, Fingerprint, Link, Listener, Roster};
use tokio::sync::mpsc;

use crate::allowance::{Allowance, NEW_LINK};
use crate::arrivals::Arrivals;
use crate::config::{ServerConfig, ServerEvent};
use crate::edition::{check_start_model, continue_from, edition_frame};
use crate::error::ServerError;
use crate::files::keep_next;
use crate::journal::{JournalContent, RoundJournal};
use crate::links::{LinkLimits, LinkReport, Links, NO_LINK};
use crate::public_log::PublicLog;
use crate::pulls::{EACH_WITHIN, Pulls};
use crate::runs::RunQueue;
use crate::times::RoundStep;

use control::NextEdition;
use ending::ASK_WITHIN;
use enrolment::Entrance;
use pace::{NextTask, Pace};

pub use control::{ControlCommand, ControlRequest, ControlSender, RoundStatus, ServerStatus};

struct Server<'a> {
    config: &'a ServerConfig,
    coordinator: Coordinator,
    journal: RoundJournal,
    allowance: Allowance,
    arrivals: Arrivals,
    links: Links,
    /// Parties that have lost their link and may still reconnect.
    lost: BTreeSet<PartyId>,
    /// Until when a party that connected after the last round may ask for the model.
    served_until: Instant,
    /// When the program started; the coordinator's times are milliseconds since then.
    started: Instant,
    /// Rounds with sums so far, those before a restart included.
    closed_rounds: u64,
    runs: RunQueue,
    public_log: PublicLog,
    /// The settings of the next round, or of the one in progress.
    settings: RoundSettings,
    /// The run whose settings these are, after they were checked against the edition in force.
    checked_run: Option<u32>,
    aborted_in_a_row: u64,
    pace: Pace,
    /// The parties that have refused since the last sum, each with its reason.
    refusals: BTreeMap<PartyId, String>,
    pulls: Pulls,
    events: &'a mut (dyn FnMut(ServerEvent) + Send),
}

/// Runs the coordinator until its last round has ended, or until it is told to stop
/// ([`ServerLifetime`](crate::ServerLifetime)). It continues where an earlier run with the same folder stopped.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(
    mut config: ServerConfig,
    mut control: mpsc::Receiver<ControlRequest>,
    events: &mut (dyn FnMut(ServerEvent) + Send),
) -> Result<(), ServerError> {
    let mut entrance: Option<Entrance> = None;
    loop {
        let roster = roster(&config)?;
        let (links, mut reports) = Links::new(LinkLimits::new(&config));
        let mut server = Server::start(&config, links, events)?;
        let entrance = match &mut entrance {
            Some(entrance) => {
                entrance.listener.replace_roster(roster);
                entrance
            }
            None => entrance.insert(Entrance::open(&config, roster, server.events)?),
        };
        ending_soon(&config).into_iter().map(ServerEvent::Warning).for_each(&mut *server.events);
        let Some(next) = server.serve(entrance, &mut reports, &mut control).await? else { return Ok(()) };
        // Before the journal goes on in the new epoch: a restart needs both files then.
        keep_next(&config.folder, &next.epoch, &next.settings)
            .map_err(|source| ServerError::Io { what: "writing the new edition", source })?;
        drop(server);
        events(ServerEvent::Edition(next.epoch.consortium().epoch_number()));
        config = ServerConfig { epoch: next.epoch, settings: *next.settings, ..config };
    }
}

/// What ends within a month.
fn ending_soon(config: &ServerConfig) -> Vec<String> {
    let until = config.epoch.consortium().until();
    cloister_identity::ending_soon(config.identity.validity(), until, SystemTime::now())
}

/// The certificates of the parties of the edition in force.
fn roster(config: &ServerConfig) -> Result<Roster, ServerError> {
    let parties = config.epoch.consortium().parties();
    let roster = Roster::new(parties.map(|party| (Fingerprint(party.certificate.0), party.id)))?;
    Ok(roster.with_edition(config.epoch.consortium().epoch_number()))
}

impl<'a> Server<'a> {
    /// Restores the coordinator from the journal in the folder, or starts a new one if there is none.
    fn start(
        config: &'a ServerConfig,
        links: Links,
        events: &'a mut (dyn FnMut(ServerEvent) + Send),
    ) -> Result<Self, ServerError> {
        let before = config.epoch.consortium().start().map(|start| Digest(start.epoch.0));
        let (journal, content) = RoundJournal::open(&config.folder, config.epoch.digest(), before)?;
        let (key, epoch) = (config.signing_key.clone(), config.epoch.clone());
        let new = |model| Coordinator::new(key.clone(), epoch.clone(), model);
        let mut settings = config.settings.clone();
        let (coordinator, closed_rounds, torn) = match content {
            None => {
                check_start_model(&epoch, &config.model)?;
                (new(config.model.clone()), 0, None)
            }
            Some(content) if content.beginning.epoch != epoch.digest() => {
                let (model, closed_rounds) = continue_from(&content, config)?;
                (new(model), closed_rounds, None)
            }
            Some(JournalContent { beginning, inputs, torn, .. }) => {
                // A round in progress has the settings with which it began, whatever files say now.
                settings = planned_settings(&inputs).unwrap_or(settings);
                let restored = Coordinator::restore(key.clone(), epoch.clone(), beginning.start, inputs);
                let coordinator = restored.map_err(|why| ServerError::Resume {
                    folder: config.folder.clone(),
                    why: Box::new(why),
                })?;
                (coordinator, beginning.closed_rounds, Some(torn))
            }
        };
        let has_rounds = closed_rounds > 0 || coordinator.is_busy();
        let (clock, folder) = (SystemTime::now(), &config.folder);
        let public_log = PublicLog::open(folder, &epoch, &key, coordinator.next_round(), clock)?;
        let now = UtcTime::from_time(clock);
        let mut server = Self {
            config,
            coordinator,
            journal,
            allowance: Allowance::new(&config.settings),
            arrivals: Arrivals::default(),
            links,
            lost: BTreeSet::new(),
            served_until: Instant::now(),
            started: Instant::now(),
            closed_rounds,
            runs: RunQueue::open(&config.folder, config.num_rounds, has_rounds, now)?,
            public_log,
            settings,
            checked_run: None,
            aborted_in_a_row: 0,
            pace: Pace::default(),
            refusals: BTreeMap::new(),
            pulls: Pulls::new(config.folder.clone(), EACH_WITHIN),
            events,
        };
        server.keep_present_model();
        match torn {
            None => server.begin_journal()?,
            Some(torn) => server.resume(torn)?,
        }
        Ok(server)
    }

    /// Carries out the outputs that the earlier run may not have carried out, and gives each party that was
    /// connected the time to reconnect.
    fn resume(&mut self, torn: usize) -> Result<(), ServerError> {
        self.carry_out()?;
        let (closed_rounds, in_round) = (self.closed_rounds, self.coordinator.is_busy());
        (self.events)(ServerEvent::Resumed { closed_rounds, in_round, torn });
        self.note_step(RoundStep::Restarted);
        self.handle_input(Input::Restarted)?;
        let grace = self.config.time_to_return();
        for party in self.coordinator.connected().clone() {
            self.links.start_grace(party, NO_LINK, grace);
        }
        self.carry_out()
    }
}

impl Server<'_> {
    /// Serves the parties until the program ends, or until the next edition begins, which is the result.
    async fn serve(
        &mut self,
        entrance: &mut Entrance,
        reports: &mut mpsc::Receiver<LinkReport>,
        control: &mut mpsc::Receiver<ControlRequest>,
    ) -> Result<Option<NextEdition>, ServerError> {
        let Entrance { listener, visits, models } = entrance;
        let mut stop = self.config.stop.clone();
        loop {
            let wake = match self.next_task()? {
                NextTask::Serve { until } => until,
                NextTask::StartRound => {
                    self.start_round()?;
                    continue;
                }
                NextTask::Finish => {
                    return tokio::select! {
                        finished = self.finish(listener, reports) => finished.map(|()| None),
                        // Whoever waits for parties that are late need not.
                        () = stop.requested() => Ok(None),
                    };
                }
            };
            tokio::select! {
                step = self.step(listener, reports, wake) => step?,
                // A round in progress continues after the next start.
                () = stop.requested() => {
                    self.stop().await;
                    return Ok(None);
                }
                Some(visit) = visits.recv() => self.answer_visit(visit),
                Some(link) = models.recv() => self.serve_pull(link),
                Some(request) = control.recv() => {
                    if let Some(next) = self.answer(request) {
                        self.close_for_edition().await;
                        return Ok(Some(next));
                    }
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Gives the coordinator an input, and appends it to the journal if the coordinator accepts it.
    fn handle_input(&mut self, input: Input) -> Result<(), ServerError> {
        let now = self.now();
        // One reading of the clock: a restored coordinator must be given the very time that this one had.
        let (from, record) = (sender(&input), input.encode(now));
        if matches!(input, Input::Frame(..))
            && let Err(exceeded) = self.allowance.take(from, record.len())
        {
            self.links.cut(from, &exceeded.to_string());
            return Ok(());
        }
        let is_kept = input.is_kept();
        match self.coordinator.handle(input, now) {
            // After it was handled, because rejected inputs are not stored. No output has left yet.
            Ok(()) if is_kept => self.journal.append(&record)?,
            Ok(()) => {}
            Err(fault @ Fault::Unexpected { .. }) => {
                (self.events)(ServerEvent::Unexpected(from, fault.to_string()));
            }
            Err(fault) => (self.events)(ServerEvent::Fault(from, fault.to_string())),
        }
        Ok(())
    }

    /// Waits for one event (a new link, a report of a link, a deadline, or the given time), and carries out what
    /// follows from it.
    async fn step(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
        wake: Option<Instant>,
    ) -> Result<(), ServerError> {
        let deadline = self.coordinator.deadline().map(|Time(at)| self.started + Duration::from_millis(at));
        let until = tokio::time::Instant::from_std(deadline.unwrap_or(self.started));
        tokio::select! {
            link = listener.accept() => match link {
                Ok(link) => self.add_link(link)?,
                Err(AcceptError::Stopped) => {
                    let source = io::Error::other("the listener stopped");
                    return Err(ServerError::Io { what: "listening", source });
                }
                Err(refused) => (self.events)(ServerEvent::PeerRefused(refused)),
            },
            Some(report) = reports.recv() => self.handle_report(report)?,
            () = tokio::time::sleep_until(until), if deadline.is_some() => self.handle_input(Input::Time)?,
            () = sleep_until(wake), if wake.is_some() => {}
        }
        self.carry_out()
    }

    /// Adds a party's new link, unless the party has no allowance left or opens links too often (`ROUND-32`).
    fn add_link(&mut self, link: Link) -> Result<(), ServerError> {
        let (party, carrier) = (link.peer(), link.carrier());
        let admitted = self.arrivals.admit(party, Instant::now()).map_err(|too_often| too_often.to_string());
        let admitted = admitted
            .and_then(|()| self.allowance.take(party, NEW_LINK).map_err(|exceeded| exceeded.to_string()));
        if let Err(reason) = admitted {
            link.handle().abort(&reason);
            (self.events)(ServerEvent::Fault(party, reason));
            return Ok(());
        }
        self.links.add(link);
        self.lost.remove(&party);
        self.pace.retry_now();
        self.served_until = Instant::now() + ASK_WITHIN;
        (self.events)(ServerEvent::Connected(party, carrier));
        // Before anything of a round: a party with an earlier edition would reject it.
        if let Some(frame) = edition_frame(&self.config.epoch) {
            self.links.send(party, &frame);
        }
        self.handle_input(Input::Connected(party))
    }

    fn handle_report(&mut self, report: LinkReport) -> Result<(), ServerError> {
        match report {
            LinkReport::Frame(party, frame) => self.handle_input(Input::Frame(party, frame))?,
            LinkReport::Ended(party, number, reason) if self.links.is_latest(party, number) => {
                let reason = self.links.reason_for_cutting(party).map_or(reason, str::to_owned);
                (self.events)(ServerEvent::Disconnected(party, reason));
                self.lost.insert(party);
                self.links.start_grace(party, number, self.config.reconnect_within);
            }
            LinkReport::GraceOver(party, number) if self.links.is_latest(party, number) => {
                self.handle_input(Input::Disconnected(party))?;
            }
            // The party has a newer link.
            LinkReport::Ended(..) | LinkReport::GraceOver(..) => {}
        }
        Ok(())
    }

    /// Carries out the coordinator's outputs, after the inputs from which they follow are on disk
    /// (`ROUND-27`).
    fn carry_out(&mut self) -> Result<(), ServerError> {
        while let Some(output) = self.coordinator.poll_output() {
            self.journal.sync()?;
            match output {
                CoordinatorOutput::Send { to, frame } => self.links.send(to, &frame),
                CoordinatorOutput::SendModel { to, model, missing } => {
                    self.links.send_model(to, &model, missing);
                }
                CoordinatorOutput::Event(Event::QuorumLost(why)) => self.handle_lost_quorum(why)?,
                CoordinatorOutput::Event(Event::Outdated { custodians, round }) => {
                    let folder = self.config.folder.clone();
                    return Err(ServerError::Outdated { folder, custodians, round });
                }
                CoordinatorOutput::Event(Event::Refused(PartyId::COORDINATOR, why)) => {
                    return Err(ServerError::InvalidPlan(why));
                }
                CoordinatorOutput::Event(event) => {
                    if let Event::Refused(party, why) = &event {
                        self.refusals.insert(*party, why.clone());
                    }
                    self.note_event(&event);
                    (self.events)(ServerEvent::Round(event));
                }
                CoordinatorOutput::Erase(erasure) => self.journal.erase(&erasure)?,
                CoordinatorOutput::Ended(report) => self.finish_round(report)?,
            }
        }
        Ok(())
    }
}

/// The settings of the round that a journal's inputs have begun.
fn planned_settings(inputs: &[(Input, Time)]) -> Option<RoundSettings> {
    inputs.iter().find_map(|(input, _)| match input {
        Input::StartRound(settings) => Some((**settings).clone()),
        _ => None,
    })
}

/// Sleeps until a time; for ever without one, which no caller awaits.
async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// The party of an input, for messages; the coordinator's for its own inputs.
fn sender(input: &Input) -> PartyId {
    match input {
        Input::Connected(party)
        | Input::Disconnected(party)
        | Input::Frame(party, _)
        | Input::Erased(party, ..) => *party,
        Input::StartRound(_) | Input::Time | Input::Restarted => PartyId::COORDINATOR,
    }
}

#[cfg(test)]
mod tests;
