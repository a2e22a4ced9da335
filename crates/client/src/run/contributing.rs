//! From plans to contributions: jobs for the training thread, and what becomes of its reports.

use std::collections::BTreeMap;
use std::time::SystemTime;

use cloister_gate::{LocalWork, prepare};
use cloister_params::block::BlockShape;
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, Round};
use cloister_params::limits::Date;
use cloister_params::plan::RoundPlan;
use cloister_params::time::UtcTime;
use cloister_privacy::ledger::LedgerError;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, UnwrapErr};
use tokio::sync::mpsc;

use super::Client;
use super::phase::{ContributionPhase, PlannedTraining};
use crate::config::ClientConfig;
use crate::events::{ClientError, ClientEvent};
use crate::jobs::{Job, LocalSeed, PlannedWork, RowCounts, TrainedRound, WorkerReport};

/// Waits until the thread has loaded its notes and its model. Returns the numbers of rows, which a training program of the
/// hospital's own does not tell, and the blocks of the task. A party that is only a custodian has neither, and is ready at once.
pub(super) async fn wait_until_ready(
    config: &ClientConfig,
    reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
    events: &mut (dyn FnMut(ClientEvent) + Send),
) -> Result<(Option<RowCounts>, Vec<BlockShape>), ClientError> {
    if config.member_part().is_none() {
        events(ClientEvent::CustodianReady);
        return Ok((None, Vec::new()));
    }
    while let Some(report) = reports.recv().await {
        match report {
            WorkerReport::Ready { rows, table } => {
                events(ClientEvent::Ready(rows));
                return Ok((rows, table));
            }
            WorkerReport::Failed(error) => return Err(ClientError::Setup(error)),
            not_awaited => event_of(not_awaited).into_iter().for_each(&mut *events),
        }
    }
    Err(ClientError::Training("the training thread ended".into()))
}

/// The event of a report that is shown and calls for nothing else.
fn event_of(report: WorkerReport) -> Option<ClientEvent> {
    Some(match report {
        WorkerReport::Memory { needed, free } => ClientEvent::Memory { needed, free },
        WorkerReport::Reading { done, total } => ClientEvent::Reading { done, total },
        WorkerReport::Progress { done, total, local } => ClientEvent::Training { done, total, local },
        WorkerReport::Evaluated(round, accuracy) => ClientEvent::Evaluated(round, accuracy),
        WorkerReport::NotEvaluated(round, reason) => ClientEvent::NotEvaluated(round, reason),
        WorkerReport::NotCounted => ClientEvent::NotCounted,
        WorkerReport::Ready { .. }
        | WorkerReport::Trained(..)
        | WorkerReport::NotTrained(..)
        | WorkerReport::Finished(_)
        | WorkerReport::Failed(_) => return None,
    })
}

