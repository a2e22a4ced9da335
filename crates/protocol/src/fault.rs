//! What goes wrong, and whose fault it is.

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::PlanError;
use cloister_params::policy::PolicyRefusal;
use cloister_wire::codec::DecodeError;
use thiserror::Error;

/// A frame or task that was not carried out. The state machine is unchanged by it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Fault {
    /// A peer broke the protocol; the message names which rule.
    #[error("{peer} misbehaved: {what}")]
    PeerMisbehaved {
        /// Whose fault it is: the sender, or the signer of what the sender relayed.
        peer: PartyId,
        /// Which rule it broke.
        #[source]
        what: Misbehaviour,
    },
    /// A plan that this party rejects.
    #[error("the plan of {round} is refused: {why}")]
    PlanRefused {
        /// The plan's round.
        round: Round,
        /// The rule that it breaks.
        #[source]
        why: Refusal,
    },
    /// A frame that does not belong to the present phase: late, early or repeated. Harmless.
    #[error("unexpected in this phase: {what} from {peer}")]
    Unexpected {
        /// The party that sent it.
        peer: PartyId,
        /// The frame, in words for an operator.
        what: &'static str,
    },
    /// This custodian was restored from a backup, and does not know what it helped to open (`ROUND-04`). It
    /// is nobody's fault: others sign.
    #[error(
        "this custodian was restored from a backup, and does not know what it helped to open; it leaves \
         second seals to the others until an epoch that it has seen from its first round on"
    )]
    Restored,
    /// The caller used the state machine wrongly.
    #[error("the state machine was misused: {0}")]
    ApiMisuse(&'static str),
}

