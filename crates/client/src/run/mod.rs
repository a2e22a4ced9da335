//! The hospital's loop: one link, a member, a custodian, and the training thread.

mod connecting;
mod contributing;
mod editions;
mod life_cycle;
mod phase;
mod policy;
mod starting;
#[cfg(all(test, feature = "training"))]
mod tests;

use std::sync::{Arc, mpsc as blocking};
use std::time::{Duration, SystemTime};

use cloister_crypto::consortium::Epoch;
use cloister_identity::ending_soon;
use cloister_params::id::{BlockId, Round};
use cloister_params::plan::TrainingPlan;
use cloister_params::policy::Policy;
use cloister_params::time::UtcTime;
use cloister_protocol::arriving::ArrivingChange;
use cloister_protocol::custodian::CustodianOutput;
use cloister_protocol::fault::Fault;
use cloister_protocol::hospital::{Hospital, HospitalOutput};
use cloister_protocol::member::MemberOutput;
use cloister_transport::{Link, StopSignal};
use cloister_wire::frame::{Frame, LAST_ROUND_ENDED};
use cloister_wire::message::Message;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::mpsc;

use crate::account::warning_about_delta;
use crate::config::{ClientConfig, ClientLifetime};
use crate::events::{ClientError, ClientEvent};
use crate::jobs::{Job, LocalSeed, TrainingThread, WorkerReport};
use crate::outgoing::{Outgoing, write_frames};
use crate::policy_updates::PolicyUpdates;

use connecting::RETRY_AFTER;
use contributing::wait_until_ready;
use life_cycle::LifeCycle;
use phase::ContributionPhase;
use starting::PartyRecords;

/// How long a hospital that stops waits until the coordinator knows that the link is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A hospital between its link, its disk and its training thread.
struct Client<'a> {
    config: &'a ClientConfig,
    hospital: Hospital,
    records: PartyRecords,
    /// The policy in force.
    policy: Policy,
    /// The first contribution that the account refused.
    privacy_refusal: Option<(Round, String)>,
    /// The first training that failed.
    training_failure: Option<String>,
    jobs: blocking::Sender<Job>,
    phase: ContributionPhase,
    /// How this hospital trained in every round that it contributed to: the training alone at the end repeats it.
    trained: Vec<(TrainingPlan, LocalSeed)>,
    to_send: Outgoing,
    /// Whether the end of the edition in force was reported.
    has_reported_end: bool,
    events: &'a mut (dyn FnMut(ClientEvent) + Send),
}

/// Runs a hospital until the coordinator says that the last round has ended, or until it is told to stop
/// ([`ClientLifetime`](crate::ClientLifetime)).
///
/// # Errors
/// See [`ClientError`].
pub async fn run(
    mut config: ClientConfig,
    events: &mut (dyn FnMut(ClientEvent) + Send),
) -> Result<(), ClientError> {
    let mut updates = config.policy_updates.clone();
    while let Some(NextEpoch { epoch, policy }) = run_epoch(&config, &mut updates, events).await? {
        let changes = config.epoch.consortium().to_file().changes_to(&epoch.consortium().to_file());
        events(ClientEvent::Edition { number: epoch.consortium().epoch_number(), changes });
        config.epoch = epoch;
        config.policy = policy;
        // The openings have it. Recorded again, it would limit a party that has settled since.
        config.restored = false;
    }
    Ok(())
}

/// What the next epoch begins with.
struct NextEpoch {
    epoch: Arc<Epoch>,
    /// The policy in force, which may have been read again since the program started.
    policy: Policy,
}