impl Client<'_> {
    /// Trains, unless what the round would release is more than the hospital's policy allows.
    pub(super) fn train(&mut self, digest: Digest, plan: Box<RoundPlan>) -> Result<(), ClientError> {
        // A new plan ends whatever an earlier one began: its result would be for another round.
        let outlasting = self.phase.replace(plan.settings.rehearsal);
        let (Some(member), Some(account)) = (self.hospital.member.as_ref(), self.records.account.as_mut())
        else {
            return Ok(());
        };
        // Asked before training, which takes long and would be for nothing. The charge itself comes after it.
        if let Some(reason) = account.refusal(&plan, Date::from_time(SystemTime::now()))? {
            self.phase = ContributionPhase::with_contribution(outlasting);
            self.refuse(plan.round, reason);
            return Ok(());
        }
        let model = Box::new(member.model().clone());
        // A new seed for each training: what two trainings with one seed share could be subtracted.
        let seed = LocalSeed::generate(&mut UnwrapErr(SysRng));
        let training = PlannedTraining { digest, plan: plan.clone(), seed: seed.clone(), outlasting };
        self.phase = ContributionPhase::Training(training);
        self.give(Job::Train { digest, plan, model, seed })
    }

    /// Lets the contribution of an aborted round go out again, if policy and budget still admit it (`ROUND-03`).
    pub(super) fn send_again(&mut self, digest: Digest, plan: &RoundPlan) -> Result<(), ClientError> {
        self.phase.end_rehearsal();
        let (Some(member), Some(account)) = (self.hospital.member.as_mut(), self.records.account.as_mut())
        else {
            return Ok(());
        };
        if let Some(reason) = account.refusal_to_repeat(plan, Date::from_time(SystemTime::now()))? {
            self.refuse(plan.round, reason);
            return Ok(());
        }
        if let Err(fault) = member.contribute_again(digest, &mut UnwrapErr(SysRng)) {
            (self.events)(ClientEvent::Fault(fault.to_string()));
        }
        Ok(())
    }

    /// Sends a `Refusal` with the reason, so that nobody waits for this hospital's announcement.
    fn refuse(&mut self, round: Round, reason: String) {
        let refusal = Message::Refusal { round, role: Role::Member, reason: reason.clone() };
        self.to_send.push(Frame::Message(refusal));
        (self.events)(ClientEvent::Refused(round, reason.clone()));
        // The first refusal is the one that explains the others.
        self.privacy_refusal.get_or_insert((round, reason));
    }

    pub(super) fn give(&self, job: Job) -> Result<(), ClientError> {
        self.jobs.send(job).map_err(|_| ClientError::Training("the training thread ended".into()))
    }

    pub(super) fn handle_report(&mut self, report: WorkerReport) -> Result<(), ClientError> {
        match report {
            WorkerReport::Trained(digest, work) => {
                let Some(training) = self.take_training(digest) else { return Ok(()) };
                if let Some(report) = work.trained.private {
                    (self.events)(ClientEvent::PrivatelyTrained(report));
                }
                match training.plan.settings.rehearsal {
                    true => self.rehearse(&training, work.trained.metrics)?,
                    false => self.contribute(training, *work)?,
                }
            }
            WorkerReport::NotTrained(digest, reason) => {
                if let Some(training) = self.take_training(digest) {
                    self.sit_out(training.plan.round, reason);
                }
            }
            WorkerReport::Failed(error) => return Err(ClientError::Training(error.to_string())),
            // Shown if it is a figure. `Ready` and `Finished` are awaited elsewhere, and change nothing here.
            not_awaited => event_of(not_awaited).into_iter().for_each(&mut *self.events),
        }
        Ok(())
    }

    /// The training for the plan of this digest, if it is the one in progress and the member still waits for its result. The
    /// round may have ended since, and another may have begun: what was trained for one plan is neither charged nor sent
    /// under another (`PRIV-14`).
    fn take_training(&mut self, digest: Digest) -> Option<PlannedTraining> {
        let training = self.phase.take_training(digest)?;
        self.hospital.member.as_ref().filter(|member| member.awaits_contribution(digest)).map(|_| training)
    }

    /// Sends a `Refusal` with a fixed reason. The real one stays here, because a trainer's message may quote a patient's
    /// note (`TRAIN-03`).
    fn sit_out(&mut self, round: Round, reason: String) {
        let fixed = "local training failed".to_owned();
        self.to_send.push(Frame::Message(Message::Refusal { round, role: Role::Member, reason: fixed }));
        (self.events)(ClientEvent::NotTrained(round, reason.clone()));
        self.training_failure.get_or_insert(reason);
    }

    /// Takes part in a rehearsal. What the training made is dropped, so nothing is charged (`ROUND-39`).
    fn rehearse(
        &mut self,
        training: &PlannedTraining,
        metrics: BTreeMap<String, f64>,
    ) -> Result<(), ClientError> {
        let Some(member) = self.hospital.member.as_mut() else { return Ok(()) };
        (self.events)(ClientEvent::Trained { round: training.plan.round, metrics });
        (self.events)(ClientEvent::Rehearsing(training.plan.round));
        if let Err(fault) = member.rehearse(training.digest, &mut UnwrapErr(SysRng)) {
            (self.events)(ClientEvent::Fault(fault.to_string()));
        }
        self.carry_out()
    }

    /// Charges the ledger, makes the contribution from a training result, and gives it to the member, in this order: nothing
    /// is made that is not charged.
    fn contribute(&mut self, training: PlannedTraining, work: PlannedWork) -> Result<(), ClientError> {
        let (Some(member), Some(account)) = (self.hospital.member.as_mut(), self.records.account.as_mut())
        else {
            return Ok(());
        };
        let PlannedTraining { digest, plan, seed, .. } = training;
        let PlannedWork { trained: TrainedRound { result, metrics, .. }, score } = work;
        (self.events)(ClientEvent::Trained { round: plan.round, metrics });
        let permit = match account.charge(&plan, UtcTime::from_time(SystemTime::now())) {
            Err(LedgerError::WouldExceed(why)) => {
                // Another program of this hospital spent the rest of the budget while this one trained.
                self.refuse(plan.round, why.to_string());
                return Ok(());
            }
            other => other?,
        };
        // PRIV-12: on disk before anything of the contribution leaves. From now on an older ledger that is
        // put back is noticed, while this program runs too.
        self.records.journal.keep_charged(permit.entry())?;
        account.require(&self.records.journal)?;
        let mut random = UnwrapErr(SysRng);
        // One read of the system's randomness seeds all noise: a system call for each of millions of draws would be slow.
        let mut noise = ChaCha20Rng::from_rng(&mut random);
        let before_last_changes = member.before_last_changes();
        let work = LocalWork { trained: &result, score, before_last_changes };
        let (contribution, clipped) = prepare(&plan, member.model(), work, permit, &mut noise)
            .map_err(|error| ClientError::Training(error.to_string()))?;
        if clipped > 0 {
            (self.events)(ClientEvent::Clipped { blocks: clipped });
        }
        self.trained.push((plan.settings.training, seed));
        match member.contribute(digest, contribution, &mut random) {
            Ok(()) => self.phase = ContributionPhase::Contributed(plan),
            Err(fault) => (self.events)(ClientEvent::Fault(fault.to_string())),
        }
        self.carry_out()
    }
}
