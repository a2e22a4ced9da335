//! What an audit found: every claim with its verdict, and what the rounds were.

use std::fmt;

use cloister_params::id::Digest;
use serde::Serialize;

use crate::claim::{AuditedClaim, ClaimVerdict};
use crate::summary::RoundSummary;

/// The name of a report's format. A format with another schema would have another name.
pub(crate) const FORMAT: &str = "cloister/evidence/v1";

/// Every claim with its verdict, in the order of [`AuditClaim::ALL`](crate::AuditClaim::ALL).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EvidenceReport {
    /// The name of the format, `cloister/evidence/v1`. Its schema is `protocols/evidence.schema.json`.
    pub format: &'static str,
    /// The digest of the edition's consortium file.
    pub epoch: Digest,
    /// The number of the edition.
    pub edition: u32,
    /// How many rounds the folder has, closed and aborted.
    pub examined: usize,
    /// The rounds that could be replayed, ascending.
    pub rounds: Vec<RoundSummary>,
    /// How many entries the log of the epoch has; none without a log.
    pub log_size: Option<u64>,
    /// The claims.
    pub claims: Vec<AuditedClaim>,
}

impl EvidenceReport {
    /// The claims that do not hold.
    pub fn refuted(&self) -> impl Iterator<Item = &AuditedClaim> {
        self.claims.iter().filter(|claim| matches!(claim.verdict, ClaimVerdict::Refuted(_)))
    }

    /// The claims that were not checked.
    pub fn not_checked(&self) -> impl Iterator<Item = &AuditedClaim> {
        self.claims.iter().filter(|claim| matches!(claim.verdict, ClaimVerdict::NotChecked(_)))
    }
}

/// What a report comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditOutcome {
    /// Every claim is proved.
    Proved,
    /// No claim is refuted, and this many were not checked.
    NotChecked(usize),
    /// This many claims do not hold.
    Refuted(usize),
}

impl EvidenceReport {
    /// What the report comes to.
    pub fn outcome(&self) -> AuditOutcome {
        match (self.refuted().count(), self.not_checked().count()) {
            (0, 0) => AuditOutcome::Proved,
            (0, left) => AuditOutcome::NotChecked(left),
            (refuted, _) => AuditOutcome::Refuted(refuted),
        }
    }
}

impl fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proved => f.write_str("every claim is proved"),
            Self::NotChecked(left) => {
                write!(f, "no claim is refuted, and {left} were not checked; the report says why")
            }
            Self::Refuted(refuted) => write!(f, "{refuted} claims do not hold; the report says where"),
        }
    }
}

impl fmt::Display for EvidenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for AuditedClaim { claim, verdict } in &self.claims {
            let sentence = claim.sentence();
            match verdict {
                ClaimVerdict::Proved => writeln!(f, "proved       {sentence}.")?,
                ClaimVerdict::Refuted(why) => writeln!(f, "REFUTED      {sentence}: {why}.")?,
                ClaimVerdict::NotChecked(why) => writeln!(f, "not checked  {sentence}: {why}.")?,
            }
        }
        Ok(())
    }
}
