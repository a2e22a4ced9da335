//! The custodian: holds shares of members' round secrets, signs seals, and reveals only what both seals
//! permit.

mod closing;
mod dealings;
mod phase;
mod planning;
mod sealing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::policy::Policy;
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::{Body, Signature};
use rand_core::CryptoRng;

use crate::bars::Bars;
use crate::ending::{ChainPosition, KnownEnding};
use crate::fault::{Fault, Misbehaviour};
use crate::openings::OpeningHistory;
use crate::statement::body_digest;
use phase::CustodianPhase;

/// What the driver of a custodian must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CustodianOutput {
    /// Write this to disk, and wait until it is there, before anything after it is sent (`ROUND-04`).
    Keep(SignedRecord),
    /// The same for what this custodian helps to open, which stays over rounds and epochs (`ROUND-30`).
    KeepOpening(OpeningRecord),
    /// Send a frame to the coordinator.
    Send(Frame),
    /// This custodian's policy does not admit the plan of a round: it signs nothing but the round's abort.
    Declined {
        /// The round of the plan.
        round: Round,
        /// Which limit of the policy the plan exceeds.
        reason: String,
    },
}

/// The steps of a round that a custodian signs for, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SignedStep {
    /// The first seal.
    Seal1,
    /// The second seal or the abort: one of them, never both.
    Outcome,
    /// The closing.
    Closing,
}

/// That this custodian signed a body: what it must remember over a restart, so that it never signs another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedRecord {
    /// The round of the body.
    pub round: Round,
    /// The step that it signed for.
    pub step: SignedStep,
    /// Digest of the body.
    pub body: Digest,
}

/// Whether a custodian knows everything that it ever signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// Its journal has everything.
    Whole,
    /// Its disk was restored from a backup, and may lack what it signed since.
    Restored,
    /// The same, and it does not take part in the round of this plan, which names the receiving key that it
    /// made since. Once the others close that round, whatever it forgot is over.
    Watching(Digest),
}

/// What a custodian starts from.
#[derive(Debug)]
pub struct CustodianConfig {
    /// The custodian's number in the consortium file.
    pub id: PartyId,
    /// The key that the consortium file lists for it.
    pub key: Arc<SigningKey>,
    /// The consortium file, checked.
    pub epoch: Arc<Epoch>,
    /// What this custodian accepts of a plan.
    pub policy: Policy,
    /// Digest of the model that the epoch starts from.
    pub model: Digest,
    /// What it signed in this epoch before it restarted, from its journal.
    pub signed: Vec<SignedRecord>,
    /// What it helped to open in this and earlier epochs, from its journal.
    pub openings: OpeningHistory,
}

/// The custodian's state machine.
#[derive(Debug)]
pub struct Custodian {
    id: PartyId,
    key: Arc<SigningKey>,
    epoch: Arc<Epoch>,
    policy: Policy,
    chain: ChainPosition,
    /// The digest of everything that it signed in this epoch.
    signed: BTreeMap<(Round, SignedStep), Digest>,
    openings: OpeningHistory,
    bars: Bars,
    memory: Memory,
    /// The receiving key of one round, in memory only. It is made before the plan that names it.
    receiving: Option<(Round, ScalarSecret)>,
    phase: CustodianPhase,
    outputs: VecDeque<CustodianOutput>,
}

impl Custodian {
    /// A custodian before its first frame, restored from its journal if it has one.
    pub fn new(config: CustodianConfig) -> Self {
        let CustodianConfig { id, key, epoch, policy, model, signed, openings } = config;
        let memory = if openings.is_unsettled(Role::Custodian) { Memory::Restored } else { Memory::Whole };
        Self {
            id,
            key,
            policy,
            chain: ChainPosition::genesis(&epoch, model),
            epoch,
            signed: signed.into_iter().map(|record| ((record.round, record.step), record.body)).collect(),
            openings,
            bars: Bars::default(),
            memory,
            receiving: None,
            phase: CustodianPhase::Idle,
            outputs: VecDeque::new(),
        }
    }

    /// A custodian whose disk was restored from a backup (`ROUND-04`).
    ///
    /// It signs nothing until a quorum of the others has closed a round whose plan names a receiving key that
    /// it made since: whatever it signed before, that round is over. It does not know what it helped to open
    /// either, so it signs no second seal before an epoch whose first round was such a round.
    pub fn restored_from_backup(mut self) -> Self {
        self.memory = Memory::Restored;
        let record = self.openings.restored();
        self.keep_opening(record);
        self
    }

    /// Judges plans by another policy from the next one on (`PLAN-20`).
    pub fn replace_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether it holds a receiving key: between the request for one and the end of the round (`ROUND-26`).
    pub fn holds_receiving_key(&self) -> bool {
        self.receiving.is_some()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<CustodianOutput> {
        self.outputs.pop_front()
    }

    /// Takes a frame of the coordinator.
    ///
    /// # Errors
    /// A frame that breaks a rule, or one that is unexpected in this phase. Nothing is signed or revealed for
    /// it.
    pub fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let message = match frame {
            Frame::Chunk(chunk) => {
                return self.handle_chunk(&chunk).map_err(Misbehaviour::by_coordinator);
            }
            Frame::Message(message) => message,
        };
        match message {
            Message::KeyRequest { round } => self.handle_key_request(round, random),
            Message::Plan { plan, receiving_keys, previous } => {
                self.handle_plan(&plan, &receiving_keys, previous.as_ref())
            }
            Message::Announcement(signed) => self.handle_announcement(&signed),
            Message::Letter { dealer, custodian, sealed, .. } if custodian == self.id => {
                self.handle_letter(dealer, &sealed, random)
            }
            Message::ProposeSeal2 { seal, uploads } => self.handle_propose_seal2(&seal, &uploads),
            other => self.handle_statement(other).map_err(Misbehaviour::by_coordinator),
        }
    }

