//! The custodian: holds shares of members' round secrets, signs seals, and reveals only what both seals permit.

mod closing;
mod planning;
mod sealing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::letter::{self, LetterEvidence};
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::policy::Policy;
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::{Announcement, Body, ReceivingKey, Signature, Signed};
use rand_core::CryptoRng;

use crate::bars::Bars;
use crate::dealing::{HeldShares, check_announcement, is_announced_letter};
use crate::ending::{ChainPosition, KnownEnding};
use crate::fault::{Fault, Misbehaviour};
use crate::late::LateEvidence;
use crate::manifest::{Announcements, keep_announcement};
use crate::openings::OpeningHistory;
use crate::recompute::{ClosedBlock, HandedBlocks};
use crate::reveals::CheckedReveals;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SealedManifest};
use crate::statement::{body_digest, check_partys, sign};

/// What the driver of a custodian must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CustodianOutput {
    /// Write this to disk (and wait until it is there) before anything after it is sent (`ROUND-04`).
    Keep(SignedRecord),
    /// The same of what this custodian helps to open, which is kept over rounds and epochs (`ROUND-30`).
    KeepOpening(OpeningRecord),
    /// Send a frame to the coordinator.
    Send(Frame),
    /// This custodian's policy does not admit the plan of a round: it signs nothing but its abort.
    Declined {
        /// The round.
        round: Round,
        /// The limit of the policy.
        reason: String,
    },
}

/// The steps of a round that a custodian signs for, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SignedStep {
    /// The first seal.
    Seal1,
    /// The second seal, or the abort: one of them.
    Outcome,
    /// The closing.
    Closing,
}

/// That this custodian signed a body: what it must remember over a restart, so that it never signs another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedRecord {
    /// The round.
    pub round: Round,
    /// The step.
    pub step: SignedStep,
    /// Digest of the body.
    pub body: Digest,
}

/// Whether a custodian knows all that it ever signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// Its journal has everything.
    Whole,
    /// Its disk was restored from a backup, and may lack what it signed since.
    Restored,
    /// The same; it takes no part in the round of this plan, which names its fresh receiving key.
    Watching(Digest),
}

/// The custodian's state machine.
#[derive(Debug)]
pub struct Custodian {
    id: PartyId,
    key: Arc<SigningKey>,
    epoch: Arc<Epoch>,
    policy: Policy,
    chain: ChainPosition,
    /// Everything signed in this epoch, by round and step.
    signed: BTreeMap<(Round, SignedStep), Digest>,
    openings: OpeningHistory,
    bars: Bars,
    memory: Memory,
    receiving: Option<(Round, ScalarSecret)>,
    round: Option<RoundState>,
    /// A round whose plan its policy does not admit, so that it signs nothing but its abort.
    declined: Option<RoundContext>,
    outputs: VecDeque<CustodianOutput>,
}

#[derive(Debug)]
struct RoundState {
    context: RoundContext,
    announcements: Announcements,
    shares: BTreeMap<PartyId, HeldShares>,
    sealed: Option<SealedManifest>,
    cohorts: Option<SealedCohorts>,
    handed: HandedBlocks,
    reveals: CheckedReveals,
    evidence: LateEvidence,
    /// The sums that this custodian recomputed; a block's permit is used up whether its sum was right or not.
    recomputed: BTreeMap<BlockId, ClosedBlock>,
}

impl Custodian {
    /// A custodian with what it signed before a restart, and what it helped to open.
    pub fn new(
        id: PartyId,
        key: Arc<SigningKey>,
        epoch: Arc<Epoch>,
        policy: Policy,
        model: Digest,
        (records, openings): (impl IntoIterator<Item = SignedRecord>, OpeningHistory),
    ) -> Self {
        let chain = ChainPosition::genesis(&epoch, model);
        let signed = records.into_iter().map(|record| ((record.round, record.step), record.body)).collect();
        let (receiving, round, outputs) = (None, None, VecDeque::new());
        let memory = if openings.is_unsettled(Role::Custodian) { Memory::Restored } else { Memory::Whole };
        let bars = Bars::default();
        let declined = None;
        Self {
            id,
            key,
            epoch,
            policy,
            chain,
            signed,
            openings,
            bars,
            memory,
            receiving,
            round,
            declined,
            outputs,
        }
    }

