//! Which run the next round belongs to (`RUN-01` to `RUN-03`).

use std::io;
use std::time::{Duration, Instant, SystemTime};

use cloister_params::id::Digest;
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;

use super::Server;
use crate::config::ServerEvent;
use crate::error::ServerError;
use crate::history::read_history;
use crate::runs::{BestEvaluation, Due, NewRun, Run, RunEnd, RunState};

/// What comes of asking for the run of the next round.
pub(super) enum Turn {
    /// The run in progress has the next round, and its settings are the server's.
    Present,
    /// A run has ended just now. Another one may be due.
    Ended,
    /// No run is due before this time has passed.
    Wait(Duration),
}

impl Server<'_> {
    /// Ends the run in progress if no further round of it starts. No round is in progress.
    pub(super) fn end_run_that_is_over(&mut self) -> Result<(), ServerError> {
        let Some(run) = self.runs.present().cloned() else { return Ok(()) };
        let is_cancelled = matches!(run.state, RunState::InProgress { cancelled: true, .. });
        // Finished first: a run whose last round closed after it was cancelled has lost nothing.
        let how = match (run.remaining(self.closed_rounds), is_cancelled) {
            (0, _) => RunEnd::Finished,
            (_, true) => RunEnd::Cancelled,
            (_, false) => match self.early_end(&run) {
                Some(how) => how,
                None => return Ok(()),
            },
        };
        self.end_run(run.number, how)
    }

    /// How a run ends because its model has stopped getting better (`RUN-05`).
    fn early_end(&mut self, run: &Run) -> Option<RunEnd> {
        // Asked at each turn of the loop, and only a round with sums brings another evaluation.
        let asked_for = (run.number, self.closed_rounds);
        if self.pace.asked_for_early_end.replace(asked_for) == Some(asked_for) {
            return None;
        }
        match self.best_of(run) {
            Ok(best) => best.filter(|(_, ends)| *ends).map(|(best, _)| RunEnd::StoppedEarly { best }),
            Err(error) => {
                // The rounds follow from the journal alone, so they go on.
                let why = format!("whether run {} ends early cannot be seen: {error}", run.number);
                (self.events)(ServerEvent::Warning(why));
                None
            }
        }
    }

    /// The best evaluation of a run that may end early, and whether it is to end.
    fn best_of(&self, run: &Run) -> io::Result<Option<(BestEvaluation, bool)>> {
        let Some(early_stop) = run.early_stop else { return Ok(None) };
        let mut rounds = read_history(&self.config.folder, usize::MAX)?;
        rounds.retain(|record| record.run() == Some(run.number));
        Ok(early_stop.best(&rounds))
    }

    /// The models that runs found best: that of the run in progress, and that of the last one that ended early.
    ///
    /// # Errors
    /// The evaluations cannot be read.
    pub(super) fn best_models(&self) -> io::Result<Vec<Digest>> {
        let present = self.runs.present().map(|run| self.best_of(run)).transpose()?.flatten();
        let ended = self.runs.runs().iter().rev().find_map(|run| match run.state {
            RunState::Ended { how: RunEnd::StoppedEarly { best }, .. } => Some(best),
            _ => None,
        });
        Ok(present.map(|(best, _)| best).into_iter().chain(ended).map(|best| best.model).collect())
    }

    /// Finds the run of the next round, and its settings. No round is in progress, and some run has rounds left.
    pub(super) fn take_turn(&mut self) -> Result<Turn, ServerError> {
        let now = UtcTime::from_time(SystemTime::now());
        if self.runs.present().is_none() {
            match self.runs.due(now) {
                Due::Now(number) => self.begin_run(number, now)?,
                Due::At(number, time) => {
                    if self.pace.reported_run.replace(number) != Some(number) {
                        (self.events)(ServerEvent::RunWaits { number, not_before: time });
                    }
                    return Ok(Turn::Wait(wait_until(time)));
                }
                // Nothing is left of any run, which the caller has excluded.
                Due::Never => return Ok(Turn::Ended),
            }
        }
        let Some(run) = self.runs.present().cloned() else { return Ok(Turn::Ended) };
        if self.checked_run == Some(run.number) {
            return Ok(Turn::Present);
        }
        match self.settings_for(&run) {
            Ok(settings) => {
                self.settings = settings;
                self.checked_run = Some(run.number);
                Ok(Turn::Present)
            }
            // RUN-03
            Err(why) => {
                self.end_run(run.number, RunEnd::Unfit { why })?;
                Ok(Turn::Ended)
            }
        }
    }

    /// Adds a run, if its settings fit the consortium and the model that are in force now (`RUN-02`).
    pub(super) fn queue_run(&mut self, mut run: NewRun) -> Result<(), String> {
        let queued_settings = run.settings.as_ref().map(|text| RoundSettings::parse(text));
        let queued_settings = queued_settings.transpose().map_err(|error| error.to_string())?;
        queued_settings.as_ref().map_or(Ok(()), |settings| self.check_settings(settings))?;
        let settings = queued_settings.as_ref().unwrap_or(&self.config.settings);
        // The settings may ask for a rehearsal, too.
        run.rehearsal |= settings.rehearsal;
        if run.early_stop.is_some() && !settings.has_evaluation() {
            return Err("rounds with these settings do not evaluate the model, so that no run of them ends early; make the \
                        task with `cloister task new --held-out-records`"
                .to_owned());
        }
        let added = self.runs.add(run)?;
        self.pace.forget_end();
        (self.events)(ServerEvent::RunQueued(added));
        Ok(())
    }

    /// Starts no further round of a run.
    pub(super) fn cancel_run(&mut self, number: u32) -> Result<(), String> {
        let run = self.runs.runs().iter().find(|run| run.number == number);
        let run = run.ok_or_else(|| format!("there is no run {number}; `cloister run queue` lists them"))?;
        let cancelled = match run.state {
            RunState::Waiting => self.end_run(number, RunEnd::Cancelled),
            RunState::InProgress { .. } => {
                self.runs.cancel_present().map_err(ServerError::from).and_then(|()| {
                    match self.coordinator.is_busy() {
                        true => Ok(()),
                        false => self.end_run_that_is_over(),
                    }
                })
            }
            RunState::Ended { .. } => return Err(format!("run {number} has ended already")),
        };
        cancelled.map_err(|error| error.to_string())?;
        self.pace.forget_end();
        Ok(())
    }

    fn begin_run(&mut self, number: u32, now: UtcTime) -> Result<(), ServerError> {
        let run = self.runs.begin(number, self.closed_rounds, now)?;
        self.pace.run_since = Some(Instant::now());
        self.pace.reported_run = None;
        (self.events)(ServerEvent::RunBegun(run));
        Ok(())
    }

    fn end_run(&mut self, number: u32, how: RunEnd) -> Result<(), ServerError> {
        let now = UtcTime::from_time(SystemTime::now());
        let run = self.runs.end(number, how, self.closed_rounds, now)?;
        (self.events)(ServerEvent::RunEnded(run));
        Ok(())
    }

    /// The settings of a run's rounds: its file's, or those of the edition in force.
    fn settings_for(&self, run: &Run) -> Result<RoundSettings, String> {
        let mut settings = match self.runs.settings(run)? {
            Some(settings) => self.check_settings(&settings).map(|()| settings)?,
            None => self.config.settings.clone(),
        };
        settings.rehearsal |= run.rehearsal;
        Ok(settings)
    }

    /// Whether rounds with these settings can be planned under the edition in force and for its model. Members and custodians
    /// decide by their policies as ever.
    fn check_settings(&self, settings: &RoundSettings) -> Result<(), String> {
        let fits = settings.check(self.config.epoch.consortium());
        fits.map_err(|error| format!("the round settings do not fit the consortium in force: {error}"))?;
        let fits = self.coordinator.model().check(&settings.blocks);
        fits.map_err(|error| format!("the round settings do not fit the model in force: {error}"))
    }
}

/// How long it is until a time.
fn wait_until(time: UtcTime) -> Duration {
    time.to_time().duration_since(SystemTime::now()).unwrap_or_default()
}
