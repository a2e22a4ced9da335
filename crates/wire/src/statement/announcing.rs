//! What a member says once it has trained: its keys, what it dealt to custodians, and its sketches.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::SketchValues;
use serde::{Deserialize, Serialize};

use super::Body;

/// What a member announces after training (step 2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The plan's round. A member announces once in a round; a second announcement is equivocation.
    pub round: Round,
    /// Digest of the plan's body: the settings that the contribution was made and charged for.
    pub plan: Digest,
    /// The mask key, as it is shared among custodians.
    pub mask_key: SharedKey,
    /// The seed key, as it is shared among custodians.
    pub seed_key: SharedKey,
    /// Whether the member's policy has a privacy budget, to which this contribution was charged (`ROUND-30`).
    pub has_budget: bool,
    /// The blocks that the member does not give to this round, ascending (`ROUND-38`).
    pub closed: Vec<BlockId>,
    /// One for each custodian of the plan, ascending.
    pub dealings: Vec<Dealing>,
    /// One for each expert block, ascending. They are public, and carry the plan's noise.
    pub sketches: Vec<AnnouncedSketch>,
}

impl Body for Announcement {
    const TAG: &'static str = "cloister/v1/announcement";
}

/// The public side of a key that is shared among custodians (`MASK-02`, `MASK-08`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedKey {
    /// Commitments to the coefficients of the sharing polynomial, the key's public element first: exactly
    /// `h_r`, none of them the identity.
    pub commitments: Vec<[u8; 32]>,
    /// Proof of knowledge of the key, bound to epoch, round, member and kind of key.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// What an announcement says of one custodian's letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dealing {
    /// The custodian that the letter is for.
    pub custodian: PartyId,
    /// The receiving key that the letter is sealed to. It is repeated from the plan, so that evidence of a
    /// bad letter can be checked without the plan.
    pub recipient: [u8; 32],
    /// Digest of the sealed letter.
    pub letter: Digest,
}

/// The noised sketches of one expert block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncedSketch {
    /// The expert block.
    pub block: BlockId,
    /// The sketch, in the plan's form.
    pub values: SketchValues,
    /// Noised count of the tokens routed to the expert.
    pub tokens: u32,
}
