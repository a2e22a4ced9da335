//! The coordinator: relays, scores, proposes, sums. It holds no share and no key that opens anything; every
//! step forward needs a quorum of custodians.
//!
//! [`Coordinator`] walks through the phases of `protocols/round.md`: keys, announcing, first seal, uploading,
//! second seal (or abort), revealing, closing.

mod additions;
mod ballot;
mod checking;
mod closing;
mod collecting;
mod ending;
mod giving_up;
mod input;
mod model_sending;
mod output;
mod restoring;
mod revealing;
mod sealing;
mod uploads;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::letter::LetterEvidence;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundSettings;
use cloister_transcript::RoundLog;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{AbortReason, ManifestCohort, ReceivingKey, Signed};

use crate::bars::Bars;
use crate::ending::ChainPosition;
use crate::fault::Fault;
use crate::manifest::Announcements;
use crate::model::Model;
use crate::openings::OpeningHistory;
use crate::round::RoundContext;
use additions::LogAdditions;
use ballot::Ballot;
use checking::Checking;
use closing::Recomputing;
use revealing::Revealing;
use sealing::{Sealing1, Sealing2, Uploading};

pub use input::{Input, InputError};
pub use model_sending::{ModelParts, ModelUnderWay, OutdatedModel, check_missing};
pub use output::{CoordinatorOutput, Event, RoundPhase, RoundReport};
pub use restoring::{CoordinatorCheckpoint, RestoreError};
pub use uploads::Erasure;

/// Milliseconds since an origin of the driver's choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(pub u64);

/// The coordinator's state machine.
#[derive(Debug)]
pub struct Coordinator {
    key: Arc<SigningKey>,
    epoch: Arc<Epoch>,
    chain: ChainPosition,
    model: Model,
    last_ending: Option<Ending>,
    /// The sums of the last round, for members that were away when it ended; until the next plan.
    last_sums: Vec<Frame>,
    /// What was opened from the present parameters, so that repeats are listed before custodians reject the
    /// seal.
    openings: OpeningHistory,
    /// Evidence of bad dealings, which bars its dealers.
    bars: Bars,
    connected: BTreeSet<PartyId>,
    round: Option<ActiveRound>,
    deadline: Option<Time>,
    outputs: VecDeque<CoordinatorOutput>,
}

#[derive(Debug)]
struct ActiveRound {
    number: Round,
    settings: RoundSettings,
    refused: BTreeSet<PartyId>,
    /// Custodians that sent a `Refusal`: nobody waits until they have opened letters.
    silent_custodians: BTreeSet<PartyId>,
    /// Custodians that know how this round, or a later one, ended.
    ahead: BTreeMap<PartyId, Round>,
    phase: CoordinatorPhase,
}

#[derive(Debug)]
enum CoordinatorPhase {
    Keys(BTreeMap<PartyId, Signed<ReceivingKey>>),
    Announcing(Box<Announced>),
    Sealing1(Box<Announced>, Box<Sealing1>),
    Uploading(Box<Announced>, Box<Uploading>),
    Sealing2(Box<Announced>, Box<Sealing2>),
    Aborting(Box<Announced>, Ballot<cloister_wire::statement::Abort>),
    Revealing(Box<Announced>, Box<Revealing>),
    Checking(Box<Announced>, Box<Checking>),
    Closing(Box<Announced>, Box<Recomputing>),
}

/// What stays with a round from its plan on.
#[derive(Debug)]
struct Announced {
    context: RoundContext,
    plan: Message,
    announcements: Announcements,
    /// The signed announcements, for relaying.
    relay: BTreeMap<PartyId, Frame>,
    /// Letters by dealer and custodian.
    letters: BTreeMap<(PartyId, PartyId), Frame>,
    /// Letters that their custodian opened and found good.
    opened_letters: BTreeSet<(PartyId, PartyId)>,
    cohorts: Vec<ManifestCohort>,
    uploaded: Vec<PartyId>,
    masked_bytes: u64,
    log: RoundLog,
    additions: LogAdditions,
    /// Digests of the bodies that a quorum has signed.
    certified: BTreeSet<Digest>,
}

impl Announced {
    /// The length of a block's packed words.
    fn packed_bytes(&self, block: BlockId) -> Option<usize> {
        self.context.block(block).map(|block| self.context.plan().packed_bytes(block))
    }
}

impl Coordinator {
    /// A coordinator before the first round, holding the model that the consortium starts from.
    pub fn new(key: Arc<SigningKey>, epoch: Arc<Epoch>, model: Model) -> Self {
        let chain = ChainPosition::genesis(&epoch, model.digest());
        Self {
            key,
            epoch,
            chain,
            model,
            last_ending: None,
            last_sums: Vec::new(),
            openings: OpeningHistory::default(),
            bars: Bars::default(),
            connected: BTreeSet::new(),
            round: None,
            deadline: None,
            outputs: VecDeque::new(),
        }
    }

    /// The model after the last round.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The round in progress, or the next one.
    pub fn next_round(&self) -> Round {
        self.round.as_ref().map_or(self.chain.round.next(), |active| active.number)
    }

