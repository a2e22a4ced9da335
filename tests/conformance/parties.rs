//! The file of rounds, and the members and custodians that act in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::PublicBytes;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{LateSketchMode, RoundPlan};
use cloister_params::policy::Policy;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::custodian::{Custodian, CustodianConfig, CustodianOutput};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::{Member, MemberConfig, MemberOutput, MemberTask};
use cloister_protocol::model::Model;
use cloister_protocol::openings::OpeningHistory;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::opening::OpeningRecord;
use cloister_wire::statement::{AnnouncedSketch, BlamedMember, Signed};
use rand_core::CryptoRng;
use serde::Deserialize;

use crate::scoring::member_sketches;
use crate::steps::Tape;
use crate::vectors::Hex;

/// Two rounds as frames, with what their parties know before and must know after.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rounds {
    consortium: String,
    signature: Hex,
    governance: Hex,
    task: Digest,
    pub(crate) signing_seeds: BTreeMap<u32, Hex>,
    /// For each custodian the random bytes behind its receiving keys, by round.
    pub(crate) receiving_draws: BTreeMap<u32, Vec<Hex>>,
    /// For each member that opens a pair the random bytes behind its proof.
    pub(crate) pair_draws: BTreeMap<u32, Hex>,
    model: Vec<Hex>,
    /// For each member whose disk was restored, the blocks that it may have uploaded from this model before.
    closed: BTreeMap<u32, Vec<BlockId>>,
    /// For each round in which members announce, the random bytes of each.
    draws: Vec<BTreeMap<u32, Draws>>,
    contributions: BTreeMap<u32, MadeUp>,
    pub(crate) frames: Vec<Hex>,
    pub(crate) script: Vec<Step>,
    pub(crate) expected: Expected,
}

/// A frame on its way; senders and receivers are `coordinator`, `member N` or `custodian N`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) frame: usize,
    /// Whether the sender breaks the rules: an honest program would send another frame in its place.
    #[serde(default)]
    pub(crate) lie: bool,
}

/// The random bytes of one member's dealing, by what they are for, in the order in which it draws them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draws {
    mask_key: Hex,
    seed_key: Hex,
    mask_coefficients: Vec<Hex>,
    seed_coefficients: Vec<Hex>,
    mask_proof: Hex,
    seed_proof: Hex,
    letters: Vec<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeUp {
    integers: Vec<Vec<i32>>,
    sketches: Vec<AnnouncedSketch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) summed: BTreeMap<u32, Summed>,
    pub(crate) void: Vec<BlockId>,
    pub(crate) blamed: Vec<BlamedMember>,
    pub(crate) sums: BTreeMap<u32, Hex>,
    /// What the log has of reveals, encoded canonically.
    pub(crate) reveals: Vec<Hex>,
    /// The seeds that are open in the end, by member and block.
    pub(crate) seeds: BTreeMap<u32, BTreeMap<u32, Hex>>,
    /// The mask keys that are open in the end.
    pub(crate) mask_keys: BTreeMap<u32, Hex>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) root: Digest,
    pub(crate) closed_model: Vec<Hex>,
    pub(crate) closed_model_digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summed {
    pub(crate) present: Vec<PartyId>,
    pub(crate) absent: Vec<PartyId>,
    pub(crate) weight: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogEntry {
    pub(crate) kind: String,
    pub(crate) party: PartyId,
    pub(crate) leaf: Digest,
}

impl Draws {
    fn tape(&self) -> Tape {
        let keys = [&self.mask_key, &self.seed_key];
        let polynomials = self.mask_coefficients.iter().chain(&self.seed_coefficients);
        let proofs = [&self.mask_proof, &self.seed_proof];
        let parts = keys.into_iter().chain(polynomials).chain(proofs).chain(&self.letters);
        Tape::from_bytes(parts.flat_map(|part| part.0.clone()))
    }
}

impl Rounds {
    pub(crate) fn governance(&self) -> PublicBytes {
        PublicBytes(self.governance.array())
    }

    pub(crate) fn epoch(&self) -> Arc<Epoch> {
        let signature = self.signature.array();
        Arc::new(Epoch::accept(&self.consortium, &signature, self.governance()).unwrap())
    }

    pub(crate) fn model(&self) -> Model {
        Model::new(self.model.iter().map(Hex::singles).collect())
    }

    pub(crate) fn closed_model(&self) -> Model {
        Model::new(self.expected.closed_model.iter().map(Hex::singles).collect())
    }

    pub(crate) fn key(&self, party: u32) -> Arc<SigningKey> {
        Arc::new(SigningKey::from_seed(&self.signing_seeds[&party].array()))
    }

    /// The messages of the script, in order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        self.script.iter().filter_map(|step| match Frame::decode(&self.frames[step.frame].0).unwrap() {
            Frame::Message(message) => Some(message),
            Frame::Chunk(_) => None,
        })
    }

    pub(crate) fn first_plan(&self) -> Signed<RoundPlan> {
        let plan = |message| match message {
            Message::Plan { plan, .. } => Some(plan),
            _ => None,
        };
        self.messages().find_map(plan).unwrap()
    }

    pub(crate) fn contribution(&self, member: u32) -> Contribution {
        let made = &self.contributions[&member];
        let integers = PerBlock::in_table_order(made.integers.clone());
        Contribution { integers, sketches: member_sketches(&made.sketches) }
    }

    /// What a member draws for its dealing of a round; nothing if it does not announce in that round.
    fn member_tape(&self, round: Round, member: u32) -> Option<Tape> {
        let draws = self.draws.get(usize::try_from(round.0).unwrap() - 1)?;
        draws.get(&member).map(Draws::tape)
    }

    /// The random bytes behind the ephemeral key of a member's letter of the first round, by the custodian's place in the plan.
    pub(crate) fn letter_draw(&self, member: PartyId, at: usize) -> Vec<u8> {
        self.draws[0][&member.0].letters[at].0.clone()
    }

    fn policy(&self) -> Policy {
        let late = self.first_plan().parse().unwrap().settings.late_sketches != LateSketchMode::Off;
        let text = format!("governance_key = \"{}\"\nallow_late_sketches = {late}", self.governance());
        Policy::parse(&text).unwrap()
    }

    pub(crate) fn member(&self, number: u32) -> Member {
        let planned = self.first_plan().parse().unwrap().settings.blocks;
        let blocks = planned.iter().map(|block| block.shape).collect();
        Member::new(MemberConfig {
            id: PartyId(number),
            key: self.key(number),
            epoch: self.epoch(),
            policy: self.policy(),
            task: MemberTask { digest: self.task, blocks },
            model: self.model(),
            last_announced: None,
            openings: self.forgotten(number),
            arrived: Vec::new(),
        })
    }

    /// What a member knows of earlier openings (`ROUND-38`).
    fn forgotten(&self, number: u32) -> OpeningHistory {
        let parameters = self.model().block_digests();
        let closed = self.closed.get(&number).into_iter().flatten();
        let forgotten = closed.map(|block| parameters[*block]).collect();
        OpeningHistory::new([OpeningRecord::Forgotten { parameters: forgotten }])
    }

    pub(crate) fn custodian(&self, number: u32) -> Custodian {
        Custodian::new(CustodianConfig {
            id: PartyId(number),
            key: self.key(number),
            epoch: self.epoch(),
            policy: self.policy(),
            model: self.model().digest(),
            signed: Vec::new(),
            openings: OpeningHistory::default(),
        })
    }
}

