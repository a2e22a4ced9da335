//! The member: trains, announces, uploads what it is summed in, reveals its seeds, applies the sums.

mod catching_up;
mod closing;
mod contributing;
mod late;
mod masking;
mod phase;
mod planning;
mod uploading;

use std::collections::VecDeque;
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::block::BlockShape;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::policy::Policy;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::{Announcement, Certificate, Seal2, Signed};
use rand_core::CryptoRng;

use catching_up::CatchingUp;
use phase::MemberPhase;

use crate::arriving::{ArrivingChange, ArrivingModel};
use crate::bars::Bars;
use crate::contribution::Contribution;
use crate::dealing::check_announcement;
use crate::ending::ChainPosition;
use crate::fault::{Fault, Misbehaviour, expect};
use crate::manifest::keep_announcement;
use crate::model::Model;
use crate::openings::OpeningHistory;
use crate::sealed::SealedCohorts;
use crate::statement::check_partys;

/// What the driver of a member must do, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum MemberOutput {
    /// Write to disk, and wait until it is there, that this member announced in this round. Its secrets are
    /// in memory only, so after a restart it does not take part in the rest of the round (`ROUND-04`).
    Keep(Round),
    /// Write to disk, and wait until it is there, what this member uploads and helps to open (`ROUND-30`).
    KeepOpening(OpeningRecord),
    /// Write to disk what is here of a model, so that it does not come again after a restart (`ROUND-42`). It
    /// need not be there before anything else happens.
    Arriving(ArrivingChange),
    /// Send a frame to the coordinator.
    Send(Frame),
    /// Train on the current model as the plan says, then call [`Member::contribute`] with the plan's digest. If the plan is a
    /// rehearsal, drop the result and call [`Member::rehearse`].
    Train {
        /// The digest of the plan's body, which names the training.
        digest: Digest,
        /// The admitted plan.
        plan: Box<RoundPlan>,
    },
    /// The previous round was aborted: check policy and budget again, then call [`Member::contribute_again`]
    /// with the plan's digest.
    SendAgain {
        /// The digest of the plan's body.
        digest: Digest,
        /// The admitted plan, with the settings of the aborted one but for deadlines.
        plan: Box<RoundPlan>,
    },
    /// The round closed with sums, and they are applied.
    Closed {
        /// The round that closed.
        round: Round,
        /// The model after it.
        model: Box<Model>,
        /// The blocks whose sums were applied.
        applied: Vec<BlockId>,
        /// Digest of the closing.
        closing: Digest,
        /// Whether the round was a rehearsal, which released nothing and applied nothing.
        rehearsal: bool,
        /// The opened blocks that this member is summed in, each with how many members are.
        summed: Vec<(BlockId, u32)>,
    },
    /// The model that this member lacked is here: the one after this round, or of the edition before the first.
    CaughtUp {
        /// The last round whose ending this member knows; 0 before the first.
        round: Round,
        /// The model.
        model: Box<Model>,
    },
    /// The round ended without a sum.
    Aborted(Round),
    /// This member does not take part in the round.
    Refused {
        /// The round of the plan.
        round: Round,
        /// The rule or limit that the plan breaks.
        reason: String,
    },
}

/// What a member trains, as its own task file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberTask {
    /// The digest of the task file.
    pub digest: Digest,
    /// The blocks of the task's model.
    pub blocks: Vec<BlockShape>,
}

/// The member's state machine.
#[derive(Debug)]
pub struct Member {
    id: PartyId,
    key: Arc<SigningKey>,
    epoch: Arc<Epoch>,
    policy: Policy,
    task: MemberTask,
    chain: ChainPosition,
    model: Model,
    /// Each block's parameters before the last closing that changed them, since this member began the epoch or fetched a
    /// model (`ALIGN-16`).
    before_last_changes: Option<Model>,
    last_announced: Option<Round>,
    phase: MemberPhase,
    /// The contribution to the model that `chain` names. After an abort it is sent again (`ROUND-03`).
    kept: Option<KeptContribution>,
    /// The last round that ended as a rehearsal of this member. Its ending says nothing of `kept` (`ROUND-39`).
    last_rehearsal: Option<Round>,
    openings: OpeningHistory,
    bars: Bars,
    catching_up: Option<CatchingUp>,
    /// What was on disk of any model, until this member knows which one it needs.
    arrived: Vec<ArrivingModel>,
    /// Whether another model has begun to arrive, which took the place on disk of the one that was there.
    is_arrived_replaced: bool,
    outputs: VecDeque<MemberOutput>,
}

/// A contribution, the model and settings that it was made for, and the last round it was announced in.
#[derive(Debug)]
struct KeptContribution {
    model: Digest,
    settings: RoundSettings,
    round: Round,
    contribution: Contribution,
}

/// What a member starts from.
#[derive(Debug)]
pub struct MemberConfig {
    /// The member's number in the consortium file.
    pub id: PartyId,
    /// The key that the consortium file lists for it.
    pub key: Arc<SigningKey>,
    /// The consortium file, checked.
    pub epoch: Arc<Epoch>,
    /// What this member accepts in a plan.
    pub policy: Policy,
    /// What this member trains.
    pub task: MemberTask,
    /// The model that the epoch starts from.
    pub model: Model,
    /// The last round that it announced in before it restarted, from its journal.
    pub last_announced: Option<Round>,
    /// What it uploaded and helped to open in this and earlier epochs, from its journal.
    pub openings: OpeningHistory,
    /// Models of which some or all parts are on its disk. It asks for the rest of the one that it needs.
    pub arrived: Vec<ArrivingModel>,
}

