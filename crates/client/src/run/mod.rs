//! The hospital's loop: one link, a member, a custodian, and the training thread.

mod contributing;
#[cfg(test)]
mod tests;

use std::sync::mpsc as blocking;
use std::time::Duration;

use cloister_params::block::BlockShape;
use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::plan::{RoundPlan, TrainingPlan};
use cloister_protocol::custodian::{Custodian, CustodianConfig, CustodianOutput};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::{Member, MemberConfig, MemberOutput, MemberTask};
use cloister_transport::{ConnectError, Fingerprint, FrameReceiver, FrameSender, Link, connect};
use cloister_wire::frame::Frame;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::mpsc;

use crate::account::{ReleaseAccount, warning_about_delta};
use crate::config::ClientConfig;
use crate::events::{ClientError, ClientEvent};
use crate::journal::Journal;
use crate::openings::OpeningsFile;
use crate::outgoing::{Outgoing, write_frames};
use crate::training::{Job, LocalSeed, WorkerReport, spawn};

/// How long to wait before the next try to connect.
const RETRY_AFTER: Duration = Duration::from_millis(500);

use contributing::{PlannedTraining, wait_until_ready};

struct Client<'a> {
    config: &'a ClientConfig,
    member: Option<Member>,
    custodian: Option<Custodian>,
    records: Records,
    /// The first contribution that the account refused.
    privacy_refusal: Option<(Round, String)>,
    /// The first training that failed.
    training_failure: Option<String>,
    jobs: blocking::Sender<Job>,
    /// What is trained for now: results for anything else are dropped.
    training: Option<PlannedTraining>,
    /// The plan of the contribution that no closing has summed yet.
    contributed: Option<Box<RoundPlan>>,
    /// How this hospital trained in every round that it trained in.
    trained: Vec<(TrainingPlan, LocalSeed)>,
    to_send: Outgoing,
    events: &'a mut (dyn FnMut(ClientEvent) + Send),
}

/// What a party has on its disk.
struct Records {
    journal: Journal,
    openings: OpeningsFile,
    /// What members release is charged here first.
    account: Option<ReleaseAccount>,
}

impl Records {
    fn open(config: &ClientConfig) -> Result<Self, ClientError> {
        let journal = Journal::open(&config.journal)?;
        let mut openings = OpeningsFile::open(&config.openings)?;
        // CONS-06
        openings.begin(&config.epoch, config.model.digest())?;
        let account = ReleaseAccount::open(config, &journal)?;
        Ok(Self { journal, openings, account })
    }
}

/// How a link ended.
enum End {
    Finished,
    Lost(String),
}

