//! What a coordinator tells its driver.

use cloister_params::evaluation::PublishedEvaluation;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundSettings;
use cloister_transcript::RoundLog;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, MissingParts};
use cloister_wire::statement::ManifestCohort;

use super::{Coordinator, CoordinatorPhase, Erasure};
use crate::model::Model;
use crate::opening::OpenedSum;

/// What the driver of the coordinator must do, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum CoordinatorOutput {
    /// Send a frame to a party.
    Send {
        /// The party, which was connected when this was put out.
        to: PartyId,
        /// The frame. Frames to one party are sent in this order.
        frame: Frame,
    },
    /// Send parts of a model to a party, unless its link has some under way
    /// ([`ModelUnderWay`](super::ModelUnderWay)).
    SendModel {
        /// The member that asked for it.
        to: PartyId,
        /// The model after the last round that ended.
        model: Model,
        /// What the member asked for, which the model has.
        missing: Vec<MissingParts>,
    },
    /// Something to log or to show to the operator.
    Event(Event),
    /// Delete what this covers of the round's inputs that are kept on disk.
    Erase(Erasure),
    /// The round ended; keep the report.
    Ended(Box<RoundReport>),
}

/// What happened, for logs and progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The plan of this round went out.
    Planned(Round),
    /// A member announced, with all its letters.
    Announced(PartyId),
    /// A custodian showed that a dealer's letter is bad: the dealer is out of the round.
    BadLetter {
        /// The member that sealed the letter.
        dealer: PartyId,
        /// The custodian that opened the letter and showed the evidence.
        custodian: PartyId,
        /// Which check the letter fails.
        why: &'static str,
    },
    /// A party does not take part in the round, for this reason.
    Refused(PartyId, String),
    /// The first seal is certified.
    Sealed,
    /// A member's upload arrived whole.
    Uploaded(PartyId),
    /// The round continues without these members, because their uploads did not arrive in time.
    Missing(Vec<PartyId>),
    /// Members' secrets are being recovered from custodians' shares.
    Recovering(Vec<PartyId>),
    /// Members that are barred from the round, as they dealt badly before.
    Barred(Vec<PartyId>),
    /// Blocks that stay masked, as they were opened from the same parameters over other members.
    Repeated(Vec<BlockId>),
    /// The late sketches of a block do not add up to its sum. Its members are asked for answers that show who
    /// lied.
    Refuted(BlockId),
    /// A member was shown to have lied about a block. The block's sum is not applied.
    Blamed(PartyId, BlockId),
    /// Custodians have certificates of later endings than this coordinator's: its disk was restored from an
    /// old copy.
    Outdated {
        /// How many said so: more than `f`, so at least one of them is honest.
        custodians: usize,
        /// A round that ended, as one of them that is honest knows.
        round: Round,
    },
    /// Too few custodians or shares: the round waits, without a sum.
    QuorumLost(&'static str),
}

/// What a round in progress waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundPhase {
    /// Receiving keys of custodians, which the plan lists.
    Keys,
    /// Members' announcements and letters.
    Announcements,
    /// Custodians' signatures of the first seal.
    FirstSeal,
    /// Members' uploads.
    Uploads,
    /// Custodians' signatures of the second seal.
    SecondSeal,
    /// Custodians' signatures of an abort.
    Abort,
    /// Custodians' seeds and shares.
    Reveals,
    /// Members' late sketches, and answers about refuted blocks.
    LateSketches,
    /// Custodians' recomputed sums and their signatures of the closing.
    Closing,
}

impl Coordinator {
    /// The round in progress and what it waits for. None between rounds.
    pub fn progress(&self) -> Option<(Round, RoundPhase)> {
        let active = self.round.as_ref()?;
        let phase = match active.phase {
            CoordinatorPhase::Keys(_) => RoundPhase::Keys,
            CoordinatorPhase::Announcing(_) => RoundPhase::Announcements,
            CoordinatorPhase::Sealing1(..) => RoundPhase::FirstSeal,
            CoordinatorPhase::Uploading(..) => RoundPhase::Uploads,
            CoordinatorPhase::Sealing2(..) => RoundPhase::SecondSeal,
            CoordinatorPhase::Aborting(..) => RoundPhase::Abort,
            CoordinatorPhase::Revealing(..) => RoundPhase::Reveals,
            CoordinatorPhase::Checking(..) => RoundPhase::LateSketches,
            CoordinatorPhase::Closing(..) => RoundPhase::Closing,
        };
        Some((active.number, phase))
    }
}

/// The result of a round.
#[derive(Clone, PartialEq, Debug)]
pub struct RoundReport {
    /// The round that ended.
    pub round: Round,
    /// What the round did.
    pub settings: RoundSettings,
    /// The model that it started from.
    pub started_from: Digest,
    /// The certificate of its ending.
    pub ending: Ending,
    /// Its log, with the ending as its last entry.
    pub log: RoundLog,
    /// Members whose announcement was kept, ascending. Some may lack letters, and are then not in `U1`.
    pub announced: Vec<PartyId>,
    /// `U2`, ascending; empty if the round was aborted before the second seal.
    pub uploaded: Vec<PartyId>,
    /// The sealed cohorts; empty if the first seal was not certified.
    pub cohorts: Vec<ManifestCohort>,
    /// The opened sums, in the closing's order; none of an aborted round.
    pub sums: Vec<OpenedSum>,
    /// Bytes of the uploads that arrived whole.
    pub masked_bytes: u64,
    /// The model after the round.
    pub model: Model,
}

impl RoundReport {
    /// The blocks whose sums were opened, ascending.
    pub fn opened(&self) -> Vec<BlockId> {
        self.sums.iter().map(OpenedSum::block).collect()
    }

    /// The opened sums, packed, one after the other in the closing's order (`LOG-07`).
    pub fn packed_sums(&self) -> Vec<u8> {
        let mut packed = Vec::new();
        for sum in &self.sums {
            packed.extend_from_slice(&self.settings.ring.pack(sum.words()));
        }
        packed
    }

    /// The opened blocks, each with the number of members in its sum.
    pub fn opened_with_members(&self) -> Vec<(BlockId, u32)> {
        let (blocks, mut opened) = (self.opened(), Vec::new());
        for cohort in self.cohorts.iter().filter(|cohort| blocks.contains(&cohort.block)) {
            // A cohort is planned before uploads. A member that dropped out added neither update nor noise.
            let members =
                cohort.members.iter().filter(|listed| self.uploaded.contains(&listed.member)).count();
            opened.push((cohort.block, members as u32));
        }
        opened
    }

    /// What the round published of the model that it started from. None of a rehearsal, whose sums are not applied.
    pub fn evaluation(&self) -> Option<PublishedEvaluation> {
        let is_applied = !self.settings.rehearsal;
        is_applied.then(|| self.model.evaluation(&self.settings, &self.opened_with_members()))?
    }
}
