//! The member: trains, announces, uploads what it is summed in, reveals its seeds, applies the sums.

mod catching_up;
mod closing;
mod late;
mod masking;
mod planning;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::block::BlockShape;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::{RoundPlan, RoundSettings};
use cloister_params::policy::Policy;
use cloister_params::rule;
use cloister_wire::frame::{Frame, chunks};
use cloister_wire::message::Message;
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::{Announcement, Certificate, Seal1, Seal2, Signed, Upload};
use rand_core::CryptoRng;

use catching_up::CatchingUp;
use late::OwnLate;
use masking::Masking;

use crate::bars::Bars;
use crate::contribution::Contribution;
use crate::dealing::{RoundSecrets, Terms, check_announcement};
use crate::ending::ChainPosition;
use crate::fault::{Fault, Misbehaviour, expect};
use crate::manifest::{Announcements, CheckedManifest, keep_announcement};
use crate::model::Model;
use crate::opening::{MaskedBlocks, upload_root};
use crate::openings::OpeningHistory;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SealedManifest, upload_body};
use crate::statement::{check_partys, sign};

/// What the driver of a member must do, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum MemberOutput {
    /// Write to disk that this member announced in this round (and wait until it is there) before anything after
    /// it is sent: its secrets live in memory only, so that after a restart it sits the round out (`ROUND-04`).
    Keep(Round),
    /// Write to disk what this member helps to open, over rounds and epochs (and wait until it is there), before anything
    /// after it is sent (`ROUND-30`).
    KeepOpening(OpeningRecord),
    /// Send a frame to the coordinator.
    Send(Frame),
    /// Train on the current model as the plan says, then call [`Member::contribute`] with the plan's digest.
    Train {
        /// The digest of the plan's body, which names the training.
        digest: Digest,
        /// The plan.
        plan: Box<RoundPlan>,
    },
    /// The round before was aborted: check policy and budget once more, then call [`Member::contribute_again`] with the plan's
    /// digest.
    SendAgain {
        /// The digest of the plan's body.
        digest: Digest,
        /// The plan.
        plan: Box<RoundPlan>,
    },
    /// The round closed and this is the model after it.
    Closed {
        /// The round.
        round: Round,
        /// The model after it.
        model: Box<Model>,
        /// The blocks whose sums were applied.
        applied: Vec<BlockId>,
        /// Digest of the closing.
        closing: Digest,
        /// The opened blocks that this member is summed in, each with how many members are.
        summed: Vec<(BlockId, u32)>,
    },
    /// The round ended without a sum.
    Aborted(Round),
    /// This party takes no part in the round.
    Refused {
        /// The round.
        round: Round,
        /// Why.
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
    last_announced: Option<Round>,
    round: Option<RoundState>,
    /// The contribution to the model that `chain` names: after an abort the same one is sent again (`ROUND-03`).
    kept: Option<Kept>,
    openings: OpeningHistory,
    bars: Bars,
    catching_up: Option<CatchingUp>,
    outputs: VecDeque<MemberOutput>,
}

/// A contribution, with the model and the settings that it was made for, and the last round that it was announced in.
#[derive(Debug)]
struct Kept {
    model: Digest,
    settings: RoundSettings,
    round: Round,
    contribution: Contribution,
}

#[derive(Debug)]
struct RoundState {
    context: RoundContext,
    announcements: Announcements,
    own: Option<OwnAnnouncement>,
    upload: Option<OwnUpload>,
    cohorts: Option<SealedCohorts>,
    late: OwnLate,
    sums: BTreeMap<BlockId, Vec<u8>>,
}

#[derive(Debug)]
struct OwnAnnouncement {
    secrets: RoundSecrets,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct OwnUpload {
    sealed: SealedManifest,
    blocks: MaskedBlocks,
    root: Digest,
    signed: Signed<Upload>,
}

impl Member {
    /// A member before the first round, holding the model that the consortium starts from, the last round
    /// that it announced in before a restart, and what it helped to open.
    pub fn new(
        id: PartyId,
        key: Arc<SigningKey>,
        epoch: Arc<Epoch>,
        policy: Policy,
        task: MemberTask,
        model: Model,
        (last_announced, openings): (Option<Round>, OpeningHistory),
    ) -> Self {
        let chain = ChainPosition::genesis(&epoch, model.digest());
        Self {
            id,
            key,
            epoch,
            policy,
            task,
            chain,
            model,
            last_announced,
            round: None,
            kept: None,
            openings,
            bars: Bars::default(),
            catching_up: None,
            outputs: VecDeque::new(),
        }
    }

