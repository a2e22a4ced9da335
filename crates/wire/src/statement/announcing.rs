//! What a member says once it has trained: its keys, what it dealt to custodians, and its sketches.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use serde::{Deserialize, Serialize};

use super::Body;

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
