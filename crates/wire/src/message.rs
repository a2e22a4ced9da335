//! The messages between the coordinator and the parties. All traffic is between the coordinator and one party.

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use serde::{Deserialize, Serialize};

use crate::statement::{
    Abort, Announcement, BlameAnswer, Certificate, Closing, LateSketches, ReceivingKey, Recomputed, Seal1,
    Seal2, Signature, Signed, Upload,
};

/// A message, by direction and step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Coordinator → custodian, before step 1: make a receiving key for this round.
    KeyRequest {
        /// The round to come.
        round: Round,
    },
    /// Custodian → coordinator.
    ReceivingKey(Signed<ReceivingKey>),
    /// Coordinator → all, step 1.
    Plan {
        /// The plan.
        plan: Signed<RoundPlan>,
        /// The signed receiving keys that the plan names.
        receiving_keys: Vec<Signed<ReceivingKey>>,
        /// How the previous round ended; none before the first.
        previous: Option<Ending>,
    },
    /// Member or custodian → coordinator: this party does not take part in the round, for a reason.
    Refusal {
        /// The round.
        round: Round,
        /// The role in which it does not take part.
        role: Role,
        /// A sentence for people.
        reason: String,
    },
    /// Member → coordinator, step 2, and coordinator → all.
    Announcement(Signed<Announcement>),
    /// Member → coordinator → custodian, step 2.
    Letter {
        /// The round.
        round: Round,
        /// Who dealt.
        dealer: PartyId,
        /// Who can open it.
        custodian: PartyId,
        /// The sealed shares.
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
    },
    /// Coordinator → custodians, step 3.
    ProposeSeal1 {
        /// The manifest's body.
        #[serde(with = "serde_bytes")]
        manifest: Vec<u8>,
        /// The seal's body.
        #[serde(with = "serde_bytes")]
        seal: Vec<u8>,
    },
    /// Custodian → coordinator, steps 3, 5 and 7: a signature on a proposed body.
    Vote {
        /// Digest of the body.
        body: Digest,
        /// The signature over tag and body.
        signature: Signature,
    },
    /// Coordinator → all, step 4: the first seal, which invites uploads.
    Sealed1 {
        /// The manifest's body.
        #[serde(with = "serde_bytes")]
        manifest: Vec<u8>,
        /// The certificate.
        certificate: Certificate<Seal1>,
        /// Blocks of the receiver that already arrived whole, ascending.
        received: Vec<BlockId>,
    },
    /// Member → coordinator, step 4: all chunks were sent.
    Uploaded(Signed<Upload>),
    /// Coordinator → custodians, step 5.
    ProposeSeal2 {
        /// The seal's body.
        #[serde(with = "serde_bytes")]
        seal: Vec<u8>,
        /// The members' signed roots that it names.
        uploads: Vec<Signed<Upload>>,
    },
    /// Coordinator → custodians: end the round without a sum.
    ProposeAbort {
        /// The abort's body.
        #[serde(with = "serde_bytes")]
        abort: Vec<u8>,
    },
    /// Coordinator → all, step 6.
    Sealed2 {
        /// The certificate.
        certificate: Certificate<Seal2>,
    },
    /// Coordinator → custodians, step 6: this member of `U2` left; its seeds are needed from shares.
    SeedSharesRequest {
        /// The round.
        round: Round,
        /// The member.
        dealer: PartyId,
    },
    /// Member → coordinator, step 6: the seeds of all valid blocks that it is summed in.
    Seeds {
        /// The round.
        round: Round,
        /// The seeds.
        seeds: RevealedSeeds,
    },
    /// Custodian → coordinator, step 6: its share of the mask key of a member that did not upload.
    MaskKeyShare {
        /// The round.
        round: Round,
        /// Whose mask key.
        dealer: PartyId,
        /// The share.
        share: [u8; 32],
    },
    /// Coordinator → custodians, step 7.
    ProposeClosing {
        /// The closing's body.
        #[serde(with = "serde_bytes")]
        closing: Vec<u8>,
        /// The blocks that this custodian is asked to recompute; their masked blocks came before as chunks.
        recompute: Vec<BlockId>,
    },
    /// Coordinator → custodian, step 7: parameters before the round of a block that it is asked to recompute.
    OldParameters(ModelPart),
    /// Custodian → coordinator, step 7: sums that it recomputed.
    Recomputed(Signed<Recomputed>),
    /// Coordinator → custodian, step 7: that a masked block, which follows as chunks, is what its member signed.
    MaskedBlock {
        /// The round.
        round: Round,
        /// The member.
        member: PartyId,
        /// The block.
        block: BlockId,
        /// From the block's leaf up to the root that the member signed.
        path: Vec<Digest>,
    },
    /// Coordinator → all: how the round ended. Sums travel before it as chunks.
    Ended(Ending),
    /// Member → coordinator: the model of this digest is needed to follow.
    ModelRequest {
        /// Digest of the model.
        model: Digest,
    },
    /// Coordinator → member.
    ModelPart(ModelPart),
    /// Custodian → coordinator, step 2: this dealer's letter holds what was committed to.
    LetterOpened {
        /// The round.
        round: Round,
        /// Who dealt.
        dealer: PartyId,
    },
    /// Custodian → coordinator, step 2: this dealer's letter does not, and here is what shows it.
    LetterFault {
        /// The round.
        round: Round,
        /// Who dealt.
        dealer: PartyId,
        /// The agreed element of the letter's and the receiving key.
        agreed: [u8; 32],
        /// That it is that.
        #[serde(with = "serde_bytes")]
        proof: [u8; 64],
    },
    /// Coordinator → members, step 6: send late sketches of what was uploaded. The seeds from which the late sketches' own
    /// seeds follow came before it.
    LateRequest {
        /// The round.
        round: Round,
    },
    /// Member → coordinator, step 6, and coordinator → custodians, and → members when a sum is refuted.
    LateSketches(Signed<LateSketches>),
    /// Coordinator → members, step 6: the late sketches of this block do not make up its sum, which came as chunks.
    BlameRequest {
        /// The round.
        round: Round,
        /// The block.
        block: BlockId,
    },
    /// Member → coordinator, step 6, and coordinator → custodians, and → members whose answers differ.
    BlameAnswer(Signed<BlameAnswer>),
    /// Member → coordinator, step 6, and coordinator → custodians: what a pair agreed on.
    PairOpened {
        /// The round.
        round: Round,
        /// What it agreed on.
        opening: PairOpening,
    },
    /// Coordinator → members, step 6, and → custodians, step 7: something that was revealed, as the log has it.
    Revealed {
        /// The round.
        round: Round,
        /// What was revealed.
        reveal: Reveal,
    },
    /// Coordinator → all, step 1: evidence that bars a member from the round.
    BadDealing(BadDealing),
    /// Custodian → coordinator, step 6: its parts of the seeds of a member that uploaded and left.
    SeedParts {
        /// The round.
        round: Round,
        /// Whose seeds.
        dealer: PartyId,
        /// Parts of the seeds of all valid blocks that the dealer is summed in.
        parts: RevealedSeeds,
    },
    /// Custodian → coordinator, which asked about a round that ended: the last round whose certified ending this custodian knows.
    Ahead {
        /// That round.
        round: Round,
    },
}