/// Runs a hospital until the coordinator says that the last round has ended.
///
/// # Errors
/// See [`ClientError`].
pub async fn run(
    config: ClientConfig,
    events: &mut (dyn FnMut(ClientEvent) + Send),
) -> Result<(), ClientError> {
    let records = Records::open(&config)?;
    let (jobs, mut reports) = spawn(config.training.clone());
    let (rows, blocks) = wait_until_ready(&mut reports, events).await?;
    let warning = rows.and_then(|rows| warning_about_delta(&config.policy, rows.records));
    warning.into_iter().map(ClientEvent::Warning).for_each(&mut *events);
    let mut client = Client::new(&config, records, (jobs, blocks), events);
    loop {
        let (sender, receiver) = client.reach_coordinator().await?;
        match client.serve(sender, receiver, &mut reports).await? {
            End::Finished => break,
            End::Lost(reason) => {
                (client.events)(ClientEvent::Reconnecting(reason));
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
    if client.member.as_ref().is_some_and(|member| !member.is_current()) {
        return Err(ClientError::Behind);
    }
    let (refused, failed) = (client.privacy_refusal.take(), client.training_failure.take());
    client.finish(&mut reports).await?;
    if let Some((round, reason)) = refused {
        return Err(ClientError::PrivacyRefused { round, reason });
    }
    failed.map_or(Ok(()), |why| Err(ClientError::Training(why)))
}

impl<'a> Client<'a> {
    fn new(
        config: &'a ClientConfig,
        records: Records,
        (jobs, blocks): (blocking::Sender<Job>, Vec<BlockShape>),
        events: &'a mut (dyn FnMut(ClientEvent) + Send),
    ) -> Self {
        let has = |role| config.epoch.consortium().has_role(config.party, role);
        let (key, epoch, policy) = (&config.signing_key, &config.epoch, &config.policy);
        let member = has(Role::Member).then(|| {
            let member = Member::new(MemberConfig {
                id: config.party,
                key: key.clone(),
                epoch: epoch.clone(),
                policy: policy.clone(),
                task: MemberTask { digest: config.task, blocks },
                model: config.model.clone(),
                last_announced: records.journal.last_announced(),
                openings: records.openings.openings().clone(),
            });
            if config.restored { member.restored_from_backup() } else { member }
        });
        let custodian = has(Role::Custodian).then(|| {
            let custodian = Custodian::new(CustodianConfig {
                id: config.party,
                key: key.clone(),
                epoch: epoch.clone(),
                policy: policy.clone(),
                model: config.model.digest(),
                signed: records.journal.signed().to_vec(),
                openings: records.openings.openings().clone(),
            });
            if config.restored { custodian.restored_from_backup() } else { custodian }
        });
        Self {
            config,
            member,
            custodian,
            records,
            privacy_refusal: None,
            training_failure: None,
            jobs,
            training: None,
            contributed: None,
            trained: Vec::new(),
            to_send: Outgoing::default(),
            events,
        }
    }

    /// Connects, again and again while nobody answers; a refusal is final.
    async fn reach_coordinator(&mut self) -> Result<(FrameSender, FrameReceiver), ClientError> {
        let config = self.config;
        let pinned = Fingerprint(config.epoch.consortium().coordinator().certificate.0);
        let limit = tokio::time::Instant::now() + config.reach_within;
        loop {
            match self.connect(pinned).await {
                Ok(link) => {
                    (self.events)(ClientEvent::Connected);
                    return Ok(link.split());
                }
                Err(ConnectError::Unreachable { .. } | ConnectError::Name { .. })
                    if tokio::time::Instant::now() < limit =>
                {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks the coordinator up, and makes a link to the first of its addresses at which it answers.
    async fn connect(&self, pinned: Fingerprint) -> Result<Link, ConnectError> {
        let config = self.config;
        let name = |detail: String| ConnectError::Name { host: config.coordinator.to_string(), detail };
        let addresses = config.coordinator.resolve().await.map_err(|error| name(error.to_string()))?;
        let mut outcome = Err(name("it has no address".to_owned()));
        for address in addresses {
            outcome = connect(address, &config.identity, pinned, config.party, &config.transport).await;
            // A host may have addresses of a family that this machine has no way to.
            if !matches!(outcome, Err(ConnectError::Unreachable { .. } | ConnectError::Socket { .. })) {
                break;
            }
        }
        outcome
    }

    async fn serve(
        &mut self,
        sender: FrameSender,
        mut receiver: FrameReceiver,
        reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
    ) -> Result<End, ClientError> {
        let (frames, queue) = mpsc::channel(1);
        let (progress, mut sent) = mpsc::unbounded_channel();
        let mut writer = tokio::spawn(write_frames(sender, queue, progress));
        self.to_send.clear();
        loop {
            tokio::select! {
                received = receiver.recv(), if self.to_send.has_room() => match received {
                    Ok(Some(bytes)) => self.handle_bytes(&bytes)?,
                    Ok(None) => return Ok(End::Finished),
                    Err(error) => return Ok(End::Lost(error.to_string())),
                },
                Ok(place) = frames.reserve(), if !self.to_send.is_empty() => {
                    if let Some(next) = self.to_send.pop() {
                        place.send(next);
                    }
                }
                Some(report) = reports.recv() => self.handle_report(report)?,
                Some((sent, total)) = sent.recv() => (self.events)(ClientEvent::Uploading { sent, total }),
                _ = &mut writer => return Ok(End::Lost("the link cannot be written".into())),
            }
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match Frame::decode(bytes) {
            Ok(frame) => self.handle_frame(&frame),
            Err(error) => {
                (self.events)(ClientEvent::Fault(error.to_string()));
                Ok(())
            }
        }
    }

    fn handle_frame(&mut self, frame: &Frame) -> Result<(), ClientError> {
        let mut random = UnwrapErr(SysRng);
        let member = self.member.as_mut().filter(|_| frame.is_for_members());
        let of_member = member.and_then(|member| member.handle_frame(frame.clone(), &mut random).err());
        let custodian = self.custodian.as_mut().filter(|_| frame.is_for_custodians());
        let of_custodian =
            custodian.and_then(|custodian| custodian.handle_frame(frame.clone(), &mut random).err());
        // What both say is told once.
        let of_custodian = of_custodian.filter(|fault| Some(fault) != of_member.as_ref());
        // The member's refusal of a plan is among its outputs.
        let of_member = of_member.filter(|fault| !matches!(fault, Fault::PlanRefused { .. }));
        for fault in [of_member, of_custodian].into_iter().flatten() {
            (self.events)(match fault {
                Fault::Unexpected { .. } => ClientEvent::NotAwaited(fault.to_string()),
                Fault::PlanRefused { round, why } => ClientEvent::Refused(round, why.to_string()),
                fault => ClientEvent::Fault(fault.to_string()),
            });
        }
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<(), ClientError> {
        while let Some(output) = self.custodian.as_mut().and_then(Custodian::poll_output) {
            match output {
                CustodianOutput::Keep(record) => self.records.journal.keep_signed(record)?,
                CustodianOutput::KeepOpening(record) => self.records.openings.keep(record)?,
                CustodianOutput::Send(frame) => self.to_send.push(frame),
                // A party that is a member too is told by its member.
                CustodianOutput::Declined { round, reason } if self.member.is_none() => {
                    (self.events)(ClientEvent::Refused(round, reason));
                }
                CustodianOutput::Declined { .. } => {}
            }
        }
        while let Some(output) = self.member.as_mut().and_then(Member::poll_output) {
            self.carry_out_members(output)?;
        }
        Ok(())
    }

    fn carry_out_members(&mut self, output: MemberOutput) -> Result<(), ClientError> {
        match output {
            MemberOutput::Keep(round) => self.records.journal.keep_announced(round)?,
            MemberOutput::KeepOpening(record) => self.records.openings.keep(record)?,
            MemberOutput::Send(frame) => self.to_send.push(frame),
            MemberOutput::Train { digest, plan } => self.train(digest, plan)?,
            MemberOutput::SendAgain { digest, plan } => self.send_again(digest, &plan)?,
            MemberOutput::Closed { round, model, applied, closing, summed } => {
                let own = summed.iter().map(|own| own.0).filter(|own| applied.contains(own)).collect();
                if let (Some(plan), Some(account)) = (self.contributed.take(), self.records.account.as_mut())
                {
                    account.close(&plan, (round, closing), summed)?;
                }
                (self.events)(ClientEvent::Closed { round, applied, summed: own });
                self.give(Job::Evaluate { round, model })?;
            }
            MemberOutput::Aborted(round) => (self.events)(ClientEvent::Aborted(round)),
            MemberOutput::Refused { round, reason } => (self.events)(ClientEvent::Refused(round, reason)),
        }
        Ok(())
    }

    async fn finish(
        mut self,
        reports: &mut mpsc::UnboundedReceiver<WorkerReport>,
    ) -> Result<(), ClientError> {
        let Some(member) = &self.member else { return Ok(()) };
        let model = Box::new(member.model().clone());
        let trained = std::mem::take(&mut self.trained);
        self.give(Job::Finish { model, trained })?;
        while let Some(report) = reports.recv().await {
            if let WorkerReport::Finished(result) = report {
                (self.events)(ClientEvent::Finished(result));
                return Ok(());
            }
            self.handle_report(report)?;
        }
        Err(ClientError::Training("the training thread ended".into()))
    }
}