    /// A custodian whose disk was restored from a backup. It signs nothing until a quorum of the others has closed a
    /// round whose plan names a receiving key that it made since: whatever it signed before, that round is over. As it does not know
    /// what it helped to open, it signs no second seal before an epoch whose first round was such a round (`ROUND-04`).
    pub fn restored_from_backup(mut self) -> Self {
        self.memory = Memory::Restored;
        let record = self.openings.restored();
        self.outputs.extend(record.map(CustodianOutput::KeepOpening));
        self
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
    /// A frame that breaks a rule or is not awaited; nothing is signed or revealed for it.
    pub fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        let message = match frame {
            Frame::Chunk(chunk) => return self.handle_chunk(&chunk).map_err(by),
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
            Message::ProposeSeal1 { manifest, seal } => {
                self.handle_propose_seal1(manifest, &seal).map_err(by)
            }
            Message::Sealed1 { manifest, certificate, .. } => {
                self.handle_sealed1(manifest, &certificate).map_err(by)
            }
            Message::ProposeSeal2 { seal, uploads } => self.handle_propose_seal2(&seal, &uploads),
            Message::ProposeAbort { abort } => self.handle_propose_abort(&abort).map_err(by),
            Message::Sealed2 { certificate } => self.handle_sealed2(&certificate),
            Message::SeedSharesRequest { round, dealer } => self.handle_seed_shares_request(round, dealer),
            Message::BadDealing(evidence) => self.bars.take(&self.epoch, &evidence).map_err(by),
            Message::Revealed { round, reveal } => self.handle_revealed(round, &reveal).map_err(by),
            Message::MaskedBlock { round, member, block, path } => {
                self.handle_masked_block(round, (member, block), path).map_err(by)
            }
            Message::LateSketches(signed) => self
                .take_evidence("late sketches", |evidence, context, cohorts| {
                    evidence.take_sketches(context, cohorts, &signed)
                })
                .map_err(by),
            Message::BlameAnswer(signed) => self
                .take_evidence("an answer", |evidence, context, cohorts| {
                    evidence.take_answer(context, cohorts, &signed)
                })
                .map_err(by),
            Message::PairOpened { round, opening } => self
                .take_evidence("an opened pair", |evidence, context, cohorts| {
                    evidence.take_opening(context, cohorts, (round, &opening))
                })
                .map_err(by),
            Message::OldParameters(part) => self.handle_old_parameters(&part).map_err(by),
            Message::ProposeClosing { closing, recompute } => {
                self.handle_propose_closing(&closing, &recompute).map_err(by)
            }
            Message::Ended(ending) => self.handle_ended(&ending).map_err(by),
            _ => Err(not_awaited("a message that is not for custodians")),
        }
    }

    /// Makes a receiving key for one round; the secret stays in memory and is erased at the close. A key that letters
    /// of the round under way are for is not given up for another (`ROUND-28`).
    fn handle_key_request(&mut self, round: Round, random: &mut impl CryptoRng) -> Result<(), Fault> {
        if round <= self.chain.round {
            self.tell_ahead(round);
            return Err(not_awaited("a request for the key of a round that ended"));
        }
        let is_other = |state: &RoundState| state.context.round() != round;
        if self.round.as_ref().is_some_and(is_other) && rule::in_force("ROUND-28") {
            return Err(not_awaited("a request for the key of another round than the one under way"));
        }
        if self.receiving.as_ref().is_none_or(|(made_for, _)| *made_for != round) {
            self.receiving = Some((round, ScalarSecret::random(random)));
        }
        if let Some((_, secret)) = &self.receiving {
            let key = ReceivingKey { epoch: self.epoch.digest(), round, key: secret.public().bytes() };
            let signed = sign(&self.key, self.id, &key);
            self.send(Message::ReceivingKey(signed));
        }
        Ok(())
    }

    fn handle_announcement(&mut self, signed: &Signed<Announcement>) -> Result<(), Fault> {
        let state = self.round.as_mut().ok_or(not_awaited("an announcement"))?;
        let verified =
            check_partys(signed, &self.epoch, Role::Member).map_err(|what| what.by(PartyId::COORDINATOR))?;
        let dealer = verified.signer();
        check_announcement(&state.context, dealer, verified.body()).map_err(|what| what.by(dealer))?;
        keep_announcement(&mut state.announcements, verified)
    }