    /// Whether a round is in progress.
    pub fn is_busy(&self) -> bool {
        self.round.is_some()
    }

    /// The parties that are connected.
    pub fn connected(&self) -> &BTreeSet<PartyId> {
        &self.connected
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<CoordinatorOutput> {
        self.outputs.pop_front()
    }

    /// When [`Coordinator::handle_time`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Starts the next round: asks custodians for receiving keys.
    ///
    /// # Errors
    /// A round is in progress.
    pub fn start_round(&mut self, settings: RoundSettings, now: Time) -> Result<Round, Fault> {
        if self.is_busy() {
            return Err(Fault::ApiMisuse("a round is under way"));
        }
        let number = self.chain.round.next();
        self.wait(now, settings.deadlines.seal);
        self.round = Some(ActiveRound {
            number,
            settings,
            refused: BTreeSet::new(),
            silent_custodians: BTreeSet::new(),
            ahead: BTreeMap::new(),
            phase: CoordinatorPhase::Keys(BTreeMap::new()),
        });
        let custodians: Vec<PartyId> = self.epoch.consortium().custodians().collect();
        self.send_to(custodians, &Frame::Message(Message::KeyRequest { round: number }));
        Ok(number)
    }

    /// A party is reachable, again or for the first time: it gets what the present step needs of it.
    pub fn handle_connected(&mut self, party: PartyId, now: Time) {
        self.connected.insert(party);
        if let Some(CoordinatorPhase::Closing(_, closing)) =
            self.round.as_mut().map(|active| &mut active.phase)
        {
            closing.reconsider(party);
        }
        // Before `advance`, which may enter the next step and send its frames: they follow from these.
        for frame in self.frames_to_catch_up(party) {
            self.outputs.push_back(CoordinatorOutput::Send { to: party, frame });
        }
        self.advance(now, false);
    }

    /// A party is not reachable any more: the round does not wait for it until it reconnects.
    pub fn handle_disconnected(&mut self, party: PartyId, now: Time) {
        self.connected.remove(&party);
        self.advance(now, false);
    }

    /// The deadline may have passed.
    pub fn handle_time(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            self.advance(now, true);
        }
    }

    /// Takes a frame of a party.
    ///
    /// # Errors
    /// A frame that breaks a rule or is not awaited; the round goes on without it.
    pub fn handle_frame(&mut self, from: PartyId, frame: Frame, now: Time) -> Result<(), Fault> {
        match frame {
            Frame::Chunk(chunk) => self.handle_chunk(from, &chunk)?,
            Frame::Message(Message::ReceivingKey(signed)) => self.handle_receiving_key(from, signed)?,
            Frame::Message(Message::Refusal { round, role, reason }) => {
                self.handle_refusal(from, round, role, reason);
            }
            Frame::Message(Message::Announcement(signed)) => self.handle_announcement(from, &signed)?,
            Frame::Message(Message::Letter { round, dealer, custodian, sealed }) => {
                self.handle_letter(from, round, dealer, custodian, sealed)?;
            }
            Frame::Message(Message::Vote { body, signature }) => {
                self.handle_vote(from, body, signature, now)?
            }
            Frame::Message(Message::Uploaded(signed)) => self.handle_uploaded(from, &signed)?,
            Frame::Message(Message::LetterOpened { round, dealer }) => {
                self.handle_letter_opened(from, round, dealer)?;
            }
            Frame::Message(Message::LetterFault { round, dealer, agreed, proof }) => {
                self.handle_letter_fault(from, round, dealer, &LetterEvidence { agreed, proof }, now)?;
            }
            Frame::Message(Message::ModelRequest { model, missing }) => {
                self.handle_model_request(from, model, missing)?;
                // No `advance`: a request that is not stored must not move the round, or a replay would
                // differ.
                return Ok(());
            }
            Frame::Message(Message::Ahead { round }) => self.handle_ahead(from, round)?,
            Frame::Message(Message::Recomputed(signed)) => self.handle_recomputed(from, signed)?,
            Frame::Message(Message::Seeds { round, seeds }) => self.handle_seeds(from, round, seeds)?,
            Frame::Message(Message::SeedParts { round, dealer, parts }) => {
                self.handle_seed_parts(from, round, dealer, parts)?;
            }
            Frame::Message(Message::MaskKeyShare { round, dealer, share }) => {
                self.handle_mask_key_share(from, round, dealer, share)?;
            }
            Frame::Message(
                message @ (Message::LateSketches(_) | Message::BlameAnswer(_) | Message::PairOpened { .. }),
            ) => self.handle_evidence(from, &message)?,
            Frame::Message(_) => return Err(unexpected(from, "a message that is not for the coordinator")),
        }
        self.advance(now, false);
        Ok(())
    }

