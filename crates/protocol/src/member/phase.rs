//! Where a member stands in a round. Each phase holds only the data that exists in it.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_wire::frame::Frame;
use cloister_wire::statement::{BlameAnswer, LateSketches, Signed, Upload};

use crate::dealing::RoundSecrets;
use crate::fault::Fault;
use crate::late::LateEvidence;
use crate::manifest::Announcements;
use crate::opening::MaskedBlocks;
use crate::reveals::CheckedReveals;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SealedManifest};

/// The phases of a round, in their order.
#[derive(Debug)]
pub(super) enum MemberPhase {
    /// There is no plan that this member takes part in.
    Idle,
    /// The plan is admitted; this member trains, or gets the model first.
    Training(Box<MemberRound>),
    /// This member announced, and waits for the first seal.
    Announced(Box<MemberRound>, Box<SentAnnouncement>),
    /// This member uploaded under the first seal, and waits for the second.
    Uploaded(Box<MemberRound>, Box<SentAnnouncement>, Box<SentUpload>),
    /// Both seals are certified, and the second lists this member's upload: it revealed its seeds.
    Revealed(Box<MemberRound>, Box<SealedRound>),
}

/// What a member holds of a round from its plan on.
#[derive(Debug)]
pub(super) struct MemberRound {
    pub(super) context: RoundContext,
    /// Other members' announcements, from which it checks the manifest.
    pub(super) announcements: Announcements,
    /// The published sums, packed. Each is a prefix until all its chunks have arrived; its digest is checked
    /// against the closing.
    pub(super) sums: BTreeMap<BlockId, Vec<u8>>,
}

/// This member's announcement: sent once more after a lost link.
#[derive(Debug)]
pub(super) struct SentAnnouncement {
    pub(super) secrets: RoundSecrets,
    /// The announcement, then its letters.
    pub(super) frames: Vec<Frame>,
}

/// This member's upload under the first seal: sent once more after a lost link.
#[derive(Debug)]
pub(super) struct SentUpload {
    pub(super) sealed: SealedManifest,
    pub(super) blocks: MaskedBlocks,
    pub(super) root: Digest,
    pub(super) signed: Signed<Upload>,
}

/// The round under both seals.
#[derive(Debug)]
pub(super) struct SealedRound {
    pub(super) announcement: SentAnnouncement,
    pub(super) upload: SentUpload,
    pub(super) cohorts: SealedCohorts,
    pub(super) late: LateExchange,
}

/// The late sketches and answers that this member sent and received in this round. It signs each of them
/// once.
#[derive(Debug, Default)]
pub(super) struct LateExchange {
    pub(super) reveals: CheckedReveals,
    /// The sketches that this member sent.
    pub(super) sketches: Option<Signed<LateSketches>>,
    /// What other members sent.
    pub(super) evidence: LateEvidence,
    /// The answers that this member sent.
    pub(super) answers: BTreeMap<BlockId, Signed<BlameAnswer>>,
    /// The members with which this member opened its shared secret.
    pub(super) opened: BTreeSet<PartyId>,
}

impl MemberRound {
    pub(super) fn new(context: RoundContext) -> Self {
        Self { context, announcements: Announcements::new(), sums: BTreeMap::new() }
    }

    /// Whether members contribute zeros (`ROUND-39`).
    pub(super) fn is_rehearsal(&self) -> bool {
        self.context.plan().settings.rehearsal
    }
}

impl MemberPhase {
    /// What the plan's round has so far.
    pub(super) fn planned(&self) -> Option<&MemberRound> {
        match self {
            Self::Idle => None,
            Self::Training(planned)
            | Self::Announced(planned, _)
            | Self::Uploaded(planned, ..)
            | Self::Revealed(planned, _) => Some(planned),
        }
    }

    /// The same, to add to it.
    pub(super) fn planned_mut(&mut self) -> Option<&mut MemberRound> {
        match self {
            Self::Idle => None,
            Self::Training(planned)
            | Self::Announced(planned, _)
            | Self::Uploaded(planned, ..)
            | Self::Revealed(planned, _) => Some(planned),
        }
    }

    /// The round that this member takes part in.
    pub(super) fn round(&self) -> Option<Round> {
        self.planned().map(|planned| planned.context.round())
    }

    /// What this member announced in the round.
    pub(super) fn announcement(&self) -> Option<&SentAnnouncement> {
        match self {
            Self::Announced(_, announcement) | Self::Uploaded(_, announcement, _) => Some(announcement),
            Self::Revealed(_, sealed) => Some(&sealed.announcement),
            Self::Idle | Self::Training(_) => None,
        }
    }

    /// What this member uploaded in the round, and from which secrets.
    ///
    /// # Errors
    /// `what` is unexpected before the upload.
    pub(super) fn uploaded(
        &self,
        what: &'static str,
    ) -> Result<(&MemberRound, &SentAnnouncement, &SentUpload), Fault> {
        match self {
            Self::Uploaded(planned, announcement, upload) => Ok((planned, announcement, upload)),
            Self::Revealed(planned, sealed) => Ok((planned, &sealed.announcement, &sealed.upload)),
            _ => Err(Fault::unexpected(what)),
        }
    }

    /// The round under both seals.
    ///
    /// # Errors
    /// `what` is unexpected before the second seal.
    pub(super) fn sealed(&self, what: &'static str) -> Result<(&MemberRound, &SealedRound), Fault> {
        match self {
            Self::Revealed(planned, sealed) => Ok((planned, sealed)),
            _ => Err(Fault::unexpected(what)),
        }
    }

    /// The same, to add to it.
    ///
    /// # Errors
    /// `what` is unexpected before the second seal.
    pub(super) fn sealed_mut(
        &mut self,
        what: &'static str,
    ) -> Result<(&MemberRound, &mut SealedRound), Fault> {
        match self {
            Self::Revealed(planned, sealed) => Ok((planned, sealed)),
            _ => Err(Fault::unexpected(what)),
        }
    }

    /// This member announced.
    pub(super) fn announce(&mut self, announcement: SentAnnouncement) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Training(planned) => Self::Announced(planned, Box::new(announcement)),
            other => other,
        };
    }

    /// This member uploaded.
    pub(super) fn upload(&mut self, upload: SentUpload) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Announced(planned, announcement) => Self::Uploaded(planned, announcement, Box::new(upload)),
            other => other,
        };
    }

    /// The second seal is certified. If its certificate comes again, late sketches and answers that were sent
    /// are kept, so that they are sent again byte for byte and never made a second time.
    pub(super) fn reveal(&mut self, cohorts: SealedCohorts) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Uploaded(planned, announcement, upload) => {
                let (announcement, upload, late) = (*announcement, *upload, LateExchange::default());
                Self::Revealed(planned, Box::new(SealedRound { announcement, upload, cohorts, late }))
            }
            Self::Revealed(planned, mut sealed) => {
                // The certificates of one seal may have different votes, but the body, and so the cohorts,
                // are the same.
                sealed.cohorts = cohorts;
                Self::Revealed(planned, sealed)
            }
            other => other,
        };
    }

    /// Takes the round out if it is the one that ended or an earlier one. With it, its secrets are dropped
    /// and erased.
    pub(super) fn end(&mut self, ended: Round) -> Self {
        // A member that was away may learn that a later round ended: its own round cannot end any more.
        if self.round().is_some_and(|round| round <= ended) {
            return std::mem::replace(self, Self::Idle);
        }
        Self::Idle
    }
}
