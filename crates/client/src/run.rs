//! The hospital's loop: one link, a member, a custodian, and the training thread.

use std::sync::mpsc as blocking;
use std::time::{Duration, SystemTime};

use cloister_experts::PrivateReport;
use cloister_params::consortium::Role;
use cloister_params::id::Round;
use cloister_params::limits::Date;
use cloister_params::plan::{RoundPlan, TrainingPlan};
use cloister_privacy::ledger::LedgerError;
use cloister_protocol::custodian::{Custodian, CustodianOutput};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::{Member, MemberOutput};
use cloister_transport::{ConnectError, Fingerprint, FrameReceiver, FrameSender, connect};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, UnwrapErr};
use tokio::sync::mpsc;

use crate::account::ReleaseAccount;
use crate::config::ClientConfig;
use crate::events::{ClientError, ClientEvent};
use crate::journal::Journal;
use crate::outgoing::{Outgoing, write_frames};
use crate::prepare::prepare;
use crate::training::{Job, Report, Trained, spawn};

/// How long to wait before the next try to connect.
const RETRY_AFTER: Duration = Duration::from_millis(500);

struct Client<'a> {
    config: &'a ClientConfig,
    member: Option<Member>,
    custodian: Option<Custodian>,
    journal: Journal,
    /// What members release is charged here first.
    account: Option<ReleaseAccount>,
    /// The first contribution that the account refused.
    privacy_refusal: Option<(Round, String)>,
    /// The first training that failed.
    training_failure: Option<String>,
    jobs: blocking::Sender<Job>,
    /// The round that is being trained for, with its plan.
    training: Option<Box<RoundPlan>>,
    /// The plan of the contribution that no closing has summed yet.
    contributed: Option<Box<RoundPlan>>,
    /// The training settings of every round that this hospital trained in.
    trained: Vec<TrainingPlan>,
    evaluating: Option<Round>,
    to_send: Outgoing,
    events: &'a mut (dyn FnMut(ClientEvent) + Send),
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
    let journal = Journal::open(&config.journal)?;
    let account = ReleaseAccount::open(&config, &journal)?;
    let (jobs, mut reports) = spawn(config.training.clone(), config.party);
    let mut client = Client::new(&config, journal, account, jobs, events);
    client.wait_until_ready(&mut reports).await?;
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
        journal: Journal,
        account: Option<ReleaseAccount>,
        jobs: blocking::Sender<Job>,
        events: &'a mut (dyn FnMut(ClientEvent) + Send),
    ) -> Self {
        let has = |role| config.epoch.consortium().has_role(config.party, role);
        let (key, epoch, policy) = (&config.signing_key, &config.epoch, &config.policy);
        let member = has(Role::Member).then(|| {
            let (task, model) = (config.task, config.model.clone());
            let last_announced = journal.last_announced();
            Member::new(config.party, key.clone(), epoch.clone(), policy.clone(), task, model, last_announced)
        });
        let custodian = has(Role::Custodian).then(|| {
            let (model, records) = (config.model.digest(), journal.signed().iter().copied());
            let custodian =
                Custodian::new(config.party, key.clone(), epoch.clone(), policy.clone(), model, records);
            if config.restored { custodian.restored_from_backup() } else { custodian }
        });
        Self {
            config,
            member,
            custodian,
            journal,
            account,
            privacy_refusal: None,
            training_failure: None,
            jobs,
            training: None,
            contributed: None,
            trained: Vec::new(),
            evaluating: None,
            to_send: Outgoing::default(),
            events,
        }
    }

    async fn wait_until_ready(
        &mut self,
        reports: &mut mpsc::UnboundedReceiver<Report>,
    ) -> Result<(), ClientError> {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Ready { notes, truncated } => {
                    (self.events)(ClientEvent::Ready { notes, truncated });
                    return Ok(());
                }
                Report::Failed(error) => return Err(ClientError::Setup(error)),
                other => self.handle_report(other)?,
            }
        }
        Err(ClientError::Training("the training thread ended".into()))
    }

    /// Connects, again and again while nobody answers; a refusal is final.
    async fn reach_coordinator(&mut self) -> Result<(FrameSender, FrameReceiver), ClientError> {
        let config = self.config;
        let pinned = Fingerprint(config.epoch.consortium().coordinator().certificate.0);
        let limit = tokio::time::Instant::now() + config.reach_within;
        loop {
            let attempt =
                connect(config.coordinator, &config.identity, pinned, config.party, &config.transport);
            match attempt.await {
                Ok(link) => {
                    (self.events)(ClientEvent::Connected);
                    return Ok(link.split());
                }
                Err(ConnectError::Unreachable { .. }) if tokio::time::Instant::now() < limit => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn serve(
        &mut self,
        sender: FrameSender,
        mut receiver: FrameReceiver,
        reports: &mut mpsc::UnboundedReceiver<Report>,
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
        let mut faults: Vec<Fault> = Vec::new();
        if let Some(member) = self.member.as_mut().filter(|_| frame.is_for_members()) {
            faults.extend(member.handle_frame(frame.clone(), &mut random).err());
        }
        if let Some(custodian) = self.custodian.as_mut().filter(|_| frame.is_for_custodians()) {
            faults.extend(custodian.handle_frame(frame.clone(), &mut random).err());
        }
        for fault in faults {
            (self.events)(ClientEvent::Fault(fault.to_string()));
        }
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<(), ClientError> {
        while let Some(output) = self.custodian.as_mut().and_then(Custodian::poll_output) {
            match output {
                CustodianOutput::Keep(record) => self.journal.keep_signed(record)?,
                CustodianOutput::Send(frame) => self.to_send.push(frame),
            }
        }
        while let Some(output) = self.member.as_mut().and_then(Member::poll_output) {
            self.carry_out_members(output)?;
        }
        Ok(())
    }

    fn carry_out_members(&mut self, output: MemberOutput) -> Result<(), ClientError> {
        match output {
            MemberOutput::Keep(round) => self.journal.keep_announced(round)?,
            MemberOutput::Send(frame) => self.to_send.push(frame),
            MemberOutput::Train(plan) => self.train(plan)?,
            MemberOutput::Closed { round, model, applied, closing, summed } => {
                let own = summed.iter().map(|own| own.0).filter(|own| applied.contains(own)).collect();
                if let (Some(plan), Some(account)) = (self.contributed.take(), self.account.as_mut()) {
                    account.close(&plan, (round, closing), summed)?;
                }
                (self.events)(ClientEvent::Closed { round, applied, summed: own });
                self.evaluating = Some(round);
                self.give(Job::Evaluate(model))?;
            }
            MemberOutput::Aborted(round) => (self.events)(ClientEvent::Aborted(round)),
            MemberOutput::Refused { round, reason } => (self.events)(ClientEvent::Refused(round, reason)),
        }
        Ok(())
    }

    /// Trains, unless what the round would release is more than the hospital's policy allows.
    fn train(&mut self, plan: Box<RoundPlan>) -> Result<(), ClientError> {
        self.contributed = None;
        let (Some(member), Some(account)) = (self.member.as_ref(), self.account.as_mut()) else {
            return Ok(());
        };
        if let Some(reason) = account.refusal(&plan, Date::of_time(SystemTime::now()))? {
            self.refuse(plan.round, reason);
            return Ok(());
        }
        let model = Box::new(member.model().clone());
        self.training = Some(plan.clone());
        self.give(Job::Train(plan, model))
    }

    /// Says aloud that this hospital does not contribute, so that nobody waits for it.
    fn refuse(&mut self, round: Round, reason: String) {
        let refusal = Message::Refusal { round, role: Role::Member, reason: reason.clone() };
        self.to_send.push(Frame::Message(refusal));
        (self.events)(ClientEvent::Refused(round, reason.clone()));
        self.privacy_refusal.get_or_insert((round, reason));
    }

    fn give(&self, job: Job) -> Result<(), ClientError> {
        self.jobs.send(job).map_err(|_| ClientError::Training("the training thread ended".into()))
    }

    fn handle_report(&mut self, report: Report) -> Result<(), ClientError> {
        match report {
            Report::Ready { .. } | Report::Finished(_) => {}
            Report::Progress { done, total, local } => {
                (self.events)(ClientEvent::Training { done, total, local });
            }
            Report::Memory { needed, free } => (self.events)(ClientEvent::Memory { needed, free }),
            Report::Reading { done, total } => (self.events)(ClientEvent::Reading { done, total }),
            Report::Trained(trained) => {
                if let Some(PrivateReport { steps, drawn, clipped }) = trained.private {
                    (self.events)(ClientEvent::PrivatelyTrained { steps, drawn, clipped });
                }
                self.contribute(*trained)?;
            }
            Report::NotTrained(reason) => self.sit_out(reason),
            Report::NotEvaluated(reason) => {
                if let Some(round) = self.evaluating.take() {
                    (self.events)(ClientEvent::NotEvaluated(round, reason));
                }
            }
            Report::Evaluated(accuracy) => {
                if let Some(round) = self.evaluating.take() {
                    (self.events)(ClientEvent::Evaluated(round, accuracy));
                }
            }
            Report::Failed(error) => return Err(ClientError::Training(error.to_string())),
        }
        Ok(())
    }

    /// Says that this hospital does not contribute, and not why: what a trainer says may tell of patients
    /// (`TRAIN-03`).
    fn sit_out(&mut self, reason: String) {
        let Some(plan) = self.training.take() else { return };
        let told = "local training failed".to_owned();
        self.to_send.push(Frame::Message(Message::Refusal {
            round: plan.round,
            role: Role::Member,
            reason: told,
        }));
        (self.events)(ClientEvent::NotTrained(plan.round, reason.clone()));
        self.training_failure.get_or_insert(reason);
    }

    /// Turns a training result into this hospital's contribution.
    fn contribute(&mut self, trained: Trained) -> Result<(), ClientError> {
        let (Some(plan), Some(member), Some(account)) =
            (self.training.take(), self.member.as_mut(), self.account.as_mut())
        else {
            return Ok(());
        };
        let Trained { result, metrics, .. } = trained;
        (self.events)(ClientEvent::Trained { round: plan.round, metrics });
        let permit = match account.charge(&plan) {
            Err(LedgerError::WouldExceed(why)) => {
                // Another program of this hospital spent what was left while this one trained.
                self.refuse(plan.round, why.to_string());
                return Ok(());
            }
            other => other?,
        };
        // PRIV-12
        self.journal.keep_charged(permit.entry())?;
        account.require(&self.journal)?;
        let mut random = UnwrapErr(SysRng);
        // The system's randomness is asked once, not for every draw of noise.
        let mut noise = ChaCha20Rng::from_rng(&mut random);
        let (contribution, clipped) = prepare(&plan, member.model(), &result, permit, &mut noise)
            .map_err(|error| ClientError::Training(error.to_string()))?;
        if clipped > 0 {
            (self.events)(ClientEvent::Clipped { blocks: clipped });
        }
        self.trained.push(plan.settings.training);
        match member.contribute(plan.round, contribution, &mut random) {
            Ok(()) => self.contributed = Some(plan),
            // The round ended while this hospital trained.
            Err(fault) => (self.events)(ClientEvent::Fault(fault.to_string())),
        }
        self.carry_out()
    }

    async fn finish(mut self, reports: &mut mpsc::UnboundedReceiver<Report>) -> Result<(), ClientError> {
        let Some(member) = &self.member else { return Ok(()) };
        let model = Box::new(member.model().clone());
        let plans = std::mem::take(&mut self.trained);
        self.give(Job::Finish { model, plans })?;
        while let Some(report) = reports.recv().await {
            if let Report::Finished(result) = report {
                (self.events)(ClientEvent::Finished(result));
                return Ok(());
            }
            self.handle_report(report)?;
        }
        Err(ClientError::Training("the training thread ended".into()))
    }
}