    /// Moves on when everyone who is waited for has come, or time is up.
    fn advance(&mut self, now: Time, expired: bool) {
        let Some(active) = &self.round else { return };
        match &active.phase {
            CoordinatorPhase::Keys(_) => self.advance_keys(now, expired),
            CoordinatorPhase::Announcing(_) => self.advance_announcing(now, expired),
            CoordinatorPhase::Uploading(..) => self.advance_uploading(now, expired),
            CoordinatorPhase::Revealing(..) => self.advance_revealing(now, expired),
            CoordinatorPhase::Checking(..) => self.advance_checking(now, expired),
            CoordinatorPhase::Closing(..) => self.advance_closing(now, expired),
            // No outcome was proposed yet, so an abort can be. In `Sealing2` and `Aborting` a quorum may have
            // signed the proposed one, so they wait for it.
            CoordinatorPhase::Sealing1(..) if expired => self.propose_abort(AbortReason::NotSealed, now),
            CoordinatorPhase::Sealing1(..)
            | CoordinatorPhase::Sealing2(..)
            | CoordinatorPhase::Aborting(..) => {
                if expired {
                    self.event(Event::QuorumLost("custodians' signatures are missing"));
                }
            }
        }
    }

    /// Members that are connected and take part.
    fn awaited_members(&self) -> BTreeSet<PartyId> {
        let mut members: BTreeSet<PartyId> = self.epoch.consortium().members().collect();
        members.retain(|member| self.connected.contains(member));
        if let Some(active) = &self.round {
            members.retain(|member| !active.refused.contains(member));
        }
        members
    }

    fn wait(&mut self, now: Time, milliseconds: u64) {
        self.deadline = Some(Time(now.0.saturating_add(milliseconds)));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(CoordinatorOutput::Event(event));
    }

    fn send_to(&mut self, parties: impl IntoIterator<Item = PartyId>, frame: &Frame) {
        // Nothing is queued for a party without a link: it gets what it needs when it connects.
        for to in parties {
            if self.connected.contains(&to) {
                self.outputs.push_back(CoordinatorOutput::Send { to, frame: frame.clone() });
            }
        }
    }

    /// The evidence that bars members from a round, for everybody who gets its plan (`ROUND-33`).
    fn evidence_of_bars(&self, round: Round) -> Vec<Frame> {
        let evidence = self.bars.evidence(round).map(|(_, evidence)| evidence.clone());
        evidence.map(|evidence| Frame::Message(Message::BadDealing(evidence))).collect()
    }

    fn everyone(&self) -> Vec<PartyId> {
        self.epoch.consortium().parties().map(|party| party.id).collect()
    }

    /// What a party that connects has missed: of the last round until the next one is planned, then of the
    /// planned one. In the order of the round, because a party rejects what comes before its cause.
    fn frames_to_catch_up(&self, party: PartyId) -> Vec<Frame> {
        let planned = self.round.as_ref().and_then(|active| Some((active, active.phase.announced()?)));
        let Some((active, announced)) = planned else {
            let request = self.round.as_ref().map(|active| Message::KeyRequest { round: active.number });
            let ending = self.last_ending.clone().map(Message::Ended);
            let messages = ending.into_iter().chain(request).map(Frame::Message);
            return self.last_sums.iter().cloned().chain(messages).collect();
        };
        let mut frames = self.evidence_of_bars(announced.context.round());
        frames.push(Frame::Message(announced.plan.clone()));
        frames.extend(announced.relay.values().cloned());
        let letters = announced.letters.iter().filter(|((_, custodian), _)| *custodian == party);
        frames.extend(letters.map(|(_, frame)| frame.clone()));
        frames.extend(active.phase.present_frames(party));
        frames
    }
}

impl CoordinatorPhase {
    fn announced(&self) -> Option<&Announced> {
        match self {
            Self::Keys(_) => None,
            Self::Announcing(announced)
            | Self::Sealing1(announced, _)
            | Self::Uploading(announced, _)
            | Self::Sealing2(announced, _)
            | Self::Aborting(announced, _)
            | Self::Revealing(announced, _)
            | Self::Checking(announced, _)
            | Self::Closing(announced, _) => Some(announced),
        }
    }

    /// The frames of the present step, for a party that (re)connects.
    fn present_frames(&self, party: PartyId) -> Vec<Frame> {
        let messages = match self {
            Self::Keys(_) | Self::Announcing(_) => Vec::new(),
            Self::Sealing1(_, sealing) => vec![sealing.proposal()],
            Self::Uploading(_, uploading) => vec![uploading.invitation(party)],
            Self::Sealing2(_, sealing) => vec![sealing.first_seal_alone(), sealing.proposal()],
            Self::Aborting(_, ballot) => vec![Message::ProposeAbort { abort: ballot.body().to_vec() }],
            Self::Revealing(_, revealing) => revealing.messages(),
            Self::Checking(announced, checking) => return checking.frames(&announced.context, party),
            Self::Closing(announced, closing) => return closing.frames(announced.context.round(), party),
        };
        messages.into_iter().map(Frame::Message).collect()
    }
}

fn unexpected(peer: PartyId, what: &'static str) -> Fault {
    Fault::Unexpected { peer, what }
}
