//! Claims about what a coordinator kept, and what became of them.

use serde::Serialize;

/// What is checked. The names are stable: other programs read them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditClaim {
    /// A bundle's files are those that it lists. A folder has no list, and this claim is left out.
    Bundle,
    /// The log of the epoch is as its checkpoint says.
    Log,
    /// The log of the epoch and the logs of rounds have the same statements.
    Statements,
    /// No round is missing between the first and the last one.
    Rounds,
    /// Statements are signed by whom they have to be.
    Signatures,
    /// Plans and endings are a chain.
    Chain,
    /// Plans keep the protocol's rules, and announcements and cohorts follow from one another.
    Cohorts,
    /// Quorums signed both seals over the log before them.
    Seals,
    /// What was revealed is what was permitted and committed to.
    Reveals,
    /// Quorums signed the endings over the log before them.
    Endings,
    /// Sums were recomputed by enough custodians.
    Recomputations,
    /// The model is the one of the last ending.
    Model,
    /// The kept sums are those of closings, and models follow from them.
    OpenedSums,
    /// Sums are those of the masked blocks.
    MaskedBlocks,
    /// What closings say of late sketches follows from them.
    LateSketches,
    /// Ledgers have what rounds released.
    Ledgers,
    /// Folders of other parties fit the log.
    OtherParties,
    /// Others saw the same log.
    Cosignatures,
}

impl AuditClaim {
    /// Every claim about a folder, in the order of a report.
    pub const ALL: [Self; 17] = [
        Self::Log,
        Self::Statements,
        Self::Rounds,
        Self::Signatures,
        Self::Chain,
        Self::Cohorts,
        Self::Seals,
        Self::Reveals,
        Self::Endings,
        Self::Recomputations,
        Self::Model,
        Self::OpenedSums,
        Self::MaskedBlocks,
        Self::LateSketches,
        Self::Ledgers,
        Self::OtherParties,
        Self::Cosignatures,
    ];

    /// The claim as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Bundle => "The bundle has the files that SHA256SUMS lists",
            Self::Log => {
                "The coordinator signed the log's checkpoint, and the log's entries have the root that it names"
            }
            Self::Statements => "The log has every statement of every round, in order, and no other",
            Self::Rounds => "Rounds are numbered without a gap, and each has an ending",
            Self::Signatures => {
                "Every statement is signed by the party, the coordinator or the custodians that it needs"
            }
            Self::Chain => "Each plan names the ending before it, and starts from the model after that",
            Self::Cohorts => "Plans keep the rules, and scores and cohorts follow from the announcements",
            Self::Seals => {
                "A quorum signed both seals over the log before them, and every opened cohort reaches its floor"
            }
            Self::Reveals => {
                "Only what the seals permit was revealed, and it is what its dealers committed to"
            }
            Self::Endings => "A quorum signed each ending, and closings name the root of the log before them",
            Self::Recomputations => "Enough custodians signed that they recomputed each sum",
            Self::Model => "The model is the one that the last ending names",
            Self::OpenedSums => {
                "The kept sums are those that closings list, and applied to the model before a round they give the one after"
            }
            Self::MaskedBlocks => "The sums are those of the masked blocks",
            Self::LateSketches => "What closings say of late sketches follows from them",
            Self::Ledgers => {
                "The coordinator's ledgers charge what the rounds released, and note what they opened"
            }
            Self::OtherParties => "Other parties know endings, models and closings of this log alone",
            Self::Cosignatures => "Members and custodians saw the same log",
        }
    }
}

/// A claim that does not hold in a round, and why.
pub(crate) type ClaimFault = (AuditClaim, String);

/// A claim that a round left open, and why.
pub(crate) type ClaimGap = (AuditClaim, String);

/// What became of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub enum ClaimVerdict {
    /// It holds.
    Proved,
    /// It does not hold: where, and what was expected.
    Refuted(String),
    /// It was not checked, and why.
    NotChecked(String),
}

/// A claim with its verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AuditedClaim {
    /// The claim.
    pub claim: AuditClaim,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: ClaimVerdict,
}