    /// A member whose disk was restored from a backup: it may have uploaded from the parameters of the plans that it sees, until the
    /// others seal an announcement that it made since (`ROUND-38`).
    pub fn restored_from_backup(mut self) -> Self {
        let record = self.openings.restored();
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        self
    }

    /// The model after the last round that this member applied.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<MemberOutput> {
        self.outputs.pop_front()
    }

    /// Takes a frame of the coordinator.
    ///
    /// # Errors
    /// A frame that breaks a rule or is not awaited; the state is unchanged.
    pub fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        match frame {
            Frame::Chunk(chunk) => self.handle_sum_chunk(chunk).map_err(by),
            Frame::Message(Message::Plan { plan, receiving_keys, previous }) => {
                self.handle_plan(&plan, &receiving_keys, previous.as_ref())
            }
            Frame::Message(Message::Announcement(signed)) => self.handle_announcement(&signed),
            Frame::Message(Message::Sealed1 { manifest, certificate, received }) => {
                self.handle_sealed1(manifest, &certificate, &received)
            }
            Frame::Message(Message::Sealed2 { certificate }) => self.handle_sealed2(&certificate),
            Frame::Message(Message::BadDealing(evidence)) => {
                self.bars.take(&self.epoch, &evidence).map_err(by)
            }
            Frame::Message(Message::Revealed { round, reveal }) => self.handle_revealed(round, &reveal),
            Frame::Message(Message::LateRequest { round }) => self.handle_late_request(round),
            Frame::Message(Message::LateSketches(signed)) => self.handle_late_sketches(&signed),
            Frame::Message(Message::BlameRequest { round, block }) => self.handle_blame_request(round, block),
            Frame::Message(Message::BlameAnswer(signed)) => self.handle_blame_answer(&signed, random),
            Frame::Message(Message::ModelPart(part)) => self.handle_model_part(&part).map_err(by),
            Frame::Message(Message::Ended(ending)) => self.handle_ended(&ending).map_err(by),
            Frame::Message(_) => Err(not_awaited("a message that is not for members")),
        }
    }

    /// Whether the result of a training for the plan of this digest is awaited.
    pub fn awaits_contribution(&self, plan: Digest) -> bool {
        let for_plan = |state: &RoundState| state.context.plan_digest() == plan || !rule::in_force("PRIV-14");
        self.round.as_ref().is_some_and(|state| for_plan(state) && state.own.is_none())
    }

    /// Takes the result of local training for the plan of this digest, and announces it (step 2).
    ///
    /// # Errors
    /// A contribution that no training was asked for, or that has not the plan's shape.
    pub fn contribute(
        &mut self,
        plan: Digest,
        contribution: Contribution,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let misuse = Fault::ApiMisuse;
        // PRIV-14
        if !self.awaits_contribution(plan) {
            return Err(misuse("no contribution to this plan is awaited"));
        }
        let state = self.round.as_mut().ok_or(misuse("no round is under way"))?;
        let round = state.context.round();
        if rule::in_force("MASK-07") && !contribution.fits(&state.context) {
            return Err(misuse("the contribution has not the plan's blocks"));
        }
        let settings = state.context.plan().settings.clone();
        self.kept = Some(Kept { model: self.chain.model, settings, round, contribution });
        self.announce(random)
    }

    /// Announces the contribution of an aborted round in this one.
    ///
    /// # Errors
    /// Nothing is kept, or nothing of it is awaited.
    pub fn contribute_again(&mut self, plan: Digest, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let is_awaited = self.awaits_contribution(plan);
        let kept = self.kept.as_mut().filter(|kept| is_awaited && kept.model == self.chain.model);
        let (Some(state), Some(kept)) = (&self.round, kept) else {
            return Err(Fault::ApiMisuse("no contribution is to be sent again"));
        };
        kept.round = state.context.round();
        self.announce(random)
    }

    /// Announces what is kept, under fresh secrets.
    fn announce(&mut self, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let misuse = Fault::ApiMisuse("nothing is kept that could be announced");
        let (Some(state), Some(kept)) = (&mut self.round, &self.kept) else { return Err(misuse) };
        let round = state.context.round();
        let secrets = RoundSecrets::generate(self.id, random);
        let terms =
            Terms { has_budget: self.policy.privacy.is_some(), closed: self.openings.closed(&state.context) };
        let contribution = (&kept.contribution, terms);
        let (announcement, letters) = secrets.announce(&state.context, contribution, random);
        let signed = sign(&self.key, self.id, &announcement);
        let mut frames = vec![Frame::Message(Message::Announcement(signed))];
        frames.extend(letters.into_iter().map(|letter| {
            Frame::Message(Message::Letter {
                round,
                dealer: self.id,
                custodian: letter.custodian,
                sealed: letter.sealed,
            })
        }));
        state.own = Some(OwnAnnouncement { secrets, frames });
        self.last_announced = Some(round);
        self.outputs.push_back(MemberOutput::Keep(round));
        self.resend_announcement();
        Ok(())
    }

    fn resend_announcement(&mut self) {
        let own = self.round.as_ref().and_then(|state| state.own.as_ref());
        let frames = own.map(|own| own.frames.clone()).unwrap_or_default();
        self.outputs.extend(frames.into_iter().map(MemberOutput::Send));
    }

    fn handle_announcement(&mut self, signed: &Signed<Announcement>) -> Result<(), Fault> {
        let state = self.round.as_mut().ok_or(not_awaited("an announcement"))?;
        let verified =
            check_partys(signed, &self.epoch, Role::Member).map_err(|what| what.by(PartyId::COORDINATOR))?;
        check_announcement(&state.context, verified.signer(), verified.body())
            .map_err(|what| what.by(verified.signer()))?;
        keep_announcement(&mut state.announcements, verified)
    }

    /// Checks manifest and certificate, then masks and uploads each block that this member is summed in (step 4).
    fn handle_sealed1(
        &mut self,
        manifest: Vec<u8>,
        certificate: &Certificate<Seal1>,
        received: &[BlockId],
    ) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        let state = self.round.as_mut().ok_or(not_awaited("a first seal"))?;
        let own = state.own.as_ref().ok_or(not_awaited("a first seal"))?;
        if state.upload.is_none() {
            let manifest =
                CheckedManifest::check(&state.context, manifest, &state.announcements).map_err(by)?;
            if !manifest.announcements().contains_key(&self.id) {
                return Err(not_awaited("a first seal without this member"));
            }
            let sealed = SealedManifest::establish(&state.context, manifest, certificate).map_err(by)?;
            let kept = self.kept.as_ref().ok_or(Fault::ApiMisuse("no contribution is kept"))?;
            let masking =
                Masking { id: self.id, context: &state.context, sealed: &sealed, secrets: &own.secrets };
            let blocks = masking.all(&kept.contribution);
            let root = upload_root(&blocks);
            let body = upload_body(&state.context, &sealed, root);
            let signed = sign(&self.key, self.id, &body);
            let settled = self.openings.settled(Role::Member);
            self.outputs.extend(settled.map(MemberOutput::KeepOpening));
            let record = self.openings.uploading(&state.context, blocks.keys().copied());
            state.upload = Some(OwnUpload { sealed, blocks, root, signed });
            self.outputs.extend(record.map(MemberOutput::KeepOpening));
        }
        self.send_upload(received);
        Ok(())
    }

    fn send_upload(&mut self, received: &[BlockId]) {
        let Some(state) = &self.round else { return };
        let Some(upload) = &state.upload else { return };
        let (round, received) = (state.context.round(), received.iter().collect::<BTreeSet<_>>());
        for (block, packed) in upload.blocks.iter().filter(|(block, _)| !received.contains(block)) {
            let frames = chunks(round, self.id, *block, packed).map(Frame::Chunk);
            self.outputs.extend(frames.map(MemberOutput::Send));
        }
        let uploaded = Frame::Message(Message::Uploaded(upload.signed.clone()));
        self.outputs.push_back(MemberOutput::Send(uploaded));
    }

    /// Reveals the seeds of valid blocks that this member is summed in, if the seal has its upload (step 6).
    fn handle_sealed2(&mut self, certificate: &Certificate<Seal2>) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        let state = self.round.as_mut().ok_or(not_awaited("a second seal"))?;
        let (Some(own), Some(upload)) = (&state.own, &state.upload) else {
            return Err(not_awaited("a second seal"));
        };
        let cohorts =
            SealedCohorts::establish(&state.context, upload.sealed.clone(), certificate).map_err(by)?;
        let Some(listed) = cohorts.uploaded().iter().find(|listed| listed.member == self.id) else {
            return Ok(());
        };
        expect("second seal", "our root", listed.root, upload.root).map_err(by)?;
        let record =
            self.openings.sealed(&state.context, &upload.sealed, cohorts.seal2().body()).map_err(by)?;
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        let blocks = &cohorts.revealable(self.id).seeds;
        if !blocks.is_empty() {
            let seeds = own.secrets.reveal_seeds(&state.context, blocks);
            let message = Message::Seeds { round: state.context.round(), seeds };
            self.outputs.push_back(MemberOutput::Send(Frame::Message(message)));
        }
        state.cohorts = Some(cohorts);
        Ok(())
    }
}

fn not_awaited(what: &'static str) -> Fault {
    Fault::NotAwaited { peer: PartyId::COORDINATOR, what }
}
