//! The messages between the coordinator and the parties. All traffic is between the coordinator and one
//! party.

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use serde::{Deserialize, Serialize};

pub use crate::model::{MissingParts, ModelBlock, ModelPart, ModelTable};
use crate::statement::{
    Abort, Announcement, BlameAnswer, Certificate, Closing, LateSketches, ReceivingKey, Recomputed, Seal1,
    Seal2, Signature, Signed, Upload,
};

/// A message, by direction and step.
// A variant is encoded as its position, so the order is part of the protocol: a new one goes to the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Coordinator → custodian, before step 1: make a receiving key for this round.
    KeyRequest {
        /// The round that the coordinator is about to plan.
        round: Round,
    },
    /// Custodian → coordinator.
    ReceivingKey(Signed<ReceivingKey>),
    /// Coordinator → all, step 1.
    Plan {
        /// The plan, signed by the coordinator.
        plan: Signed<RoundPlan>,
        /// The signed receiving keys that the plan names, so that the coordinator cannot put in one of its
        /// own.
        receiving_keys: Vec<Signed<ReceivingKey>>,
        /// How the previous round ended; `None` before the first round of the epoch. A party that was away
        /// learns it here.
        previous: Option<Ending>,
    },
    /// Member or custodian → coordinator: this party does not take part in the round, for a reason.
    Refusal {
        /// The round of the plan that the sender refuses.
        round: Round,
        /// The role in which it does not take part.
        role: Role,
        /// The rule, the plan's value and the limit, for people. The coordinator keeps at most 1,024 bytes.
        reason: String,
    },
    /// Member → coordinator, step 2, and coordinator → all.
    Announcement(Signed<Announcement>),
    /// Member → coordinator → custodian, step 2.
    Letter {
        /// The round of the announcement that has the letter's digest.
        round: Round,
        /// The member that sealed it. The coordinator rejects one that is not the sender.
        dealer: PartyId,
        /// The custodian whose receiving key it is sealed to.
        custodian: PartyId,
        /// The custodian's shares of both keys, encrypted, after the ephemeral key and its proof.
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
    },
    /// Coordinator → custodians, step 3.
    ProposeSeal1 {
        /// The manifest's body, as bytes: the seal names the digest of exactly these.
        #[serde(with = "serde_bytes")]
        manifest: Vec<u8>,
        /// The body of the [`Seal1`] to sign.
        #[serde(with = "serde_bytes")]
        seal: Vec<u8>,
    },
    /// Custodian → coordinator, steps 3, 5 and 7: a signature on a proposed body.
    Vote {
        /// Digest of the signed body. The body itself is not repeated: the coordinator proposed it.
        body: Digest,
        /// Ed25519 over the body's tag, a zero byte, and the body.
        signature: Signature,
    },
    /// Coordinator → all, step 4: the first seal, which invites uploads.
    Sealed1 {
        /// The manifest's body, from which a member reads which blocks it uploads.
        #[serde(with = "serde_bytes")]
        manifest: Vec<u8>,
        /// The signatures of a quorum of custodians on the first seal.
        certificate: Certificate<Seal1>,
        /// What arrived of the receiver's upload, ascending by block; it sends the rest (`ROUND-41`). `None`
        /// from the second seal's proposal on, when uploads are no longer taken.
        received: Option<Vec<ReceivedChunks>>,
    },
    /// Member → coordinator, step 4: all chunks were sent.
    Uploaded(Signed<Upload>),
    /// Coordinator → custodians, step 5.
    ProposeSeal2 {
        /// The body of the [`Seal2`] to sign.
        #[serde(with = "serde_bytes")]
        seal: Vec<u8>,
        /// For each member of `U2`, its signature on the root that the seal lists for it, in the same order.
        uploads: Vec<Signed<Upload>>,
    },
    /// Coordinator → custodians: end the round without a sum.
    ProposeAbort {
        /// The body of the [`Abort`] to sign.
        #[serde(with = "serde_bytes")]
        abort: Vec<u8>,
    },
    /// Coordinator → all, step 6.
    Sealed2 {
        /// The signatures of a quorum of custodians. With them, secrets may be revealed.
        certificate: Certificate<Seal2>,
    },
    /// Coordinator → custodians, step 6: this member of `U2` left; its seeds are needed from shares.
    SeedSharesRequest {
        /// The round of the second seal.
        round: Round,
        /// The member of `U2` whose seeds are missing.
        dealer: PartyId,
    },
    /// Member → coordinator, step 6: the seeds of all valid blocks that it is summed in.
    Seeds {
        /// The round of the second seal.
        round: Round,
        /// All seeds that the seals permit of the sender, with their proof.
        seeds: RevealedSeeds,
    },
    /// Custodian → coordinator, step 6: its share of the mask key of a member that did not upload.
    MaskKeyShare {
        /// The round of the second seal.
        round: Round,
        /// The member outside `U2` whose mask key the share is of.
        dealer: PartyId,
        /// The share, a canonical scalar. It is checked against the dealer's commitments.
        share: [u8; 32],
    },
    /// Coordinator → custodians, step 7.
    ProposeClosing {
        /// The body of the [`Closing`] to sign.
        #[serde(with = "serde_bytes")]
        closing: Vec<u8>,
        /// The blocks that this custodian is asked to recompute. Their masked blocks, reveals and parameters
        /// came before. May be empty: the custodian signs all the same.
        recompute: Vec<BlockId>,
    },
    /// Coordinator → custodian, step 7: parameters before the round of a block that it is asked to recompute.
    OldParameters(ModelPart),
    /// Custodian → coordinator, step 7: sums that it recomputed.
    Recomputed(Signed<Recomputed>),
    /// Coordinator → custodian, step 7: announces a masked block, which follows as chunks, with the path that
    /// shows that its member signed it.
    MaskedBlock {
        /// The round of the second seal.
        round: Round,
        /// The member of `U2` that uploaded it.
        member: PartyId,
        /// The block, which the receiver is asked to recompute.
        block: BlockId,
        /// From the block's leaf up to the root that the member signed.
        path: Vec<Digest>,
    },
    /// Coordinator → all: how the round ended. Sums travel before it as chunks.
    Ended(Ending),
    /// Member → coordinator: parts of the model of this digest (`ROUND-42`). The answer is its table, and then
    /// these parts, in order.
    ModelRequest {
        /// Digest of the model that the sender lacks. On a link of rounds it is answered if it is the
        /// coordinator's present model.
        model: Digest,
        /// What the sender lacks of it, ascending by block; nothing for the table alone.
        missing: Vec<MissingParts>,
    },
    /// Coordinator → member, after the model's table.
    ModelPart(ModelPart),
    /// Custodian → coordinator, step 2: this dealer's letter holds what was committed to.
    LetterOpened {
        /// The round of the letter.
        round: Round,
        /// The member that sealed the letter.
        dealer: PartyId,
    },
    /// Custodian → coordinator, step 2: this dealer's letter does not hold what was committed to, and this
    /// shows it.
    LetterFault {
        /// The round of the letter.
        round: Round,
        /// The member that sealed the letter.
        dealer: PartyId,
        /// What the letter's ephemeral key and the receiving key agree on. With it, anybody can open the
        /// letter. Zeros where the ephemeral key has no valid proof.
        agreed: [u8; 32],
        /// A proof that `agreed` is what the two keys agree on, or zeros.
        #[serde(with = "serde_bytes")]
        proof: [u8; 64],
    },
    /// Coordinator → members, step 6: send late sketches of what was uploaded. The seeds that fix the
    /// projections came before it.
    LateRequest {
        /// The round of the second seal.
        round: Round,
    },
    /// Member → coordinator, step 6, and coordinator → custodians, and → members when a sum is refuted.
    LateSketches(Signed<LateSketches>),
    /// Coordinator → members, step 6: the late sketches of this block do not add up to its sum, which came as
    /// chunks.
    BlameRequest {
        /// The round of the second seal.
        round: Round,
        /// The block whose sum is refuted. The row is not named: each member finds it from what was signed.
        block: BlockId,
    },
    /// Member → coordinator, step 6, and coordinator → custodians, and → members whose answers differ.
    BlameAnswer(Signed<BlameAnswer>),
    /// Member → coordinator, step 6, and coordinator → custodians: what a pair agreed on.
    PairOpened {
        /// The round of the two answers that differ.
        round: Round,
        /// The shared secret and its proof.
        opening: PairOpening,
    },
    /// Coordinator → members, step 6, and → custodians, step 7: something that was revealed, as the log has
    /// it.
    Revealed {
        /// The round of the second seal.
        round: Round,
        /// The secret, and whose it is. It is public from here on.
        reveal: Reveal,
    },
    /// Coordinator → all, step 1: evidence that bars a member from the round.
    BadDealing(BadDealing),
    /// Custodian → coordinator, step 6: its parts of the seeds of a member that uploaded and left.
    SeedParts {
        /// The round of the second seal.
        round: Round,
        /// The member of `U2` whose seeds these are parts of.
        dealer: PartyId,
        /// Parts of the seeds of all valid blocks that the dealer is summed in.
        parts: RevealedSeeds,
    },
    /// Custodian → coordinator, in answer to a request or plan for a round that has ended.
    Ahead {
        /// The last round whose certified ending the sender knows.
        round: Round,
    },
    /// Coordinator → all, when a party connects: the consortium file that is in force, from the second edition
    /// on. A party that has an earlier one checks it, and begins its epoch (`CONS-11`).
    Edition {
        /// The file's bytes.
        #[serde(with = "serde_bytes")]
        file: Vec<u8>,
        /// The governance key's signature of the bytes.
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
    },
    /// Coordinator → member: the blocks of a model that was asked for, before its parts.
    ModelTable(ModelTable),
}

