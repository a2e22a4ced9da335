//! Statements: the bodies that parties sign. A body's bytes are kept as they came; its digest is over them.

mod late;

use std::marker::PhantomData;

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

pub use late::{BlameAnswer, LateSketch, LateSketches, PairValue};

/// A body that is signed under a tag of its own, so that a signature on one kind fits no other.
pub trait Body: Serialize + DeserializeOwned {
    /// Signed in front of the body.
    const TAG: &'static str;
}

/// An Ed25519 signature as it travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

/// A signed body, not yet checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    /// Who claims to have signed.
    pub signer: PartyId,
    /// The body's canonical encoding.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The signature over tag and body.
    pub signature: Signature,
    #[serde(skip)]
    kind: PhantomData<T>,
}

impl<T: Body> Signed<T> {
    /// Puts the parts together.
    pub fn new(signer: PartyId, body: Vec<u8>, signature: Signature) -> Self {
        Self { signer, body, signature, kind: PhantomData }
    }

    /// Reads the body; the signature is the caller's to check first.
    ///
    /// # Errors
    /// A body that is not canonical.
    pub fn parse(&self) -> Result<T, DecodeError> {
        codec::decode(&self.body)
    }
}

/// A body with the signatures of a quorum of custodians, not yet checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Certificate<T> {
    /// The body's canonical encoding.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Signatures, ascending by custodian.
    pub votes: Vec<Vote>,
    #[serde(skip)]
    kind: PhantomData<T>,
}

/// One custodian's signature on a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// Who signed.
    pub custodian: PartyId,
    /// The signature over tag and body.
    pub signature: Signature,
}

impl<T: Body> Certificate<T> {
    /// Puts the parts together.
    pub fn new(body: Vec<u8>, votes: Vec<Vote>) -> Self {
        Self { body, votes, kind: PhantomData }
    }

    /// Reads the body; the votes are the caller's to check first.
    ///
    /// # Errors
    /// A body that is not canonical.
    pub fn parse(&self) -> Result<T, DecodeError> {
        codec::decode(&self.body)
    }
}

/// A custodian's receiving key for one round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceivingKey {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round that the key is for.
    pub round: Round,
    /// The ristretto255 public key.
    pub key: [u8; 32],
}

impl Body for ReceivingKey {
    const TAG: &'static str = "cloister/v1/receiving-key";
}

impl Body for RoundPlan {
    const TAG: &'static str = "cloister/v1/plan";
}

/// What a member announces after training (step 2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// The mask key, as it is shared among custodians.
    pub mask_key: SharedKey,
    /// The seed key, as it is shared among custodians.
    pub seed_key: SharedKey,
    /// Whether the member's policy has a privacy budget, to which this contribution was charged (`ROUND-30`).
    pub has_budget: bool,
    /// The blocks that the member does not give to this round, ascending (`ROUND-38`).
    pub closed: Vec<BlockId>,
    /// For each custodian of the plan, what it was dealt.
    pub dealings: Vec<Dealing>,
    /// For each expert block, ascending, the noised sketches.
    pub sketches: Vec<AnnouncedSketch>,
}

impl Body for Announcement {
    const TAG: &'static str = "cloister/v1/announcement";
}

/// The public side of a key that is shared among custodians (`MASK-02`, `MASK-08`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedKey {
    /// Commitments to the coefficients of the sharing polynomial, the key's public element first.
    pub commitments: Vec<[u8; 32]>,
    /// Proof of knowledge of the key.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// What an announcement says of one custodian's letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dealing {
    /// The custodian.
    pub custodian: PartyId,
    /// The receiving key that the letter is sealed to.
    pub recipient: [u8; 32],
    /// Digest of the sealed letter.
    pub letter: Digest,
}

/// The noised sketches of one expert block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncedSketch {
    /// The block.
    pub block: BlockId,
    /// Sketch of the region.
    pub region: Vec<i16>,
    /// Sketch of the update.
    pub update: Vec<i16>,
    /// Noised count of the tokens routed to the expert.
    pub tokens: u32,
}

/// What the first seal fixes: who announced, and each block's cohort (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// `U1`, ascending, each with the digest of its announcement's body.
    pub announced: Vec<AnnouncedMember>,
    /// The cohort of every block, in the order of the block table.
    pub cohorts: Vec<ManifestCohort>,
}

impl Body for Manifest {
    const TAG: &'static str = "cloister/v1/manifest";
}

/// A member of `U1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncedMember {
    /// The member.
    pub member: PartyId,
    /// Digest of its announcement's body.
    pub announcement: Digest,
}