/// One state machine and what it wants to send.
pub(crate) struct Actor {
    number: u32,
    machine: Machine,
    pub(crate) sent: VecDeque<Frame>,
}

enum Machine {
    Member(Box<Member>),
    Custodian(Box<Custodian>),
}

impl Actor {
    /// The actor of a name.
    pub(crate) fn new(rounds: &Rounds, name: &str) -> Self {
        let (role, number) = name.split_once(' ').expect("a role and a number");
        let number = number.parse().unwrap();
        let machine = match role {
            "member" => Machine::Member(Box::new(rounds.member(number))),
            "custodian" => Machine::Custodian(Box::new(rounds.custodian(number))),
            other => panic!("no role {other}"),
        };
        Self { number, machine, sent: VecDeque::new() }
    }

    /// Takes a frame, and trains where the member announces in the plan's round.
    pub(crate) fn handle(
        &mut self,
        rounds: &Rounds,
        frame: Frame,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let result = match &mut self.machine {
            Machine::Member(member) => member.handle_frame(frame, random),
            Machine::Custodian(custodian) => custodian.handle_frame(frame, random),
        };
        self.carry_out(rounds);
        result
    }

    fn carry_out(&mut self, rounds: &Rounds) {
        match &mut self.machine {
            Machine::Custodian(custodian) => {
                while let Some(output) = custodian.poll_output() {
                    if let CustodianOutput::Send(frame) = output {
                        self.sent.push_back(frame);
                    }
                }
            }
            Machine::Member(member) => {
                while let Some(output) = member.poll_output() {
                    match output {
                        MemberOutput::Send(frame) => self.sent.push_back(frame),
                        MemberOutput::Train { digest, plan } => {
                            let Some(mut tape) = rounds.member_tape(plan.round, self.number) else {
                                continue;
                            };
                            if plan.settings.rehearsal {
                                member.rehearse(digest, &mut tape).unwrap();
                            } else {
                                let contribution = rounds.contribution(self.number);
                                member.contribute(digest, contribution, &mut tape).unwrap();
                            }
                            assert!(tape.is_used_up());
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// The model that a member holds.
    pub(crate) fn model(&self) -> Option<&Model> {
        match &self.machine {
            Machine::Member(member) => Some(member.model()),
            Machine::Custodian(_) => None,
        }
    }
}