/// What two members agree on, shown by one of them when their signed answers differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairOpening {
    /// Who shows it.
    pub member: PartyId,
    /// The other member of the pair.
    pub other: PartyId,
    /// `e[member]·E[other]`.
    pub agreed: [u8; 32],
    /// That it is that.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// Evidence that a dealer sealed a bad letter to a custodian: it can be checked with the consortium file alone (`ROUND-33`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadDealing {
    /// The dealer's announcement.
    pub announcement: Signed<Announcement>,
    /// Whose letter is bad.
    pub custodian: PartyId,
    /// The letter.
    #[serde(with = "serde_bytes")]
    pub letter: Vec<u8>,
    /// The agreed element of the letter's and the receiving key.
    pub agreed: [u8; 32],
    /// That it is that.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// A part of a block's parameters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelPart {
    /// The block.
    pub block: BlockId,
    /// The part's number in its block, from 0.
    pub index: u32,
    /// Little-endian 32-bit floats, at most 4 MiB.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// How a round ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// With sums.
    Closed {
        /// The certificate of the closing.
        certificate: Certificate<Closing>,
        /// For each opened block, statements of enough custodians that they recomputed its sum.
        recomputed: Vec<Signed<Recomputed>>,
    },
    /// Without.
    Aborted(Certificate<Abort>),
}

/// A secret that both seals permitted to reveal, as the log has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reveal {
    /// Whose secret.
    pub dealer: PartyId,
    /// What was revealed.
    pub secret: RevealedSecret,
}

/// What was revealed of a dealer.
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
    /// That one secret made all of them.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
}

/// The seed of one block, or a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockSeed {
    /// The block.
    pub block: BlockId,
    /// The group element.
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