/// The rule that a peer broke.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Misbehaviour {
    /// Bytes that cannot be decoded.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// A signature that does not fit.
    #[error("the signature of {signer} on a {what} does not fit")]
    Signature {
        /// The party that the statement names as its signer.
        signer: PartyId,
        /// The body's tag.
        what: &'static str,
    },
    /// A statement by a party that may not make it.
    #[error("{signer} is no {role:?} of the consortium and signed a {what}")]
    Role {
        /// The party that signed or sent it.
        signer: PartyId,
        /// The needed role; the coordinator has none.
        role: Option<Role>,
        /// The body's tag.
        what: &'static str,
    },
    /// A certificate without its quorum of distinct custodians.
    #[error(
        "a certificate for a {what} has {got} valid signatures of distinct custodians; {quorum} are needed"
    )]
    Quorum {
        /// The body's tag.
        what: &'static str,
        /// Distinct, valid signatures.
        got: usize,
        /// How many are needed: `h_s` of the roster for a certificate, `f + 1` for recomputations.
        quorum: usize,
    },
    /// A statement for another epoch, round, plan, seal or log.
    #[error("a {what} names {field} {got}; expected {expected}")]
    Mismatch {
        /// The body's tag.
        what: &'static str,
        /// The field that differs.
        field: &'static str,
        /// The value that came.
        got: String,
        /// The value that fits.
        expected: String,
    },
    /// A cohort or a set of members below its floor.
    #[error("{what} has {got} organisations; the floor is {floor}")]
    BelowFloor {
        /// The set of members that was counted, in words for an operator.
        what: String,
        /// Organisations in it.
        got: usize,
        /// The plan's `cohort_floor`.
        floor: usize,
    },
    /// A manifest whose cohorts do not follow from the announced sketches.
    #[error("the cohort of {block} does not follow from the announced sketches")]
    Score {
        /// The first block whose cohort, weights or consensus differ.
        block: BlockId,
    },
    /// An announcement that lacks something, or has it in another shape than the plan's. The text says what
    /// is expected.
    #[error("an announcement does not have what the plan asks for: {0}")]
    Announcement(&'static str),
    /// A receiving key to which nothing can be sealed (`PLAN-09`).
    #[error("the receiving key is not a group element, or is the identity")]
    ReceivingKey,
    /// A manifest that does not follow from the announcements.
    #[error("a manifest does not follow from the announcements: {0}")]
    Manifest(&'static str),
    /// A second seal that does not follow from the first and the uploads.
    #[error("a second seal does not follow from the first and the uploads: {0}")]
    Seal2(&'static str),
    /// A closing that lists something that does not follow from its round.
    #[error("a closing does not follow from its round: {0}")]
    Closing(&'static str),
    /// A letter that cannot be opened or does not hold what was committed to.
    #[error("the letter of {dealer} to {custodian}: {why}")]
    Letter {
        /// Who dealt.
        dealer: PartyId,
        /// The custodian that the letter is for.
        custodian: PartyId,
        /// What is wrong.
        why: &'static str,
    },
    /// A complaint about a letter whose evidence does not show that it is bad.
    #[error("the complaint about the letter of {dealer} is not proven")]
    LetterFault {
        /// Who dealt.
        dealer: PartyId,
    },
    /// A chunk that is not the next of an awaited block.
    #[error("chunk {index} of {block} is not the next one")]
    Chunk {
        /// The block.
        block: BlockId,
        /// The chunk's number.
        index: u32,
    },
    /// A request for parts that a model does not have (`ROUND-42`).
    #[error(
        "it asks for {block} of the model from part {first} on; expected parts of the model, ascending by block"
    )]
    MissingParts {
        /// The block of the first wrong entry.
        block: BlockId,
        /// The part that it names.
        first: u32,
    },
    /// A table whose blocks are not as long as those of the receiver's task (`ROUND-42`).
    #[error("the model that came has blocks of other lengths than this member's task")]
    ModelShape,
    /// A first seal that says of a member's upload what cannot have arrived (`ROUND-41`).
    #[error("the first seal says that {chunks} chunks of {block} arrived from this member; {why}")]
    Received {
        /// The block that the first wrong entry names.
        block: BlockId,
        /// The number of chunks in that entry.
        chunks: u32,
        /// What was expected.
        why: &'static str,
    },
    /// An upload whose blocks give another root than the signed one, or that lacks blocks.
    #[error("the upload of {member} does not make up the root that it signed")]
    UploadRoot {
        /// Whose upload.
        member: PartyId,
    },
    /// A late sketch, an answer about one, or an opened pair that breaks a rule.
    #[error("a late sketch of {member}: {why}")]
    LateSketch {
        /// The member that signed or showed it.
        member: PartyId,
        /// What is wrong.
        why: &'static str,
    },
    /// A second seal under which a block would be opened from the same parameters over two cohorts
    /// (`ROUND-30`).
    #[error(
        "{block} was opened from the same parameters over other members, or in another scale: it must be \
         listed as repeated, and stay closed"
    )]
    Repeated {
        /// The first such block.
        block: BlockId,
    },
    /// A revealed value that its commitment does not cover.
    #[error("a value revealed of {dealer} does not fit its commitment")]
    Reveal {
        /// Whose secret.
        dealer: PartyId,
    },
    /// A frame for a step that this party has not reached.
    #[error("{0} came before what it depends on")]
    TooEarly(&'static str),
    /// A second, different statement where one is allowed.
    #[error("a second, different {what} for {round}")]
    Equivocation {
        /// The body's tag.
        what: &'static str,
        /// The round of both statements.
        round: Round,
    },
    /// A statement that may not follow what was signed before (`ROUND-03`).
    #[error("a {what} for {round} may not follow {after}")]
    Order {
        /// The body's tag.
        what: &'static str,
        /// The round of the rejected statement.
        round: Round,
        /// What was signed before, in words for an operator.
        after: &'static str,
    },
    /// A sum that cannot be applied.
    #[error("{block}: {why}")]
    Sum {
        /// The block whose sum or parameters are wrong.
        block: BlockId,
        /// What is wrong.
        why: String,
    },
}