    /// Opens a letter and says whether it holds what was committed to; if not, shows it (`ROUND-24`).
    fn handle_letter(
        &mut self,
        dealer: PartyId,
        sealed: &[u8],
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let state = self.round.as_mut().ok_or(not_awaited("a letter"))?;
        let announced =
            state.announcements.get(&dealer).ok_or(not_awaited("a letter before its announcement"))?;
        let receiving = self.receiving.as_ref().filter(|(round, _)| *round == state.context.round());
        let (_, secret) = receiving.ok_or(not_awaited("a letter under a key that is erased"))?;
        let round = state.context.round();
        let announced = (dealer, announced.body());
        match HeldShares::open(&state.context, self.id, secret, announced, sealed) {
            Ok(shares) => {
                state.shares.insert(dealer, shares);
                self.send(Message::LetterOpened { round, dealer });
                Ok(())
            }
            Err(what) => {
                let context = state.context.dealing(dealer);
                let context = context.letter_context(state.context.plan_digest(), self.id);
                // Of a letter that was not announced, or that begins with another's key, nothing is shown: it could
                // open an honest member's letter.
                let evidence = is_announced_letter(self.id, announced.1, sealed)
                    .then(|| letter::expose(sealed, secret, &context, random).ok().unwrap_or(NO_EVIDENCE));
                if let Some(LetterEvidence { agreed, proof }) = evidence {
                    self.send(Message::LetterFault { round, dealer, agreed, proof });
                }
                Err(what.by(dealer))
            }
        }
    }

    /// Takes the ending, and forgets every secret of the round.
    fn handle_ended(&mut self, ending: &Ending) -> Result<(), Misbehaviour> {
        let known = KnownEnding::check(ending, &self.epoch)?;
        self.take_ending(ending, &known);
        if self.round.as_ref().is_some_and(|state| state.context.round() <= known.round) {
            self.round = None;
        }
        self.declined.take_if(|context| context.round() <= known.round);
        let is_over = self.receiving.as_ref().is_some_and(|(round, _)| *round <= known.round);
        if is_over && rule::in_force("ROUND-26") {
            self.receiving = None;
        }
        Ok(())
    }

    /// Takes an ending into account that a quorum has signed, whatever message brought it.
    fn take_ending(&mut self, ending: &Ending, known: &KnownEnding) {
        self.chain.advance(known);
        let record = self.openings.ended(&self.epoch, ending, known);
        self.outputs.extend(record.map(CustodianOutput::KeepOpening));
        if self.memory == Memory::Watching(known.plan) && !known.is_abort() {
            self.memory = Memory::Whole;
            if known.round == Round::FIRST {
                let record = self.openings.settled(Role::Custodian);
                self.outputs.extend(record.map(CustodianOutput::KeepOpening));
            }
        }
    }

    /// Whether a body may be signed: never another for the same step, never a step before one that was signed (`ROUND-03`).
    fn check_vote<T: Body>(&self, round: Round, step: SignedStep, body: &[u8]) -> Result<(), Misbehaviour> {
        let digest = body_digest(body);
        let is_other = self.signed.get(&(round, step)).is_some_and(|before| *before != digest);
        if is_other && rule::in_force("ROUND-03") {
            return Err(Misbehaviour::Equivocation { what: T::TAG, round });
        }
        let is_past = self.signed.keys().next_back().is_some_and(|last| *last > (round, step));
        if is_past && rule::in_force("ROUND-03") {
            return Err(Misbehaviour::Order { what: T::TAG, round, after: "a later step or round" });
        }
        Ok(())
    }

    /// Signs a body once.
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

    fn send(&mut self, message: Message) {
        self.outputs.push_back(CustodianOutput::Send(Frame::Message(message)));
    }
}

/// A letter without a proven ephemeral key shows by itself that it is bad.
const NO_EVIDENCE: LetterEvidence = LetterEvidence { agreed: [0; 32], proof: [0; 64] };

fn not_awaited(what: &'static str) -> Fault {
    Fault::NotAwaited { peer: PartyId::COORDINATOR, what }
}

fn no_round(what: &'static str) -> Misbehaviour {
    Misbehaviour::TooEarly(what)
}
