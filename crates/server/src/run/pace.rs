//! When the next round starts, and what happens when one cannot continue.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use cloister_params::id::PartyId;
use cloister_params::limits::Date;
use cloister_protocol::coordinator::Input;

use super::Server;
use super::turns::Turn;
use crate::config::{ServerEvent, ServerLifetime};
use crate::error::{Refusals, ServerError};

/// After how many aborted rounds in a row the coordinator gives up, or pauses.
const GIVE_UP_AFTER: u64 = 3;
/// The first pause after aborted rounds. Each further abort doubles it.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After this time, a round that waits without a quorum asks again for what is missing. It asks at once when a
/// party connects.
const ASK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What the coordinator does next.
pub(super) enum NextTask {
    /// Serve the links, and ask again at this time.
    Serve { until: Option<Instant> },
    /// Start a round.
    StartRound,
    /// End the program, because the last round has ended.
    Finish,
}

/// What decides when the next round starts.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whether a round was started, or continued, since the program started.
    has_begun: bool,
    /// No round starts before this time.
    paused_until: Option<Instant>,
    /// The round in progress waits for a quorum, and asks again at this time.
    asks_again_at: Option<Instant>,
    /// Whether the end of the edition was reported.
    has_reported_edition: bool,
    /// The parties that were last reported as missing, while rounds wait for them.
    reported_missing: Option<BTreeSet<PartyId>>,
    /// Whether the end of the rounds was reported.
    has_reported_end: bool,
    /// Whether it was reported that rounds wait for their time of day.
    has_reported_window: bool,
    /// The run that was last reported as waiting for its time.
    pub(super) reported_run: Option<u32>,
    /// The run, and the number of rounds with sums, for which it was last asked whether it ends early.
    pub(super) asked_for_early_end: Option<(u32, u64)>,
    /// When a run began, if one has since the program started.
    pub(super) run_since: Option<Instant>,
}

impl Pace {
    /// A party has connected: what waited may go on.
    pub(super) fn retry_now(&mut self) {
        if self.asks_again_at.is_some() {
            self.asks_again_at = Some(Instant::now());
        }
    }

    /// The operator wants rounds to start now.
    pub(super) fn forget_pause(&mut self) {
        self.paused_until = None;
    }

    /// The operator has queued or cancelled a run.
    pub(super) fn forget_end(&mut self) {
        self.has_reported_end = false;
    }
}

