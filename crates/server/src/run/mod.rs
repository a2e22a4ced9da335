//! The coordinator's loop.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Event, Input, RoundReport, Time};
use cloister_protocol::fault::Fault;
use cloister_transport::{AcceptError, Fingerprint, Link, Listener, Roster};
use tokio::sync::mpsc;

use crate::allowance::{Allowance, NEW_LINK};
use crate::config::{ServerConfig, ServerEvent};
use crate::error::{Refusals, ServerError};
use crate::files::write_round;
use crate::journal::{Beginning, RoundJournal};
use crate::ledgers::record;
use crate::links::{LinkReport, Links, NEVER};
use crate::outbox::most_waiting;

/// How long a party may take, once it is there after the last round, to ask for the model.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Aborted rounds in a row after which the coordinator gives up.
const GIVE_UP_AFTER: u64 = 3;

struct Server<'a> {
    config: &'a ServerConfig,
    coordinator: Coordinator,
    journal: RoundJournal,
    allowance: Allowance,
    links: Links,
    /// Parties whose link is gone and that are waited for.
    lost: BTreeSet<PartyId>,
    /// Until when a party that came after the last round may ask for the model.
    served_until: Instant,
    started: Instant,
    closed_rounds: u64,
    aborted_in_a_row: u64,
    /// Who took no part since the last sum, and why.
    refusals: BTreeMap<PartyId, String>,
    events: &'a mut (dyn FnMut(ServerEvent) + Send),
}

/// Runs the coordinator to its last round, from where an earlier run left off.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(
    config: ServerConfig,
    events: &mut (dyn FnMut(ServerEvent) + Send),
) -> Result<(), ServerError> {
    let parties = config.epoch.consortium().parties();
    let roster = Roster::new(parties.map(|party| (Fingerprint(party.certificate.0), party.id)))?;
    let members = config.epoch.consortium().members().count();
    let (links, mut reports) = Links::new(most_waiting(&config.settings, members));
    let mut server = Server::start(&config, links, events)?;
    let mut listener = Listener::bind(config.listen, &config.identity, roster, &config.transport)?;
    let address =
        listener.local_address().map_err(|source| ServerError::Io { what: "the socket", source })?;
    (server.events)(ServerEvent::Listening(address));
    if !server.coordinator.is_busy() && server.closed_rounds < config.num_rounds {
        server.wait_for_members(&mut listener, &mut reports).await?;
    }
    while server.coordinator.is_busy() || server.closed_rounds < config.num_rounds {
        if !server.coordinator.is_busy() {
            server.start_round()?;
        }
        server.step(&mut listener, &mut reports).await?;
    }
    server.serve_the_last_model(&mut listener, &mut reports).await?;
    if !server.take_leave().await? {
        // Who comes back and does not acknowledge then either is not waited for again: nobody can keep the program from ending.
        server.serve_the_last_model(&mut listener, &mut reports).await?;
        server.take_leave().await?;
    }
    Ok(())
}

impl<'a> Server<'a> {
    /// Takes up what the journal has, or begins with nothing.
    fn start(
        config: &'a ServerConfig,
        links: Links,
        events: &'a mut (dyn FnMut(ServerEvent) + Send),
    ) -> Result<Self, ServerError> {
        let (journal, kept) = RoundJournal::open(&config.folder, config.epoch.digest())?;
        let (key, epoch) = (config.signing_key.clone(), config.epoch.clone());
        let server = |coordinator, closed_rounds| Self {
            config,
            coordinator,
            journal,
            allowance: Allowance::new(&config.settings),
            links,
            lost: BTreeSet::new(),
            served_until: Instant::now(),
            started: Instant::now(),
            closed_rounds,
            aborted_in_a_row: 0,
            refusals: BTreeMap::new(),
            events,
        };
        let Some(kept) = kept else {
            let mut server = server(Coordinator::new(key, epoch, config.model.clone()), 0);
            server.begin_journal()?;
            return Ok(server);
        };
        let coordinator = Coordinator::restore(key, epoch, kept.beginning.start, kept.inputs)
            .map_err(|why| ServerError::Resume { folder: config.folder.clone(), why: Box::new(why) })?;
        let mut server = server(coordinator, kept.beginning.closed_rounds);
        server.resume(kept.torn)?;
        Ok(server)
    }

