//! The log of a round, and the public log of an epoch: Merkle trees (RFC 6962) that others can check.
//!
//! - [`round`]: everything that a round's outcome follows from (`LOG-01`). Each seal names the root of the log up to
//!   it, so a custodian that signs a seal signs everything before it. Rounds are chained by the digests of their
//!   endings, which the next plan names. Leaves are canonical bodies without signatures, so the root does not depend
//!   on who signed or how often.
//! - [`leaf`]: what the log of an epoch has of each statement of a round (`LOG-05`).
//! - [`epoch_log`], [`tiles`]: a log that only grows, and the files in which it is published (c2sp.org/tlog-tiles).
//! - [`keys`], [`note`], [`checkpoint`], [`cosignature`]: signed statements about a log's size and root
//!   (c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature).
//! - [`proof`], [`tlog_proof`]: that a log has an entry, and that it begins with an earlier one
//!   (c2sp.org/tlog-proof).
//!
//! # What it is not
//! The log of a round holds masked blocks by their digests only, and no secret that both seals did not permit to
//! reveal. It does not check what it is given: `cloister_protocol` appends only what it checked. The log of an epoch
//! does not give its entries a meaning. Nothing here reads or writes files: paths and bytes are values, and a time is
//! an argument.
//!
//! # Trust
//! The coordinator writes both logs. Anybody who holds a round's bodies computes the same root, and compares it with
//! the one that a quorum of custodians signed. A checkpoint is the log's word; only cosigners can say that the log
//! showed everybody the same one.
//!
//! # Example
//! Reading a log: two parties that hold the same bodies agree on the root, and one other byte changes it.
//!
//! ```
//! use cloister_params::id::PartyId;
//! use cloister_transcript::{EntryKind, RoundLog};
//!
//! let mut log = RoundLog::default();
//! log.push(EntryKind::Plan, PartyId::COORDINATOR, b"the plan's body".to_vec());
//! log.push(EntryKind::Announcement, PartyId(3), b"the announcement's body".to_vec());
//!
//! let mut recomputed = RoundLog::default();
//! for entry in log.entries() {
//!     recomputed.push(entry.kind, entry.party, entry.body.clone());
//! }
//! assert_eq!(recomputed.root(), log.root());
//!
//! recomputed.push(EntryKind::Manifest, PartyId::COORDINATOR, Vec::new());
//! assert_ne!(recomputed.root(), log.root());
//! assert!(log.entries()[1].to_json_line().starts_with(r#"{"kind":"announcement","party":3,"#));
//! ```
//!
//! Publishing a log: a hospital checks that an entry is in it, with the keys of the log and of a witness alone.
//!
//! ```
//! use cloister_crypto::{SigningKey, merkle};
//! use cloister_transcript::checkpoint::{LogCheckpoint, VerifiedCheckpoint};
//! use cloister_transcript::cosignature::{CosignerPolicy, cosign};
//! use cloister_transcript::epoch_log::EpochLog;
//! use cloister_transcript::keys::{KeyName, SignatureType, VerifierKey};
//! use cloister_transcript::tlog_proof::TlogProof;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut log = EpochLog::default();
//! log.append(b"round 1".to_vec())?;
//! log.append(b"round 2".to_vec())?;
//!
//! let (origin, log_secret) = (KeyName::new("consortium.example/log")?, SigningKey::from_seed(&[1; 32]));
//! let log_key = VerifierKey::new(origin.clone(), SignatureType::Ed25519, log_secret.public())?;
//! let note = LogCheckpoint { origin, head: log.head() }.sign(&log_secret)?;
//!
//! let (name, secret) = (KeyName::new("hospital.example/witness")?, SigningKey::from_seed(&[2; 32]));
//! let witness_key = VerifierKey::new(name.clone(), SignatureType::CosignatureV1, secret.public())?;
//! let checkpoint = VerifiedCheckpoint::open(&note, &log_key)?;
//! let note = note.with_signature(cosign(&checkpoint, 1_800_000_000, &name, &secret)?)?;
//!
//! let hashes = log.inclusion_proof(1, 2).ok_or("no such entry")?;
//! let text = TlogProof { extra: Vec::new(), index: 1, hashes, checkpoint: note }.to_string();
//!
//! let policy = CosignerPolicy::new(vec![witness_key], 1)?;
//! let proof = TlogProof::parse(text.as_bytes())?;
//! let proven = proof.verify(merkle::leaf_hash(b"round 2"), &log_key, &policy)?;
//! assert_eq!(proven.cosignatures[0].time, 1_800_000_000);
//! assert!(proof.verify(merkle::leaf_hash(b"round 3"), &log_key, &policy).is_err());
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod cosignature;
mod encoding;
pub mod epoch_log;
pub mod keys;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod round;
pub mod tiles;
pub mod tlog_proof;

pub use epoch_log::EpochLog;
pub use round::{EntryKind, EntrySignature, LogEntry, RoundLog};