/// Runs a hospital in one epoch. The result is the next epoch; `None` if the program ends.
async fn run_epoch(
    config: &ClientConfig,
    updates: &mut PolicyUpdates,
    events: &mut (dyn FnMut(ClientEvent) + Send),
) -> Result<Option<NextEpoch>, ClientError> {
    // An edition may make a custodian a member.
    config.check_roles()?;
    // The files first: a second program on them ends here, before it loads a model or connects.
    let records = PartyRecords::open(config)?;
    let thread = config.member_part().map(|part| part.training.clone().spawn());
    let TrainingThread { jobs, mut reports, halt } = thread.unwrap_or_else(TrainingThread::idle);
    let mut stop = config.stop.clone();
    let (rows, blocks) = tokio::select! {
        ready = wait_until_ready(config, &mut reports, events) => ready?,
        () = stop.requested() => {
            halt.request().await;
            return Ok(None);
        }
    };
    let warning = rows.and_then(|rows| warning_about_delta(&config.policy, rows.records));
    let until = config.epoch.consortium().until();
    let ending = ending_soon(config.identity.validity(), until, SystemTime::now());
    warning.into_iter().chain(ending).map(ClientEvent::Warning).for_each(&mut *events);
    let mut client = Client::new(config, records, (jobs, blocks), events);
    let mut stage = LifeCycle::Connecting;
    loop {
        stage = match stage {
            LifeCycle::Finishing => {
                return tokio::select! {
                    finished = client.finish(&mut reports) => finished.map(|()| None),
                    // The comparison with training alone may take long.
                    () = stop.requested() => {
                        halt.request().await;
                        Ok(None)
                    }
                };
            }
            LifeCycle::BeginningEdition(epoch) => {
                let policy = client.policy.clone();
                drop(client);
                return tokio::select! {
                    () = ended(&mut reports) => Ok(Some(NextEpoch { epoch, policy })),
                    () = stop.requested() => {
                        halt.request().await;
                        Ok(None)
                    }
                };
            }
            LifeCycle::Stopping => {
                (client.events)(ClientEvent::Stopping);
                // What must be remembered is on disk, so the program may end at any time.
                drop(client);
                halt.request().await;
                return Ok(None);
            }
            // Told to stop, it closes the link itself.
            LifeCycle::Serving(link) => client.serve(*link, &mut reports, updates, &mut stop).await?,
            stage => tokio::select! {
                next = client.advance(stage) => next?,
                policy = updates.next() => {
                    client.replace_policy(policy);
                    LifeCycle::Connecting
                }
                () = stop.requested() => LifeCycle::Stopping,
            },
        };
    }
}

/// Waits until the thread has ended, which it does after its present job. Two of them would need twice the memory.
async fn ended(reports: &mut mpsc::UnboundedReceiver<WorkerReport>) {
    while reports.recv().await.is_some() {}
}