    /// Takes a message for whose faults the coordinator alone is to blame.
    fn handle_statement(&mut self, message: Message) -> Result<(), Misbehaviour> {
        match message {
            Message::ProposeSeal1 { manifest, seal } => self.handle_propose_seal1(manifest, &seal),
            Message::Sealed1 { manifest, certificate, .. } => self.handle_sealed1(manifest, &certificate),
            Message::ProposeAbort { abort } => self.handle_propose_abort(&abort),
            Message::Sealed2 { certificate } => self.handle_sealed2(&certificate),
            Message::SeedSharesRequest { round, dealer } => self.handle_seed_shares_request(round, dealer),
            Message::BadDealing(evidence) => self.bars.take(&self.epoch, &evidence),
            Message::Revealed { round, reveal } => self.handle_revealed(round, &reveal),
            Message::MaskedBlock { round, member, block, path } => {
                self.handle_masked_block(round, (member, block), path)
            }
            Message::LateSketches(signed) => {
                let (context, recomputation) = self.phase.opening_mut("late sketches")?;
                recomputation.take_sketches(context, &signed)
            }
            Message::BlameAnswer(signed) => {
                let (context, recomputation) = self.phase.opening_mut("a blame answer")?;
                recomputation.take_answer(context, &signed)
            }
            Message::PairOpened { round, opening } => {
                let (context, recomputation) = self.phase.opening_mut("an opened pair")?;
                recomputation.take_pair_opening(context, round, &opening)
            }
            Message::OldParameters(part) => self.handle_old_parameters(&part),
            Message::ProposeClosing { closing, recompute } => {
                self.handle_propose_closing(&closing, &recompute)
            }
            Message::Ended(ending) => self.handle_ended(&ending),
            _ => Err(Misbehaviour::TooEarly("a message that is not for custodians")),
        }
    }

    /// Takes the ending, and forgets every secret of the round.
    fn handle_ended(&mut self, ending: &Ending) -> Result<(), Misbehaviour> {
        let known = KnownEnding::check(ending, &self.epoch)?;
        self.take_ending(ending, &known);
        // By the round of the ending, not by the plan: a custodian that was away forgets the shares of
        // earlier rounds too.
        self.phase.end(known.round);
        // The coordinator may have kept copies of the letters, which this key opens: it must not outlive the
        // round.
        let is_over = self.receiving.as_ref().is_some_and(|(round, _)| *round <= known.round);
        if is_over && rule::in_force("ROUND-26") {
            self.receiving = None;
        }
        Ok(())
    }

    /// Takes an ending that a quorum has signed, from a plan or an `Ended` message alike.
    fn take_ending(&mut self, ending: &Ending, known: &KnownEnding) {
        self.chain.advance(known);
        let record = self.openings.ended(&self.epoch, ending, known);
        self.keep_opening(record);
        if self.memory == Memory::Watching(known.plan) && !known.is_abort() {
            self.memory = Memory::Whole;
            // The first plan of the epoch names a key that it made since the restore: it signed nothing in
            // this epoch that its records lack.
            if known.round == Round::FIRST {
                let record = self.openings.settled(Role::Custodian);
                self.keep_opening(record);
            }
        }
    }

    /// Whether a body may be signed: never another for the same step, never a step before one that was signed
    /// (`ROUND-03`).
    fn check_vote<T: Body>(&self, round: Round, step: SignedStep, body: &[u8]) -> Result<(), Misbehaviour> {
        if !rule::in_force("ROUND-03") {
            return Ok(());
        }
        if self.signed.get(&(round, step)).is_some_and(|signed| *signed != body_digest(body)) {
            return Err(Misbehaviour::Equivocation { what: T::TAG, round });
        }
        // Keys are ordered by round, then by step, so the last key is the furthest step that it signed.
        if self.signed.keys().next_back().is_some_and(|last| *last > (round, step)) {
            return Err(Misbehaviour::Order { what: T::TAG, round, after: "a later step or round" });
        }
        Ok(())
    }

    /// Signs a body. The record of it is put before the signature, so that it is on disk when the signature
    /// leaves; the same body is signed as often as it is proposed, because a signature may be lost with its
    /// link.
    fn vote<T: Body>(&mut self, round: Round, step: SignedStep, body: &[u8]) -> Result<(), Misbehaviour> {
        self.check_vote::<T>(round, step, body)?;
        let digest = body_digest(body);
        if self.signed.insert((round, step), digest).is_none() {
            self.outputs.push_back(CustodianOutput::Keep(SignedRecord { round, step, body: digest }));
        }
        let signature = Signature(self.key.sign(T::TAG, body));
        self.send(Message::Vote { body: digest, signature });
        Ok(())
    }

    fn keep_opening(&mut self, record: Option<OpeningRecord>) {
        self.outputs.extend(record.map(CustodianOutput::KeepOpening));
    }

    fn send(&mut self, message: Message) {
        self.outputs.push_back(CustodianOutput::Send(Frame::Message(message)));
    }
}
