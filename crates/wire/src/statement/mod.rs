//! Statements: the bodies that parties sign.
//!
//! A signature and a digest cover the bytes of a body as they came, so [`Signed`] and [`Certificate`] carry
//! bytes, and reading them is a step of its own.

mod announcing;
mod ending;
mod late;
mod sealing;

use std::marker::PhantomData;

use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

pub use announcing::{AnnouncedSketch, Announcement, Dealing, SharedKey};
pub use ending::{Abort, AbortReason, BlamedMember, Closing, ListedSum, Recomputed, SumCheck};
pub use late::{BlameAnswer, LateSketch, LateSketches, PairValue};
pub use sealing::{
    AnnouncedMember, CohortChoice, Manifest, ManifestCohort, Seal1, Seal2, Upload, UploadedMember,
    WeightedMember,
};

/// A body that is signed under a tag of its own, so that a signature on one kind fits no other.
pub trait Body: Serialize + DeserializeOwned {
    /// Signed in front of the body, after which a zero byte separates the two.
    const TAG: &'static str;
}

/// An Ed25519 signature as it travels.
// serde has no arrays of 64 bytes, so signatures and proofs travel as byte strings, after their length.
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
    /// Ed25519 over the body's tag, a zero byte, and the body.
    pub signature: Signature,
    // Not sent: the tag under the signature tells what the body is.
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
    /// The custodian that signed. In a certificate, custodians ascend and are distinct.
    pub custodian: PartyId,
    /// Ed25519 over the body's tag, a zero byte, and the body.
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
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The only round whose letters are sealed to this key; its secret is erased with the ending.
    pub round: Round,
    /// The encoded ristretto255 element, not the identity.
    pub key: [u8; 32],
}

impl Body for ReceivingKey {
    const TAG: &'static str = "cloister/v1/receiving-key";
}

impl Body for RoundPlan {
    const TAG: &'static str = "cloister/v1/plan";
}
