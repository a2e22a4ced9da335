//! Where rounds begin and end: their journal, files, ledgers and times.

use std::path::PathBuf;
use std::time::SystemTime;

use cloister_identity::keep_epoch_start;
use cloister_params::id::Round;
use cloister_params::time::UtcTime;
use cloister_protocol::coordinator::{Event, Input, RoundReport};

use super::Server;
use crate::config::ServerEvent;
use crate::edition::epoch_start;
use crate::error::ServerError;
use crate::files::{erase_old_sums, round_path, write_round};
use crate::journal::Beginning;
use crate::ledgers::record;
use crate::times::{RoundCounts, RoundStep, TIMES, read_steps, write_step};

impl Server<'_> {
    /// Starts the next round, which belongs to the run in progress.
    pub(super) fn start_round(&mut self) -> Result<(), ServerError> {
        let (settings, now) = (Box::new(self.settings.clone()), self.now());
        let input = Input::StartRound(settings);
        let record = input.encode(now);
        self.coordinator.handle(input, now).map_err(|fault| ServerError::InvalidPlan(fault.to_string()))?;
        self.journal.append(&record)?;
        let run = self.runs.present().map(|run| run.number);
        self.note_step(RoundStep::Begun { run });
        self.carry_out()
    }

    /// Starts the journal of the next round. Every party has its whole allowance again.
    pub(super) fn begin_journal(&mut self) -> Result<(), ServerError> {
        let (closed_rounds, start) = (self.closed_rounds, self.coordinator.checkpoint());
        let next = epoch_start(self.config.epoch.digest(), &start);
        keep_epoch_start(&self.config.folder, &next, start.last_ending.as_ref())
            .map_err(|source| ServerError::Io { what: "writing epoch-start.toml", source })?;
        let beginning = Beginning { epoch: self.config.epoch.digest(), closed_rounds, start };
        let now = self.now();
        self.allowance.renew();
        let present = self.coordinator.connected().iter().map(|party| Input::Connected(*party).encode(now));
        Ok(self.journal.begin(&beginning, present)?)
    }

    /// Writes a round's files and ledgers, and starts the next journal. In this order: the journal is what a
    /// restart continues from, so that it must not pass the round before the files are on disk.
    pub(super) fn finish_round(&mut self, report: Box<RoundReport>) -> Result<(), ServerError> {
        write_round(&self.config.folder, self.config.epoch.consortium().epoch_number(), &report)
            .and_then(|()| match self.config.keep_sums {
                Some(most) => erase_old_sums(&self.config.folder, most.get()),
                None => Ok(()),
            })
            .map_err(|source| ServerError::Io { what: "writing the round's files", source })?;
        let clock = SystemTime::now();
        self.public_log.append_round(&report, clock)?;
        let now = UtcTime::from_time(clock);
        record(&self.config.folder, self.config.epoch.consortium().name(), &report, now)?;
        // Before the journal passes the round: otherwise a stop in between would leave it without an end.
        self.note_step_of(report.round, RoundStep::Ended(RoundCounts::new(&report)));
        // Behind the round's evaluation, which may protect the model before it.
        self.keep_present_model();
        if report.sums.is_empty() {
            self.aborted_in_a_row += 1;
        } else {
            self.closed_rounds += 1;
            self.aborted_in_a_row = 0;
            self.refusals.clear();
        }
        self.begin_journal()?;
        (self.events)(ServerEvent::Ended(report));
        self.pace_after_round()
    }

    /// Notes when an event of the round in progress happened, if it is one of the round's steps (`LOG-02`).
    pub(super) fn note_event(&mut self, event: &Event) {
        match event {
            Event::Planned(_) => self.note_step(RoundStep::Planned),
            Event::Announced(party) => self.note_step(RoundStep::Announced { party: *party }),
            Event::Sealed => self.note_step(RoundStep::Sealed),
            Event::Uploaded(party) => self.note_step(RoundStep::Uploaded { party: *party }),
            _ => {}
        }
    }

    /// Notes when a step of the round in progress happened. Between rounds nothing is noted.
    pub(super) fn note_step(&mut self, step: RoundStep) {
        if let Some((round, _)) = self.coordinator.progress() {
            self.note_step_of(round, step);
        }
    }

    fn note_step_of(&mut self, round: Round, step: RoundStep) {
        if let Err(error) = write_step(&self.times_path(round), UtcTime::from_time(SystemTime::now()), step) {
            // The rounds follow from the journal alone, so they go on.
            let reason = format!(
                "the time of a step of {round} cannot be written, so that its history lacks it: {error}"
            );
            (self.events)(ServerEvent::Warning(reason));
        }
    }

    /// When a round began; none if that cannot be read.
    pub(super) fn begun(&self, round: Round) -> Option<UtcTime> {
        let steps = read_steps(&self.times_path(round)).ok()?;
        steps.iter().find(|step| matches!(step.step, RoundStep::Begun { .. })).map(|step| step.time)
    }

    fn times_path(&self, round: Round) -> PathBuf {
        round_path(&self.config.folder, self.config.epoch.consortium().epoch_number(), round, TIMES)
    }
}
