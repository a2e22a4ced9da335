//! Which run's turn it is.

use std::path::{Path, PathBuf};

use cloister_params::consortium::PublicBytes;
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;

use super::file::{self, QueueError, RunList};
use super::{MAX_NAME, NewRun, Run, RunEnd, RunState};

/// How many runs may wait, so that their settings do not fill the disk.
const MOST_WAITING: usize = 32;
/// How many runs that have ended are kept for the operator.
const MOST_ENDED: usize = 100;

/// When the next run begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// The run with this number, now.
    Now(u32),
    /// The run with this number, at this time.
    At(u32, UtcTime),
    /// No run waits.
    Never,
}

/// All runs of a coordinator's folder, in the order of their numbers. Every change is on disk before it counts (`RUN-01`).
#[derive(Debug)]
pub(crate) struct RunQueue {
    folder: PathBuf,
    list: RunList,
}

impl RunQueue {
    /// Reads the queue of a folder. The first run is the configuration's, with so many rounds. If the configuration asks for
    /// more than before, that run becomes longer, or another one has the difference if it has ended (`RUN-04`).
    /// `has_rounds` says whether a round has begun in the folder.
    ///
    /// # Errors
    /// See [`QueueError`].
    pub(crate) fn open(
        folder: &Path,
        configured: u64,
        has_rounds: bool,
        now: UtcTime,
    ) -> Result<Self, QueueError> {
        let found = file::read(folder)?;
        let is_new = found.is_none();
        let mut queue = Self { folder: folder.to_owned(), list: found.unwrap_or_else(RunList::new) };
        let mut next = queue.list.clone();
        if is_new {
            let first = push(&mut next, NewRun { rounds: configured, ..NewRun::default() }, None);
            // The list is gone, or an earlier version of the program had none. The rounds so far count as this run's.
            if has_rounds {
                first.state = RunState::InProgress { begun: now, closed_before: 0, cancelled: false };
            }
        } else if let Some(first) =
            next.runs.iter_mut().find(|run| run.number == 1 && (run.is_waiting() || run.is_in_progress()))
        {
            first.rounds = configured;
        } else if let Some(more) = configured.checked_sub(next.configured).filter(|more| *more > 0) {
            push(&mut next, NewRun { rounds: more, ..NewRun::default() }, None);
        } else {
            return Ok(queue);
        }
        next.configured = configured;
        queue.store(next)?;
        Ok(queue)
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.list.runs
    }

    /// The run in progress.
    pub(crate) fn present(&self) -> Option<&Run> {
        self.list.runs.iter().find(|run| run.is_in_progress())
    }

    /// How many rounds with sums are still to come.
    pub(crate) fn remaining(&self, closed_rounds: u64) -> u64 {
        let remaining = self.list.runs.iter().map(|run| run.remaining(closed_rounds));
        remaining.fold(0, u64::saturating_add)
    }

    /// Adds a run whose settings were checked (`RUN-02`).
    ///
    /// # Errors
    /// What is wrong with it, or the system's error.
    pub(crate) fn add(&mut self, run: NewRun) -> Result<Run, String> {
        check_request(&run)?;
        if self.list.runs.iter().filter(|run| run.is_waiting()).count() >= MOST_WAITING {
            return Err(format!(
                "{MOST_WAITING} runs wait already, and no more are kept; cancel one with `cloister run cancel NUMBER`"
            ));
        }
        let number = self.list.next;
        let settings = match &run.settings {
            Some(text) => {
                // Before the list names it: a stop in between leaves a file that nobody reads.
                file::write_settings(&self.folder, number, text).map_err(|error| error.to_string())?;
                Some(file::settings_digest(text))
            }
            None => None,
        };
        let mut next = self.list.clone();
        let added = push(&mut next, run, settings).clone();
        self.store(next).map_err(|error| error.to_string())?;
        Ok(added)
    }