impl Member {
    /// A member before its first frame, restored from its journal if it has one.
    pub fn new(config: MemberConfig) -> Self {
        let MemberConfig { id, key, epoch, policy, task, model, last_announced, openings, arrived } = config;
        Self {
            id,
            key,
            policy,
            task,
            chain: ChainPosition::genesis(&epoch, model.digest()),
            epoch,
            model,
            before_last_changes: None,
            last_announced,
            phase: MemberPhase::Idle,
            kept: None,
            last_rehearsal: None,
            openings,
            bars: Bars::default(),
            catching_up: None,
            arrived,
            is_arrived_replaced: false,
            outputs: VecDeque::new(),
        }
    }

    /// A member whose disk was restored from a backup. It may have uploaded from any parameters that it sees
    /// in plans, until the others seal an announcement that it made since (`ROUND-38`).
    pub fn restored_from_backup(mut self) -> Self {
        let record = self.openings.restored();
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        self
    }

    /// Judges plans by another policy from the next one on (`PLAN-20`). It has a privacy budget if the present one has.
    pub fn replace_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The model after the last round that this member applied.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Each block's parameters before the last closing that changed them; those of the model in a block that no closing
    /// changed. None until this member has applied a closing that changed the model, and after it fetched one.
    pub fn before_last_changes(&self) -> Option<&Model> {
        self.before_last_changes.as_ref()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<MemberOutput> {
        self.outputs.pop_front()
    }

    /// Takes a frame of the coordinator.
    ///
    /// # Errors
    /// A frame that breaks a rule, or one that is unexpected in this phase; the state is unchanged.
    pub fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let message = match frame {
            Frame::Chunk(chunk) => {
                return self.handle_sum_chunk(&chunk).map_err(Misbehaviour::by_coordinator);
            }
            Frame::Message(message) => message,
        };
        match message {
            Message::Plan { plan, receiving_keys, previous } => {
                self.handle_plan(&plan, &receiving_keys, previous.as_ref())
            }
            Message::Announcement(signed) => self.handle_announcement(&signed),
            Message::Sealed1 { manifest, certificate, received } => {
                self.handle_sealed1(manifest, &certificate, received.as_deref())
            }
            Message::Sealed2 { certificate } => self.handle_sealed2(&certificate),
            Message::BadDealing(evidence) => {
                self.bars.take(&self.epoch, &evidence).map_err(Misbehaviour::by_coordinator)
            }
            Message::Revealed { round, reveal } => self.handle_revealed(round, &reveal),
            Message::LateRequest { round } => self.handle_late_request(round),
            Message::LateSketches(signed) => self.handle_late_sketches(&signed),
            Message::BlameRequest { round, block } => self.handle_blame_request(round, block),
            Message::BlameAnswer(signed) => self.handle_blame_answer(&signed, random),
            Message::ModelTable(table) => {
                self.handle_model_table(&table).map_err(Misbehaviour::by_coordinator)
            }
            Message::ModelPart(part) => self.handle_model_part(&part).map_err(Misbehaviour::by_coordinator),
            Message::Ended(ending) => self.handle_ended(&ending).map_err(Misbehaviour::by_coordinator),
            _ => Err(Fault::unexpected("a message that is not for members")),
        }
    }

    fn resend_announcement(&mut self) {
        if let Some(announcement) = self.phase.announcement() {
            self.outputs.extend(announcement.frames.iter().cloned().map(MemberOutput::Send));
        }
    }

    fn handle_announcement(&mut self, signed: &Signed<Announcement>) -> Result<(), Fault> {
        let planned = self.phase.planned_mut().ok_or(Fault::unexpected("an announcement"))?;
        let verified =
            check_partys(signed, &self.epoch, Role::Member).map_err(Misbehaviour::by_coordinator)?;
        let dealer = verified.signer();
        check_announcement(&planned.context, dealer, verified.body()).map_err(|what| what.by(dealer))?;
        keep_announcement(&mut planned.announcements, verified)
    }

    /// Reveals the seeds of this member's valid blocks, if the seal lists its upload (step 6).
    fn handle_sealed2(&mut self, certificate: &Certificate<Seal2>) -> Result<(), Fault> {
        let (planned, announcement, upload) = self.phase.uploaded("a second seal")?;
        let context = &planned.context;
        let cohorts = SealedCohorts::establish(context, upload.sealed.clone(), certificate)
            .map_err(Misbehaviour::by_coordinator)?;
        let Some(listed) = cohorts.uploaded().iter().find(|listed| listed.member == self.id) else {
            return Ok(());
        };
        // Another root would have custodians recompute the sum from blocks that this member did not send.
        expect("second seal", "our root", listed.root, upload.root).map_err(Misbehaviour::by_coordinator)?;
        let record = self
            .openings
            .sealed(context, &upload.sealed, cohorts.seal2().body())
            .map_err(Misbehaviour::by_coordinator)?;
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        let blocks = &cohorts.revealable(self.id).seeds;
        if !blocks.is_empty() {
            let seeds = announcement.secrets.reveal_seeds(context, blocks);
            let message = Message::Seeds { round: context.round(), seeds };
            self.outputs.push_back(MemberOutput::Send(Frame::Message(message)));
        }
        self.phase.reveal(cohorts);
        Ok(())
    }

    fn keep_opening(&mut self, record: Option<OpeningRecord>) {
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
    }

    fn send(&mut self, message: Message) {
        self.outputs.push_back(MemberOutput::Send(Frame::Message(message)));
    }
}
