//! Checks what a coordinator kept of the rounds of an epoch: the log of the epoch, the logs of its rounds, and the model.
//!
//! [`AuditedFolder`] is what the coordinator's folder has. [`verify`] checks it against the consortium file and gives an
//! [`EvidenceReport`]: one line for each [`AuditClaim`], which is proved, refuted, or not checked, with the reason.
//!
//! # What it is not
//! It needs no network, no secret, and none of the coordinator's code: rounds are replayed with the checks by which
//! custodians and members accept them. Opened sums are compared with closings and applied to the models, and late sketches
//! are judged again. Sums are not recomputed from masked blocks, which are not kept. What the files do not have, such as
//! cosignatures of other parties, is listed as not checked.
//!
//! # Trust
//! The governance key that the reader pinned, and SHA-256 and Ed25519. A coordinator that conspires with a quorum of
//! custodians can sign rounds that did not happen. A coordinator alone can leave off the last rounds together with their
//! entries of the log: only what another party kept shows that, which is a [`ComparedFolder`].
//!
//! # Example
//! Of a folder that has nothing, nothing is proved and nothing is refuted:
//!
//! ```
//! use cloister_audit::{AuditedFolder, verify};
//! use cloister_cluster::consortium::consortium;
//!
//! let epoch = consortium(&[1; 5]).epoch;
//! let folder = AuditedFolder::read(std::path::Path::new("a folder that is not there"), &epoch)?;
//! let report = verify(&folder, &[], &epoch);
//! assert_eq!(report.refuted().count(), 0);
//! assert_eq!(report.not_checked().count(), report.claims.len());
//! # Ok::<(), std::io::Error>(())
//! ```

// This crate reads files.
#![allow(clippy::disallowed_methods)]

mod bundle;
mod claim;
mod folder;
#[cfg_attr(not(feature = "ledgers"), path = "no_ledgers.rs")]
mod ledgers;
mod log;
mod parties;
mod places;
mod replay;
mod report;
mod request;
mod signatures;
mod summary;
mod sums;
mod verify;

pub use bundle::{BundledFile, EvidenceBundleError, evidence_files, write_bundle};
pub use claim::{AuditClaim, AuditedClaim, ClaimVerdict};
pub use folder::{AuditedFolder, AuditedRound, KeptFile};
pub use parties::ComparedFolder;
pub use report::{AuditOutcome, EvidenceReport};
pub use request::{AuditError, AuditRequest};
pub use summary::{RoundSummary, SummarizedCohort, SummarizedEnding};
pub use verify::verify;