impl Server<'_> {
    /// Decides what to do next.
    pub(super) fn next_task(&mut self) -> Result<NextTask, ServerError> {
        let now = Instant::now();
        if self.coordinator.is_busy() {
            self.pace.has_begun = true;
            if self.pace.asks_again_at.is_some_and(|at| at <= now) {
                self.pace.asks_again_at = None;
                // As after a restart of the program: the present phase gets its whole time again.
                self.handle_input(Input::Restarted)?;
                self.carry_out()?;
            }
            return Ok(NextTask::Serve { until: self.pace.asks_again_at });
        }
        self.pace.asks_again_at = None;
        self.end_run_that_is_over()?;
        if self.runs.remaining(self.closed_rounds) == 0 {
            return Ok(self.after_the_last_round());
        }
        if self.is_paused() || self.has_ended_edition() {
            // Asked again, because a day passes without an event.
            return Ok(NextTask::Serve { until: Some(now + LONGEST_PAUSE) });
        }
        if let Some(until) = self.pace.paused_until.filter(|until| *until > now) {
            return Ok(NextTask::Serve { until: Some(until) });
        }
        if let Some(wait) = self.time_to_window() {
            return Ok(NextTask::Serve { until: Some(now + wait.min(LONGEST_PAUSE)) });
        }
        match self.take_turn()? {
            Turn::Present => {}
            Turn::Ended => return self.next_task(),
            Turn::Wait(wait) => return Ok(NextTask::Serve { until: Some(now + wait.min(LONGEST_PAUSE)) }),
        }
        match self.config.lifetime {
            ServerLifetime::UntilFinished { .. } if self.pace.has_begun => Ok(NextTask::StartRound),
            ServerLifetime::UntilFinished { start_within } => self.wait_for_members(now, Some(start_within)),
            ServerLifetime::UntilStopped => self.wait_for_members(now, None),
        }
    }

    /// Whether the edition in force has ended, which is reported once (`CONS-12`).
    fn has_ended_edition(&mut self) -> bool {
        let today = Date::from_time(SystemTime::now());
        let Some(until) = self.config.epoch.consortium().until().filter(|until| *until < today) else {
            return false;
        };
        if !std::mem::replace(&mut self.pace.has_reported_edition, true) {
            (self.events)(ServerEvent::EditionEnded(until));
        }
        true
    }

    /// How long it is until rounds may start on this day, or the next one. That is reported once.
    fn time_to_window(&mut self) -> Option<Duration> {
        let window = self.config.rounds_between?;
        let wait = window.opens_in(SystemTime::now());
        let had_reported = std::mem::replace(&mut self.pace.has_reported_window, wait.is_some());
        if wait.is_some() && !had_reported {
            (self.events)(ServerEvent::OutsideWindow(window));
        }
        wait
    }

    fn after_the_last_round(&mut self) -> NextTask {
        match self.config.lifetime {
            ServerLifetime::UntilFinished { .. } => NextTask::Finish,
            ServerLifetime::UntilStopped => {
                if !std::mem::replace(&mut self.pace.has_reported_end, true) {
                    (self.events)(ServerEvent::RoundsDone(self.closed_rounds));
                }
                NextTask::Serve { until: None }
            }
        }
    }

    /// Starts a round if enough parties are connected.
    fn wait_for_members(&mut self, now: Instant, within: Option<Duration>) -> Result<NextTask, ServerError> {
        let wanted = self.config.wanted_members();
        let members: BTreeSet<PartyId> = self.config.epoch.consortium().members().collect();
        let got = self.coordinator.connected().intersection(&members).count();
        // A program that ends by itself tries at once, and says why a round failed.
        if got >= wanted && (within.is_some() || self.has_quorum()) {
            self.pace.reported_missing = None;
            return Ok(NextTask::StartRound);
        }
        // A run may wait for its time long after the program started.
        let until = within.map(|within| self.pace.run_since.unwrap_or(self.started) + within);
        if let (Some(until), Some(within)) = (until, within)
            && now >= until
        {
            return Err(ServerError::TooFewMembers { got, wanted, seconds: within.as_secs() });
        }
        let parties = self.config.epoch.consortium().parties().map(|party| party.id);
        let missing: BTreeSet<PartyId> =
            parties.filter(|party| !self.coordinator.connected().contains(party)).collect();
        // Reported when it changes: a night without a hospital fills no log.
        if self.pace.reported_missing.as_ref() != Some(&missing) {
            self.pace.reported_missing = Some(missing.clone());
            let missing = missing.into_iter().collect();
            (self.events)(ServerEvent::Waiting { connected: got, wanted, missing });
        }
        Ok(NextTask::Serve { until })
    }

    /// Whether those who are connected could seal a round: without them a round would begin in vain.
    fn has_quorum(&self) -> bool {
        let consortium = self.config.epoch.consortium();
        let connected = self.coordinator.connected();
        let custodians = consortium.custodians().filter(|party| connected.contains(party)).count();
        let members = consortium.members().filter(|party| connected.contains(party));
        custodians >= consortium.floors().seal_quorum
            && consortium.organisations(members) >= usize::from(self.settings.cohort_floor)
    }

    /// The round cannot continue: the program ends, or waits for the missing parties.
    pub(super) fn handle_lost_quorum(&mut self, why: &'static str) -> Result<(), ServerError> {
        match self.config.lifetime {
            ServerLifetime::UntilFinished { .. } => Err(self.quorum_lost(why)),
            ServerLifetime::UntilStopped => {
                let connected = self.coordinator.connected();
                let custodians = self.config.epoch.consortium().custodians();
                let missing = custodians.filter(|custodian| !connected.contains(custodian)).collect();
                (self.events)(ServerEvent::RoundWaits { reason: why, missing });
                self.pace.asks_again_at = Some(Instant::now() + ASK_AGAIN_AFTER);
                Ok(())
            }
        }
    }

    /// After a round: if several in a row were aborted, the program ends, or pauses.
    pub(super) fn pace_after_round(&mut self) -> Result<(), ServerError> {
        let Some(excess) = self.aborted_in_a_row.checked_sub(GIVE_UP_AFTER) else { return Ok(()) };
        let error = self.nothing_summed();
        match self.config.lifetime {
            ServerLifetime::UntilFinished { .. } => Err(error),
            ServerLifetime::UntilStopped => {
                let doublings = u32::try_from(excess).unwrap_or(u32::MAX);
                let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
                let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
                self.pace.paused_until = Some(Instant::now() + pause);
                (self.events)(ServerEvent::Paused { reason: error.to_string(), pause });
                Ok(())
            }
        }
    }

    /// Why the round cannot continue. If parties refused, the error names them.
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