    /// Which waiting run is next: of those whose time has come, the one that was queued first.
    pub(crate) fn due(&self, now: UtcTime) -> Due {
        let waiting = || self.list.runs.iter().filter(|run| run.is_waiting());
        if let Some(run) = waiting().find(|run| run.not_before.is_none_or(|time| time <= now)) {
            return Due::Now(run.number);
        }
        let soonest = waiting().filter_map(|run| Some((run.not_before?, run.number))).min();
        soonest.map_or(Due::Never, |(time, number)| Due::At(number, time))
    }

    /// A waiting run begins.
    pub(crate) fn begin(&mut self, number: u32, closed_rounds: u64, now: UtcTime) -> Result<Run, QueueError> {
        let state = RunState::InProgress { begun: now, closed_before: closed_rounds, cancelled: false };
        self.change(number, state)
    }

    /// A run ends, or is cancelled before it began.
    pub(crate) fn end(
        &mut self,
        number: u32,
        how: RunEnd,
        closed_rounds: u64,
        now: UtcTime,
    ) -> Result<Run, QueueError> {
        let run = self.list.runs.iter().find(|run| run.number == number);
        let begun = run.and_then(|run| match run.state {
            RunState::InProgress { begun, .. } => Some(begun),
            _ => None,
        });
        let closed = run.map_or(0, |run| run.closed(closed_rounds));
        let ended = self.change(number, RunState::Ended { begun, ended: now, closed, how })?;
        file::remove_settings(&self.folder, number);
        Ok(ended)
    }

    /// Notes that the round in progress is its run's last.
    pub(crate) fn cancel_present(&mut self) -> Result<(), QueueError> {
        let mut next = self.list.clone();
        for run in &mut next.runs {
            if let RunState::InProgress { cancelled, .. } = &mut run.state {
                *cancelled = true;
            }
        }
        self.store(next)
    }

    /// A run's own round settings, or why they cannot be had as they were queued; none if it has none.
    pub(crate) fn settings(&self, run: &Run) -> Result<Option<RoundSettings>, String> {
        let Some(digest) = run.settings else { return Ok(None) };
        let text = file::read_settings(&self.folder, run.number, digest)?;
        RoundSettings::parse(&text).map(Some).map_err(|error| error.to_string())
    }

    fn change(&mut self, number: u32, state: RunState) -> Result<Run, QueueError> {
        let mut next = self.list.clone();
        let run = next.runs.iter_mut().find(|run| run.number == number);
        let run = run.expect("callers take the number from the list");
        run.state = state;
        let changed = run.clone();
        self.store(next)?;
        Ok(changed)
    }

    /// Writes the list, and takes it for the present one only then.
    fn store(&mut self, mut next: RunList) -> Result<(), QueueError> {
        let is_ended = |run: &Run| matches!(run.state, RunState::Ended { .. });
        let mut surplus = next.runs.iter().filter(|run| is_ended(run)).count().saturating_sub(MOST_ENDED);
        next.runs.retain(|run| {
            let is_dropped = surplus > 0 && is_ended(run);
            surplus -= usize::from(is_dropped);
            !is_dropped
        });
        file::write(&self.folder, &next)?;
        self.list = next;
        Ok(())
    }
}

fn push(list: &mut RunList, run: NewRun, settings: Option<PublicBytes>) -> &mut Run {
    let number = list.next;
    list.next += 1;
    let NewRun { name, rounds, rehearsal, not_before, early_stop, .. } = run;
    let state = RunState::Waiting;
    list.runs.push(Run { number, name, rounds, settings, rehearsal, not_before, early_stop, state });
    list.runs.last_mut().expect("it was pushed just now")
}

fn check_request(run: &NewRun) -> Result<(), String> {
    if run.rounds == 0 {
        return Err("a run has at least one round; give a larger number of rounds".to_owned());
    }
    if run.name.as_ref().is_some_and(|name| {
        name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control)
    }) {
        return Err(format!(
            "the name of a run has 1 to {MAX_NAME} characters and no control characters; give another name"
        ));
    }
    match run.early_stop {
        Some(early) if run.rehearsal || early.patience == 0 => Err(
            "a run that ends early needs rounds that evaluate the model, and at least 1 of them without a new best; a \
             rehearsal has none"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}
