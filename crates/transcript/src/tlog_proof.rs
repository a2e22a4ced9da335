//! Proofs in text form (c2sp.org/tlog-proof): that an entry is in a log, which can be checked without the log.
//!
//! The lines are `c2sp.org/tlog-proof@v1`, optionally `extra` with bytes in base64, `index` with a number, the hashes of
//! the inclusion proof in base64, an empty line, and the note of a checkpoint.

use std::fmt;

use cloister_params::id::Digest;
use thiserror::Error;

use crate::checkpoint::{CheckpointError, VerifiedCheckpoint};
use crate::cosignature::{Cosignature, CosignatureError, CosignerPolicy};
use crate::encoding::{decode_base64, decode_digest, encode_base64, excerpt, parse_decimal};
use crate::keys::VerifierKey;
use crate::note::{MAX_NOTE_BYTES, NoteError, SignedNote};
use crate::proof::{TreeProofError, verify_inclusion};

/// The first line, without its newline.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The largest proof, in bytes: a note, and as much for the extra data and the hashes.
pub const MAX_PROOF_BYTES: usize = 2 * MAX_NOTE_BYTES;

/// How many hashes a path has at most. A tree has fewer than 2^64 leaves.
const MAX_HASHES: usize = 64;

/// A text that is no proof.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TlogProofError {
    /// The text is too large.
    #[error("expected a proof of at most {MAX_PROOF_BYTES} bytes, got {came}")]
    Size {
        /// The length in bytes.
        came: usize,
    },
    /// The bytes are not UTF-8.
    #[error("expected UTF-8, and the bytes from {at} on are not")]
    Utf8 {
        /// Where the first wrong byte is.
        at: usize,
    },
    /// The text has another first line.
    #[error("expected the line {HEADER}, got {came:?}")]
    Header {
        /// The first line.
        came: String,
    },
    /// No empty line precedes the checkpoint.
    #[error("expected an empty line and a checkpoint after the proof's lines, and there is no empty line")]
    NoCheckpoint,
    /// The extra data are not in their encoding.
    #[error("expected `extra` with at least one byte in base64, got {came:?}")]
    Extra {
        /// The line.
        came: String,
    },
    /// The index is missing or not in its encoding.
    #[error("expected `index` with a decimal number without leading zeros, below 2^64, got {came:?}")]
    IndexLine {
        /// The line.
        came: String,
    },
    /// A line after the index is no hash.
    #[error("expected a hash of 32 bytes in base64, got {came:?}")]
    Hash {
        /// The line.
        came: String,
    },
    /// More hashes than a path can have.
    #[error("expected at most {MAX_HASHES} hashes, got {came}")]
    TooManyHashes {
        /// How many there are.
        came: usize,
    },
    /// What follows the empty line is no note.
    #[error("the checkpoint is no signed note: {0}")]
    Note(#[from] NoteError),
}

/// A proof that does not prove that the log has the entry.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UnprovenEntry {
    /// The log did not sign the checkpoint, or it is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The cosigners did not sign it.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
    /// The log of that checkpoint does not have the entry at that index.
    #[error(transparent)]
    Inclusion(#[from] TreeProofError),
}

/// A proof as it travels. Nothing is checked until [`Self::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// Bytes with a meaning for the application, which nobody signed. Without bytes the text has no such line.
    pub extra: Vec<u8>,
    /// The entry's index in the log, from 0.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling to the child of the root.
    pub hashes: Vec<Digest>,
    /// The note of the checkpoint that the proof refers to.
    pub checkpoint: SignedNote,
}

/// What a proof has proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenEntry {
    /// The entry's index in the log, from 0.
    pub index: u64,
    /// The log's statement.
    pub checkpoint: VerifiedCheckpoint,
    /// The cosignatures of known keys.
    pub cosignatures: Vec<Cosignature>,
}

impl TlogProof {
    /// Reads a proof. Its signatures and hashes are not checked.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(TlogProofError::Size { came: bytes.len() });
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| TlogProofError::Utf8 { at: error.valid_up_to() })?;
        // The first empty line divides: none of the lines before it may be empty.
        let (lines, note) = text.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        let mut lines = lines.split('\n').peekable();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(TlogProofError::Header { came: excerpt(header) });
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => parse_extra(line)?,
            None => Vec::new(),
        };
        let index = parse_index(lines.next().unwrap_or_default())?;
        let mut hashes = Vec::new();
        for line in lines {
            hashes.push(decode_digest(line).ok_or_else(|| TlogProofError::Hash { came: excerpt(line) })?);
        }
        if hashes.len() > MAX_HASHES {
            return Err(TlogProofError::TooManyHashes { came: hashes.len() });
        }
        Ok(Self { extra, index, hashes, checkpoint: SignedNote::parse(note.as_bytes())? })
    }

    /// Checks that the log with this key has the entry with this leaf hash at the proof's index, in a checkpoint that
    /// the policy's cosigners signed.
    ///
    /// # Errors
    /// [`UnprovenEntry`].
    pub fn verify(
        &self,
        leaf: Digest,
        log_key: &VerifierKey,
        cosigners: &CosignerPolicy,
    ) -> Result<ProvenEntry, UnprovenEntry> {
        let checkpoint = VerifiedCheckpoint::open(&self.checkpoint, log_key)?;
        let cosignatures = cosigners.check(&checkpoint)?;
        verify_inclusion(checkpoint.head(), self.index, leaf, &self.hashes)?;
        Ok(ProvenEntry { index: self.index, checkpoint, cosignatures })
    }
}

/// The text form, as [`TlogProof::parse`] reads it.
impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", encode_base64(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", encode_base64(&hash.0))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

fn parse_extra(line: &str) -> Result<Vec<u8>, TlogProofError> {
    let bytes = line.strip_prefix("extra ").and_then(decode_base64);
    // Without extra data the line is left out, so that each proof has one text.
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| TlogProofError::Extra { came: excerpt(line) })
}

fn parse_index(line: &str) -> Result<u64, TlogProofError> {
    let index = line.strip_prefix("index ").and_then(parse_decimal);
    index.ok_or_else(|| TlogProofError::IndexLine { came: excerpt(line) })
}