/// How much of one masked block arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceivedChunks {
    /// A block of the receiver's upload.
    pub block: BlockId,
    /// How many of its chunks arrived, from the first on: at least 1, at most all.
    pub chunks: u32,
}

/// What two members agree on, shown by one of them when their signed answers differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairOpening {
    /// The member that shows it and proves it with its mask key.
    pub member: PartyId,
    /// The other member of the pair.
    pub other: PartyId,
    /// `e[member]·E[other]`.
    pub agreed: [u8; 32],
    /// A proof that `agreed` is what the two mask keys agree on.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// Evidence that a dealer sealed a bad letter to a custodian: it can be checked with the consortium file
/// alone (`ROUND-33`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadDealing {
    /// The dealer's announcement.
    pub announcement: Signed<Announcement>,
    /// The custodian that the letter was sealed to, and that showed it.
    pub custodian: PartyId,
    /// The letter. Its digest is in the announcement.
    #[serde(with = "serde_bytes")]
    pub letter: Vec<u8>,
    /// What the letter's ephemeral key and the receiving key agree on; it opens the letter.
    pub agreed: [u8; 32],
    /// A proof that `agreed` is what the two keys agree on.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// How a round ended, with all that a party which was away needs to check it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// Sums were opened.
    Closed {
        /// The certificate of the closing.
        certificate: Certificate<Closing>,
        /// For each opened block, statements of enough custodians that they recomputed its sum.
        recomputed: Vec<Signed<Recomputed>>,
    },
    /// Nothing was opened.
    Aborted(Certificate<Abort>),
}