/// How a block came by its cohort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CohortChoice {
    /// A block whose cohort is everyone.
    Everyone,
    /// The members that align.
    Aligned,
    /// Too few align, and the plan sums everyone.
    Fallback,
    /// Too few align or announced.
    Void,
}

/// A block's cohort in the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestCohort {
    /// The block.
    pub block: BlockId,
    /// How it was chosen.
    pub choice: CohortChoice,
    /// `S[b]`, ascending, with weights.
    pub members: Vec<WeightedMember>,
    /// The consensus of each announced member, ascending; empty for blocks that are not scored.
    pub consensus: Vec<Option<u32>>,
}

/// A member of a cohort with its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WeightedMember {
    /// The member.
    pub member: PartyId,
    /// Its integer weight, 1 to 15.
    pub weight: u8,
}

/// The first seal (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal1 {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the manifest's body.
    pub manifest: Digest,
    /// Digest of the previous round's closing or abort body.
    pub previous: Digest,
    /// Root of the round's log up to the manifest.
    pub tree: Digest,
}

impl Body for Seal1 {
    const TAG: &'static str = "cloister/v1/seal-1";
}

/// What a member signs when its upload is whole (step 4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the first seal's body.
    pub seal1: Digest,
    /// Merkle root over the digests of its masked blocks, ascending by block.
    pub root: Digest,
}

impl Body for Upload {
    const TAG: &'static str = "cloister/v1/upload";
}

/// The second seal (step 5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal2 {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the first seal's body.
    pub seal1: Digest,
    /// `U2`, ascending, each with its signed root.
    pub uploaded: Vec<UploadedMember>,
    /// Blocks whose cohort fell below its floor, ascending.
    pub void: Vec<BlockId>,
    /// Blocks that stay masked because they were opened from the same parameters over others, ascending (`ROUND-30`).
    pub repeated: Vec<BlockId>,
    /// Root of the round's log up to the uploads.
    pub tree: Digest,
}

impl Body for Seal2 {
    const TAG: &'static str = "cloister/v1/seal-2";
}

/// A member of `U2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadedMember {
    /// The member.
    pub member: PartyId,
    /// The root that it signed.
    pub root: Digest,
}

/// A round that ends without a sum; never beside a [`Seal2`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the model, which stays what it was.
    pub model: Digest,
    /// Why.
    pub reason: AbortReason,
}

impl Body for Abort {
    const TAG: &'static str = "cloister/v1/abort";
}

/// Why a round ends without a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AbortReason {
    /// Too few members announced.
    TooFewAnnounced,
    /// Too few custodians signed the first seal.
    NotSealed,
    /// Too few uploads arrived whole.
    TooFewUploaded,
    /// A custodian showed after the first seal was proposed that a member dealt badly.
    BadDealing,
}

/// The end of a round with a sum (step 7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closing {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the second seal's body.
    pub seal2: Digest,
    /// The opened blocks, ascending.
    pub sums: Vec<OpenedSum>,
    /// Who was shown to have lied about a block, ascending.
    pub blamed: Vec<BlamedMember>,
    /// Digests of every block's parameters after the sums are applied, in the order of the block table.
    pub parameters: Vec<Digest>,
    /// Digest of the model, over these.
    pub model: Digest,
    /// Root of the round's log up to the reveals, late sketches and answers.
    pub tree: Digest,
}

impl Body for Closing {
    const TAG: &'static str = "cloister/v1/closing";
}

/// What a custodian signs when it recomputed sums of a closing from masked blocks and reveals (step 7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recomputed {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the closing's body.
    pub closing: Digest,
    /// The blocks whose sums it recomputed, ascending.
    pub blocks: Vec<BlockId>,
}

impl Body for Recomputed {
    const TAG: &'static str = "cloister/v1/recomputed";
}

/// An opened block in a closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedSum {
    /// The block.
    pub block: BlockId,
    /// Digest of the sum's packed words.
    pub sum: Digest,
    /// The weights of its cohort, added up.
    pub weight: u32,
    /// What the late sketches say of it.
    pub check: SumCheck,
}

/// What the late sketches say of a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SumCheck {
    /// The plan has none for this block.
    NotSketched,
    /// All members answered, and it holds.
    Checked,
    /// Not all members answered.
    Unchecked,
    /// A sketch is too large, or the sketches do not make up the sum: it is not applied.
    Refuted,
}

/// A member that was shown to have lied about a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlamedMember {
    /// The block.
    pub block: BlockId,
    /// The member.
    pub member: PartyId,
}
