//! A party's keys on its disk, its TLS certificate, and the file with which it enrols.
//!
//! - [`Identity`], [`Fingerprint`], [`Validity`]: a self-signed certificate with its private key, the SHA-256
//!   by which others pin it, and its dates.
//! - [`read_signing_key`], [`write_signing_key`]: the Ed25519 key that signs a party's statements, in PKCS#8.
//! - [`edition_path`], [`keep_edition`]: the newest edition of the consortium file that a party knows.
//! - [`epoch_start_path`], [`keep_epoch_start`]: what the next edition continues from, as a party knows it.
//! - [`enrolment`]: the public file that a party hands to the consortium, with proofs that it holds both
//!   private keys, and the short fingerprint that people compare.
//! - [`online`]: how a party that was invited hands this file over the network to the coordinator, and what the
//!   coordinator keeps.
//! - [`operator`]: tokens with which operators ask a coordinator over HTTPS, and what the coordinator keeps of them.
//!
//! # What it is not
//! It opens no connection, and does not decide who belongs to a consortium: the governance key does, by
//! signing a consortium file. It encrypts no key: whoever can read the folder can use its keys.
//!
//! # Trust
//! Files of a party's own folder are trusted once their permissions are checked (`CONS-07`). An enrolment
//! file is not trusted: its proofs show only that its writer holds the keys in it. Private keys leave neither
//! the folder nor this crate's types, which print nothing of them.
//!
//! # Example
//! A hospital makes its keys and its enrolment file; the consortium reads the file and compares:
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//!
//! use cloister_crypto::sign::SigningKey;
//! use cloister_identity::enrolment::{Applicant, Enrolment, EnrolmentRole};
//! use cloister_identity::{Identity, Validity};
//!
//! let now = UNIX_EPOCH + Duration::from_hours(24 * 20_000); // A program reads the clock.
//! let identity = Identity::generate("north", Validity::starting(now, 730))?;
//! let signing_key = SigningKey::from_seed(&[7; 32]); // A program draws it at random.
//! let applicant = Applicant {
//!     name: "north".into(),
//!     organisation: "North Hospital".into(),
//!     roles: vec![EnrolmentRole::Member, EnrolmentRole::Custodian],
//! };
//! let file = Enrolment::write(&applicant, &identity, &signing_key)?;
//!
//! let read_by_the_consortium = Enrolment::read(&file)?;
//! let read_by_the_hospital = Enrolment::read(&file)?;
//! assert_eq!(read_by_the_consortium.fingerprint(), read_by_the_hospital.fingerprint());
//! assert_eq!(read_by_the_consortium.certificate(), identity.fingerprint());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// This crate does IO: it reads and writes files, and `rcgen` draws randomness.
#![allow(clippy::disallowed_methods)]

mod edition_file;
mod ending_soon;
pub mod enrolment;
mod epoch_start_file;
mod fingerprint;
mod format_version;
mod key_file;
mod list_file;
mod names;
pub mod online;
pub mod operator;
mod proof;
mod short_fingerprint;
mod signing_file;
mod tls;
mod validity;

pub use edition_file::{edition_path, keep_edition};
pub use ending_soon::ending_soon;
pub use epoch_start_file::{epoch_start_path, keep_epoch_start};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use key_file::KeyFileError;
pub use list_file::ListFileError;
pub use names::folded;
pub use proof::{CertificateProof, ProofError, check_possession};
pub use short_fingerprint::{ShortFingerprint, ShortFingerprintError};
pub use signing_file::{SigningKeyError, read_signing_key, write_signing_key};
pub use tls::{CERTIFICATE_FILE, Identity, IdentityError, KEY_FILE};
pub use validity::{UnreadableCertificate, Validity, ValidityError, WARN_DAYS};