/// The rule for which this party refuses a plan.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// A rule of the specification.
    #[error(transparent)]
    Rule(#[from] PlanError),
    /// A limit of this party's own policy.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// A plan for this round was accepted before (`ROUND-03`).
    #[error("another plan for this round was accepted before")]
    SecondPlan,
    /// This member announced in this round before it restarted; its secrets are gone (`ROUND-04`).
    #[error("this party announced in this round before it restarted, so it does not take part in it again")]
    AnnouncedBefore,
    /// This custodian was restored from a backup, and may have signed in this round before (`ROUND-04`).
    #[error("this custodian was restored from a backup; it signs again after a round that the others end")]
    Restored,
    /// The plan does not follow the last ending (`ROUND-08`).
    #[error("the plan's {field} is {got}, the last ending makes it {expected}")]
    Chain {
        /// The field of the plan that differs.
        field: &'static str,
        /// The plan's value.
        got: Digest,
        /// The value that follows.
        expected: Digest,
    },
    /// The plan is for another task than this member trains.
    #[error(
        "the plan is for task {got}, this member's task file is {expected}; one of the files is outdated"
    )]
    Task {
        /// The plan's task.
        got: Digest,
        /// The digest of this member's task file.
        expected: Digest,
    },
    /// After an abort, a plan with other settings than those that the contribution was made and charged for
    /// (`ROUND-03`).
    #[error(
        "the plan changes settings on a model whose round was aborted, for which this member's update was \
         made; only deadlines may change"
    )]
    ChangedAfterAbort,
    /// A plan that bars a member whose bad letter nobody has shown to this party (`PLAN-14`).
    #[error("the plan bars {member}, but no evidence came that bars it from this round")]
    BarredWithoutEvidence {
        /// The first member that the plan bars so.
        member: PartyId,
    },
    /// The plan bars this member (`PLAN-14`).
    #[error(
        "this member is barred until {until}: a letter that it sealed in {shown} was bad; check its program and its machine"
    )]
    Barred {
        /// The round of the bad letter.
        shown: Round,
        /// The first round that the evidence does not bar it from.
        until: Round,
    },
    /// The block table is not that of this member's task, kinds included (`PLAN-16`).
    #[error(
        "the plan's blocks are not those of this member's task, in kind, number and length; the \
         coordinator's settings file was made for another task"
    )]
    Blocks,
    /// The digests of the blocks' parameters are not those of the plan's model (`PLAN-18`).
    #[error("the plan names parameters that make up the model {got}, and starts from the model {expected}")]
    Parameters {
        /// The digest over the parameters.
        got: Digest,
        /// The plan's model.
        expected: Digest,
    },
    /// The plan lacks the certificate of the round before, or has one of another round.
    #[error("the plan does not come with the certificate of the round before it")]
    NoEnding,
    /// Sketches with another projection than the task's (`PLAN-15`).
    #[error(
        "the plan's sketches have the projection {got}, its task makes it {expected}; the coordinator's settings file is \
         outdated"
    )]
    Projection {
        /// The plan's seed.
        got: Digest,
        /// The seed that follows from the plan's task.
        expected: Digest,
    },
    /// A receiving key that is not a group element (`PLAN-09`).
    #[error(
        "the receiving key of {custodian}, which signed it, is not a group element; the coordinator must leave it out"
    )]
    NoReceivingKey {
        /// The custodian that signed it.
        custodian: PartyId,
    },
    /// A receiving key that its custodian has not signed for this round.
    #[error("the receiving key of {custodian} is not signed by it for this round")]
    ReceivingKey {
        /// The custodian that the plan names it for.
        custodian: PartyId,
    },
}

impl Fault {
    /// A frame of the coordinator that does not belong to the present phase.
    pub(crate) fn unexpected(what: &'static str) -> Self {
        Self::Unexpected { peer: PartyId::COORDINATOR, what }
    }
}

impl Misbehaviour {
    /// Attributes the fault to the coordinator, which sends every frame on a party's link.
    pub(crate) fn by_coordinator(self) -> Fault {
        self.by(PartyId::COORDINATOR)
    }

    /// Attributes the fault to a peer. A frame that came too early is nobody's fault: a party that restarted,
    /// or whose round ended, lacks what came before it.
    pub fn by(self, peer: PartyId) -> Fault {
        match self {
            Self::TooEarly(what) => Fault::Unexpected { peer, what },
            what => Fault::PeerMisbehaved { peer, what },
        }
    }
}

/// Compares a field with what it must be.
pub(crate) fn expect<V: PartialEq + ToString>(
    what: &'static str,
    field: &'static str,
    got: V,
    expected: V,
) -> Result<(), Misbehaviour> {
    if got == expected {
        return Ok(());
    }
    Err(Misbehaviour::Mismatch { what, field, got: got.to_string(), expected: expected.to_string() })
}