/// A secret that both seals permitted to reveal, as the log has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reveal {
    /// The member whose secret it is.
    pub dealer: PartyId,
    /// What was revealed.
    pub secret: RevealedSecret,
}

/// What was revealed of a dealer.
// The position of a variant enters the log's leaves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RevealedSecret {
    /// The mask key of a member that did not upload.
    MaskKey([u8; 32]),
    /// The seeds of one that did, from the member itself.
    Seeds(RevealedSeeds),
    /// A custodian's parts of the seeds of one that did.
    SeedParts {
        /// Whose parts.
        custodian: PartyId,
        /// The parts.
        parts: RevealedSeeds,
    },
}

/// Seeds of one dealer, or one custodian's parts of them, with one proof for all (`MASK-15`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevealedSeeds {
    /// Ascending by block.
    pub seeds: Vec<BlockSeed>,
    /// A proof that one secret made all of them: the seed key, or the custodian's share of it.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// The seed of one block, or a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockSeed {
    /// The block that the seed masks.
    pub block: BlockId,
    /// The encoded group element: the seed itself, or a custodian's part of it.
    pub seed: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn messages_survive_and_secrets_of_a_letter_are_raw_bytes() {
        let letter = Message::Letter {
            round: Round(1),
            dealer: PartyId(2),
            custodian: PartyId(3),
            sealed: vec![9; 5],
        };
        let bytes = codec::encode(&letter);
        assert_eq!(bytes.len(), 4 + 8 + 4 + 4 + 8 + 5);
        assert_eq!(codec::decode::<Message>(&bytes), Ok(letter));
        let vote = Message::Vote { body: Digest([1; 32]), signature: Signature([2; 64]) };
        assert_eq!(codec::decode::<Message>(&codec::encode(&vote)), Ok(vote));
    }
}