impl Client<'_> {
    /// Does what a stage without a link is for. Returns the next one.
    async fn advance(&mut self, stage: LifeCycle) -> Result<LifeCycle, ClientError> {
        Ok(match stage {
            LifeCycle::Connecting => LifeCycle::Serving(Box::new(self.reach_coordinator().await?)),
            LifeCycle::Disconnected(reason) => {
                (self.events)(ClientEvent::Reconnecting(reason));
                tokio::time::sleep(RETRY_AFTER).await;
                LifeCycle::Connecting
            }
            unchanged => unchanged,
        })
    }

    /// What follows a link that the coordinator closed.
    fn after_close(&self, reason: Option<&str>) -> LifeCycle {
        let ends = matches!(self.config.lifetime, ClientLifetime::UntilFinished { .. });
        match reason {
            Some(LAST_ROUND_ENDED) if ends => LifeCycle::Finishing,
            reason => LifeCycle::Disconnected(reason.unwrap_or("the coordinator closed the link").to_owned()),
        }
    }

    /// Carries frames and reports until the link ends. Returns what follows the link.
    async fn serve(
        &mut self,
        link: Link,
        reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
        updates: &mut PolicyUpdates,
        stop: &mut StopSignal,
    ) -> Result<LifeCycle, ClientError> {
        let (sender, mut receiver) = link.split();
        // One place: all other frames wait in `to_send`, which counts them.
        let (frames, queue) = mpsc::channel(1);
        let (progress, mut sent) = mpsc::unbounded_channel();
        let mut writer = tokio::spawn(write_frames(sender, queue, progress));
        // What the last link did not take is asked for again on this one.
        self.to_send.clear();
        if let Some(member) = self.hospital.member.as_mut() {
            member.ask_for_model();
        }
        self.carry_out()?;
        loop {
            tokio::select! {
                received = receiver.recv(), if self.to_send.has_room() => match received {
                    Ok(Some(bytes)) => {
                        if let Some(epoch) = self.handle_bytes(&bytes)? {
                            return Ok(LifeCycle::BeginningEdition(epoch));
                        }
                    }
                    Ok(None) => return Ok(self.after_close(receiver.closing_reason())),
                    Err(error) => return Ok(LifeCycle::Disconnected(error.to_string())),
                },
                // A place is reserved before a frame is taken: a branch that loses the race drops its
                // future, and a frame in it would be lost.
                Ok(place) = frames.reserve(), if !self.to_send.is_empty() => {
                    if let Some(next) = self.to_send.pop() {
                        place.send(next);
                    }
                }
                Some(report) = reports.recv() => self.handle_report(report)?,
                Some((sent, total)) = sent.recv() => (self.events)(ClientEvent::Uploading { sent, total }),
                policy = updates.next() => self.replace_policy(policy),
                _ = &mut writer => return Ok(LifeCycle::Disconnected("the link cannot be written".into())),
                () = stop.requested() => break,
            }
        }
        // The writer closes the link when no more frames can come.
        drop(frames);
        let _ = tokio::time::timeout(CLOSE_WITHIN, writer).await;
        Ok(LifeCycle::Stopping)
    }

    /// Handles a frame's bytes. The result is the epoch to begin, if the coordinator sent a later edition.
    fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Arc<Epoch>>, ClientError> {
        match Frame::decode(bytes) {
            Ok(Frame::Message(Message::Edition { file, signature })) => {
                self.handle_edition(&file, &signature)
            }
            // After the edition's last day this party signs, uploads and reveals nothing (CONS-12).
            Ok(_) if self.has_ended_edition() => Ok(None),
            Ok(frame) => self.handle_frame(&frame).map(|()| None),
            Err(error) => {
                // Reported and dropped. The next frame begins where the link says, whatever this one holds.
                (self.events)(ClientEvent::Fault(error.to_string()));
                Ok(None)
            }
        }
    }

    fn handle_frame(&mut self, frame: &Frame) -> Result<(), ClientError> {
        for fault in self.hospital.handle_frame(frame, &mut UnwrapErr(SysRng)) {
            (self.events)(match fault {
                Fault::Unexpected { .. } => ClientEvent::Unexpected(fault.to_string()),
                Fault::PlanRefused { round, why } => ClientEvent::Refused(round, why.to_string()),
                fault => ClientEvent::Fault(fault.to_string()),
            });
        }
        self.carry_out()?;
        self.records.epoch_start.take(&self.config.epoch, frame).map_err(ClientError::EpochStart)
    }

    /// Does what the member and the custodian ask for. Records are on disk before the frames that depend on them are queued
    /// (`ROUND-04`), because each role gives them out in that order.
    fn carry_out(&mut self) -> Result<(), ClientError> {
        while let Some(output) = self.hospital.poll_output() {
            match output {
                HospitalOutput::Custodian(output) => self.carry_out_custodians(output)?,
                HospitalOutput::Member(output) => self.carry_out_members(output)?,
            }
        }
        Ok(())
    }

    fn carry_out_custodians(&mut self, output: CustodianOutput) -> Result<(), ClientError> {
        match output {
            CustodianOutput::Keep(record) => self.records.journal.keep_signed(record)?,
            CustodianOutput::KeepOpening(record) => self.records.openings.keep(record)?,
            CustodianOutput::Send(frame) => self.to_send.push(frame),
            // If the party is a member too, its member reports the same refusal.
            CustodianOutput::Declined { round, reason } if self.hospital.member.is_none() => {
                (self.events)(ClientEvent::Refused(round, reason));
            }
            CustodianOutput::Declined { .. } => {}
        }
        Ok(())
    }

    fn carry_out_members(&mut self, output: MemberOutput) -> Result<(), ClientError> {
        match output {
            MemberOutput::Keep(round) => self.records.journal.keep_announced(round)?,
            MemberOutput::KeepOpening(record) => self.records.openings.keep(record)?,
            MemberOutput::Arriving(change) => {
                if let ArrivingChange::WrongBlock(block) = change {
                    let fault = format!(
                        "the coordinator sent {block} of the model with wrong bytes; it is asked for again"
                    );
                    (self.events)(ClientEvent::Fault(fault));
                }
                self.records.arriving.repeat(&change)?;
            }
            MemberOutput::Send(frame) => self.to_send.push(frame),
            MemberOutput::Train { digest, plan } => self.train(digest, plan)?,
            MemberOutput::SendAgain { digest, plan } => self.send_again(digest, &plan)?,
            // Written for the hospital's own use, and evaluated as after a closing.
            MemberOutput::CaughtUp { round, model } => self.give(Job::Evaluate { round, model })?,
            MemberOutput::Closed { round, rehearsal: true, .. } => {
                (self.events)(ClientEvent::Rehearsed(round));
            }
            MemberOutput::Closed { round, model, applied, closing, summed, .. } => {
                // A sum can be opened and not applied. Only an applied one changed the model.
                let mut summed_and_applied: Vec<BlockId> = summed.iter().map(|(block, _)| *block).collect();
                summed_and_applied.retain(|block| applied.contains(block));
                let contributed = self.phase.take_contributed();
                let settings = contributed.as_ref().map(|plan| &plan.settings);
                let published = settings.and_then(|settings| model.evaluation(settings, &summed));
                if let (Some(plan), Some(account)) = (contributed, self.records.account.as_mut()) {
                    let now = UtcTime::from_time(SystemTime::now());
                    account.close(&plan, (round, closing), summed, now)?;
                }
                (self.events)(ClientEvent::Closed { round, applied, summed: summed_and_applied });
                // It was of an earlier round.
                self.records.arriving.remove()?;
                if let Some(published) = published {
                    (self.events)(ClientEvent::Published(round, published));
                }
                self.give(Job::Evaluate { round, model })?;
            }
            MemberOutput::Aborted(round) => (self.events)(ClientEvent::Aborted(round)),
            MemberOutput::Refused { round, reason } => (self.events)(ClientEvent::Refused(round, reason)),
        }
        Ok(())
    }

    /// Ends the client after the last round. What kept this hospital out of rounds is reported last, because the final model
    /// is of use all the same.
    async fn finish(
        mut self,
        reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
    ) -> Result<(), ClientError> {
        if self.hospital.member.as_ref().is_some_and(|member| !member.is_current()) {
            return Err(ClientError::Behind);
        }
        let (refused, failed) = (self.privacy_refusal.take(), self.training_failure.take());
        self.finish_training(reports).await?;
        if let Some((round, reason)) = refused {
            return Err(ClientError::PrivacyRefused { round, reason });
        }
        failed.map_or(Ok(()), |why| Err(ClientError::Training(why)))
    }

    /// Has the thread write and evaluate the last model, and train alone for comparison.
    async fn finish_training(
        mut self,
        reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
    ) -> Result<(), ClientError> {
        let Some(member) = &self.hospital.member else { return Ok(()) };
        let model = Box::new(member.model().clone());
        let trained = std::mem::take(&mut self.trained);
        self.give(Job::Finish { model, trained })?;
        while let Some(report) = reports.recv().await {
            match report {
                WorkerReport::Finished(result) => {
                    (self.events)(ClientEvent::Finished(result));
                    return Ok(());
                }
                // A training or an evaluation that was asked for earlier ends first.
                earlier => self.handle_report(earlier)?,
            }
        }
        Err(ClientError::Training("the training thread ended".into()))
    }
}