    /// Carries out what the earlier run may not have, and waits for the parties as for any that lost their links.
    fn resume(&mut self, torn: usize) -> Result<(), ServerError> {
        self.carry_out()?;
        let (closed_rounds, in_round) = (self.closed_rounds, self.coordinator.is_busy());
        (self.events)(ServerEvent::Resumed { closed_rounds, in_round, torn });
        self.tell(Input::Restarted)?;
        // Before a party tries again it must notice that its link is gone.
        let grace = self.config.transport.idle_timeout + self.config.reconnect_within;
        for party in self.coordinator.connected().clone() {
            self.links.start_grace(party, NEVER, grace);
        }
        self.carry_out()
    }
}

impl Server<'_> {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn wait_for_members(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
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

    /// Stays after the last round for whoever missed how it ended (`ROUND-23`): until parties that lost their links are back
    /// or given up, and those that came back had the time to ask for the model.
    async fn serve_the_last_model(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
    ) -> Result<(), ServerError> {
        while self.is_awaiting_someone() || Instant::now() < self.served_until {
            let step = self.step(listener, reports);
            if let Ok(result) = tokio::time::timeout(ASK_WITHIN, step).await {
                result?;
            }
        }
        Ok(())
    }

    /// Closes all links; whether every party has heard how the last round ended. One that was killed just before has not, and
    /// nothing but its silence tells: it is waited for like any that lost its link.
    async fn take_leave(&mut self) -> Result<bool, ServerError> {
        let (heard, unheard) = self.links.close().await;
        for party in heard {
            self.tell(Input::Disconnected(party))?;
        }
        let missed: Vec<PartyId> = self.coordinator.connected().intersection(&unheard).copied().collect();
        for party in &missed {
            (self.events)(ServerEvent::Disconnected(*party, "it did not hear the end".to_owned()));
            self.lost.insert(*party);
            self.links.start_grace(*party, NEVER, self.config.reconnect_within);
        }
        self.carry_out()?;
        Ok(missed.is_empty())
    }

    /// Whether a party that lost its link, or was there before a restart, may still come back.
    fn is_awaiting_someone(&self) -> bool {
        let is_gone = |party: &&PartyId| self.lost.contains(party) || !self.links.has_linked(**party);
        self.coordinator.connected().iter().any(|party| is_gone(&party))
    }

    fn start_round(&mut self) -> Result<(), ServerError> {
        let (settings, now) = (Box::new(self.config.settings.clone()), self.now());
        let input = Input::StartRound(settings);
        let record = input.encode(now);
        self.coordinator.handle(input, now).map_err(|fault| ServerError::InvalidPlan(fault.to_string()))?;
        self.journal.append(&record)?;
        self.carry_out()
    }

    fn begin_journal(&mut self) -> Result<(), ServerError> {
        let (closed_rounds, start) = (self.closed_rounds, self.coordinator.checkpoint());
        let beginning = Beginning { epoch: self.config.epoch.digest(), closed_rounds, start };
        let now = self.now();
        self.allowance.renew();
        let present = self.coordinator.connected().iter().map(|party| Input::Connected(*party).encode(now));
        Ok(self.journal.begin(&beginning, present)?)
    }

    /// Gives the coordinator an input, and keeps it if it is taken.
    fn tell(&mut self, input: Input) -> Result<(), ServerError> {
        let now = self.now();
        let (from, record) = (sender(&input), input.encode(now));
        if matches!(input, Input::Frame(..))
            && let Err(exceeded) = self.allowance.take(from, record.len())
        {
            self.links.cut(from, &exceeded.to_string());
            return Ok(());
        }
        let is_kept = input.is_kept();
        match self.coordinator.handle(input, now) {
            Ok(()) if is_kept => self.journal.append(&record)?,
            Ok(()) => {}
            Err(fault @ Fault::Unexpected { .. }) => {
                (self.events)(ServerEvent::NotAwaited(from, fault.to_string()));
            }
            Err(fault) => (self.events)(ServerEvent::Fault(from, fault.to_string())),
        }
        Ok(())
    }

    /// Waits for one thing to happen and carries out what follows.
    async fn step(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
    ) -> Result<(), ServerError> {
        let deadline = self.coordinator.deadline().map(|Time(at)| self.started + Duration::from_millis(at));
        let until = tokio::time::Instant::from_std(deadline.unwrap_or(self.started));
        tokio::select! {
            link = listener.accept() => match link {
                Ok(link) => self.take_in(link)?,
                Err(AcceptError::Stopped) => {
                    let source = io::Error::other("the listener stopped");
                    return Err(ServerError::Io { what: "listening", source });
                }
                Err(refused) => (self.events)(ServerEvent::PeerRefused(refused)),
            },
            Some(report) = reports.recv() => self.handle_report(report)?,
            () = tokio::time::sleep_until(until), if deadline.is_some() => self.tell(Input::Time)?,
        }
        self.carry_out()
    }

    /// Takes a party's new link into use, unless the party has no allowance left (`ROUND-32`).
    fn take_in(&mut self, link: Link) -> Result<(), ServerError> {
        let party = link.peer();
        if let Err(exceeded) = self.allowance.take(party, NEW_LINK) {
            link.handle().abort(&exceeded.to_string());
            (self.events)(ServerEvent::Fault(party, exceeded.to_string()));
            return Ok(());
        }
        self.links.add(link);
        self.lost.remove(&party);
        self.served_until = Instant::now() + ASK_WITHIN;
        (self.events)(ServerEvent::Connected(party));
        self.tell(Input::Connected(party))
    }

    fn handle_report(&mut self, report: LinkReport) -> Result<(), ServerError> {
        match report {
            LinkReport::Frame(party, frame) => self.tell(Input::Frame(party, frame))?,
            LinkReport::Ended(party, number, reason) if self.links.is_present(party, number) => {
                let reason = self.links.reason_for_cutting(party).map_or(reason, str::to_owned);
                (self.events)(ServerEvent::Disconnected(party, reason));
                self.lost.insert(party);
                self.links.start_grace(party, number, self.config.reconnect_within);
            }
            LinkReport::GraceOver(party, number) if self.links.is_present(party, number) => {
                self.tell(Input::Disconnected(party))?;
            }
            LinkReport::Ended(..) | LinkReport::GraceOver(..) => {}
        }
        Ok(())
    }

    /// Carries out what follows from the inputs so far, once they are on disk (`ROUND-27`).
    fn carry_out(&mut self) -> Result<(), ServerError> {
        while let Some(output) = self.coordinator.poll_output() {
            self.journal.sync()?;
            match output {
                CoordinatorOutput::Send { to, frame } => self.links.send(to, &frame),
                CoordinatorOutput::SendModel { to, model } => self.links.send_model(to, &model),
                CoordinatorOutput::Event(Event::QuorumLost(why)) => return Err(self.quorum_lost(why)),
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
                    (self.events)(ServerEvent::Round(event));
                }
                CoordinatorOutput::Erase(erasure) => self.journal.erase(&erasure)?,
                CoordinatorOutput::Ended(report) => self.finish_round(report)?,
            }
        }
        Ok(())
    }

    fn finish_round(&mut self, report: Box<RoundReport>) -> Result<(), ServerError> {
        write_round(&self.config.folder, &report)
            .map_err(|source| ServerError::Io { what: "writing the round's files", source })?;
        record(&self.config.folder, self.config.epoch.consortium().name(), &report)?;
        if report.opened.is_empty() {
            self.aborted_in_a_row += 1;
        } else {
            self.closed_rounds += 1;
            self.aborted_in_a_row = 0;
            self.refusals.clear();
        }
        self.begin_journal()?;
        (self.events)(ServerEvent::Ended(report));
        if self.aborted_in_a_row >= GIVE_UP_AFTER {
            return Err(self.nothing_summed());
        }
        Ok(())
    }
}

impl Server<'_> {
    /// Why the round cannot go on: whoever refused it comes first.
    fn quorum_lost(&self, why: &'static str) -> ServerError {
        match Refusals::new(&self.refusals) {
            Some(refusals) => ServerError::RefusedWithoutQuorum { why, refusals },
            None => ServerError::QuorumLost(why),
        }
    }

    fn nothing_summed(&self) -> ServerError {
        let rounds = self.aborted_in_a_row;
        match Refusals::new(&self.refusals) {
            Some(refusals) => ServerError::Refused { rounds, refusals },
            None => ServerError::NothingSummed(rounds),
        }
    }
}

/// Whose input it is, for messages.
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
