//! Checkpoints (c2sp.org/tlog-checkpoint): a log's size and root hash, in the text of a note that the log signs.
//!
//! The text has three lines: the origin, the size in decimal digits and the root hash in base64. The specification
//! lets further lines follow, which no monitor can check, and recommends against them. A log of this project writes
//! none, and a checkpoint with one is rejected.
//!
//! The specification recommends that the origin is the name of the log's key. Here it always is: a checkpoint whose
//! origin is another than the name of the key that signed it is rejected.

use std::fmt;

use cloister_crypto::{SigningKey, merkle};
use cloister_params::id::Digest;
use thiserror::Error;

use crate::encoding::{decode_digest, encode_base64, excerpt, parse_decimal};
use crate::keys::{BadKeyName, KeyName, VerifierKey};
use crate::note::{NoteError, NoteSignatureError, SignedNote, VerifiedNote};

/// A log's tree (RFC 6962) at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeHead {
    /// How many entries the log has.
    pub size: u64,
    /// The root over their leaf hashes; without entries the SHA-256 of no bytes.
    pub root: Digest,
}

/// A text that is no checkpoint, or a note that is no checkpoint of this log.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CheckpointError {
    /// There are fewer lines than three, or the last line does not end in a newline.
    #[error("expected three lines that each end in a newline, got {came:?}")]
    Lines {
        /// The text.
        came: String,
    },
    /// There are lines after the root hash.
    #[error("expected no extension lines after the root hash, got {came:?}")]
    Extension {
        /// What follows the root hash.
        came: String,
    },
    /// The first line is no name of a log.
    #[error("the origin is no name of a log: {0}")]
    Origin(#[from] BadKeyName),
    /// The second line is no size.
    #[error("expected the log's size in decimal digits without leading zeros, below 2^64, got {came:?}")]
    Size {
        /// The line.
        came: String,
    },
    /// The third line is no root hash.
    #[error("expected a root hash of 32 bytes in base64, got {came:?}")]
    Root {
        /// The line.
        came: String,
    },
    /// The log has no entries, and its root is not the one of a tree without leaves.
    #[error("expected the root {expected} for a log without entries, got {came}")]
    EmptyRoot {
        /// The root of a tree without leaves.
        expected: Digest,
        /// The root in the checkpoint.
        came: Digest,
    },
    /// The checkpoint is of another log than the key.
    #[error("expected a checkpoint of {expected}, whose key signed it, got one of {came}")]
    OtherLog {
        /// The name of the log's key.
        expected: KeyName,
        /// The origin in the checkpoint.
        came: KeyName,
    },
    /// The note cannot be written.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The log did not sign the note.
    #[error(transparent)]
    Signature(#[from] NoteSignatureError),
}

/// What a log says about itself: who it is, how many entries it has, and their root. It carries no signature: as a
/// statement of the log use a [`VerifiedCheckpoint`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogCheckpoint {
    /// The log's name, which is also the name of its key.
    pub origin: KeyName,
    /// The log's size and root.
    pub head: TreeHead,
}

impl LogCheckpoint {
    /// Signs the checkpoint as the log, under the name of its origin.
    ///
    /// # Errors
    /// [`NoteError`], if the origin is about as long as the largest note.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedNote, NoteError> {
        SignedNote::sign(&self.to_string(), &self.origin, key)
    }

    /// Reads a checkpoint's text. The text proves nothing: a checkpoint from elsewhere goes through
    /// [`VerifiedCheckpoint::open`].
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn parse_unverified(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root), Some(rest)) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines { came: excerpt(text) });
        };
        if !rest.is_empty() {
            return Err(CheckpointError::Extension { came: excerpt(rest) });
        }
        let origin = KeyName::new(origin)?;
        let size = parse_decimal(size).ok_or_else(|| CheckpointError::Size { came: excerpt(size) })?;
        let root = decode_digest(root).ok_or_else(|| CheckpointError::Root { came: excerpt(root) })?;
        let expected = merkle::root(&[]);
        if size == 0 && root != expected {
            return Err(CheckpointError::EmptyRoot { expected, came: root });
        }
        Ok(Self { origin, head: TreeHead { size, root } })
    }
}

/// The text of the note.
impl fmt::Display for LogCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.head.size, encode_base64(&self.head.root.0))
    }
}

/// A checkpoint that its log signed. Only [`Self::open`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCheckpoint {
    checkpoint: LogCheckpoint,
    note: VerifiedNote,
}

impl VerifiedCheckpoint {
    /// Checks that a note is a checkpoint that a log signed. Other signatures, such as those of cosigners, are not
    /// checked here.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &SignedNote, log_key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = note.verify(std::slice::from_ref(log_key))?;
        let checkpoint = LogCheckpoint::parse_unverified(note.text())?;
        if checkpoint.origin != *log_key.name() {
            let expected = log_key.name().clone();
            return Err(CheckpointError::OtherLog { expected, came: checkpoint.origin });
        }
        Ok(Self { checkpoint, note })
    }

    /// The log's name.
    pub fn origin(&self) -> &KeyName {
        &self.checkpoint.origin
    }

    /// The log's size and root.
    pub fn head(&self) -> TreeHead {
        self.checkpoint.head
    }

    /// The note, with the signature lines of others, which are not checked.
    pub fn note(&self) -> &VerifiedNote {
        &self.note
    }
}
