//! Signed notes (c2sp.org/signed-note): a text, an empty line, and a line for each signature.
//!
//! A text from elsewhere is a [`SignedNote`], whose text cannot be read. [`SignedNote::verify`] checks the signatures
//! of known keys and gives a [`VerifiedNote`], whose text can be read.

use std::fmt;

use cloister_crypto::SigningKey;
use cloister_crypto::sign::{SignatureBytes, verify_text};
use thiserror::Error;

use crate::encoding::{decode_base64, encode_base64, excerpt, find_control_character};
use crate::keys::{KeyId, KeyName, SignatureType, VerifierKey, key_id};

/// The largest note, in bytes. It is the limit of Go's `golang.org/x/mod/sumdb/note`, so that both accept the same.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// How many signatures a note may have. The specification demands at least 16; Go accepts 100.
pub const MAX_SIGNATURES: usize = 100;

/// The first line of a message that a cosigner signs (c2sp.org/tlog-cosignature).
pub(crate) const COSIGNATURE_HEADER: &str = "cosignature/v1\n";

/// The start of a signature line: an em dash and a space.
const LINE_START: &str = "— ";

/// A text that is no signed note, or that cannot become one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoteError {
    /// The note is too large.
    #[error("expected a note of at most {MAX_NOTE_BYTES} bytes, got {came}")]
    Size {
        /// The note's length in bytes.
        came: usize,
    },
    /// The bytes are not UTF-8.
    #[error("expected UTF-8, and the bytes from {at} on are not")]
    Utf8 {
        /// Where the first wrong byte is.
        at: usize,
    },
    /// A control character other than a newline.
    #[error("expected no control characters other than newlines, and the byte at {at} is one")]
    ControlCharacter {
        /// Where the first one is, counted in bytes.
        at: usize,
    },
    /// No empty line divides the text from the signatures.
    #[error("expected an empty line between the text and the signatures, and there is none")]
    NoSignatureBlock,
    /// A text or the last signature line does not end in a newline.
    #[error("expected a newline at the end")]
    NoFinalNewline,
    /// A line after the text is no signature line.
    #[error("expected `— name base64` with an id of 4 bytes and a signature, got {came:?}")]
    SignatureLine {
        /// The line.
        came: String,
    },
    /// Too many signatures.
    #[error("expected at most {MAX_SIGNATURES} signatures, got more")]
    TooManySignatures,
    /// The text begins like the message of a cosigner, so a signature over it could stand for a cosignature.
    #[error("expected a text that does not begin with `cosignature/v1`, because a cosigner's message does")]
    CosignatureHeader,
}

/// A note without a valid signature of a known key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoteSignatureError {
    /// A key that does not sign notes was given.
    #[error(
        "expected a key that signs notes, of type {}, and {name} has type {came}",
        SignatureType::Ed25519
    )]
    KeyType {
        /// The key's name.
        name: KeyName,
        /// The key's type.
        came: SignatureType,
    },
    /// Two of the known keys have the same name and id.
    #[error("expected known keys that differ in name or id, and two are {name} {id}")]
    RepeatedKey {
        /// The name of both.
        name: KeyName,
        /// The id of both.
        id: KeyId,
    },
    /// A signature line of a known key has a wrong signature.
    #[error("expected a signature of {name} {id} over the note's text, and the signature does not fit")]
    BadSignature {
        /// The key's name.
        name: KeyName,
        /// The key's id.
        id: KeyId,
    },
    /// No line is of a known key.
    #[error("expected a signature of {expected}, got signatures of {came}")]
    NoKnownKey {
        /// The names and ids of the known keys.
        expected: String,
        /// The names and ids in the signature lines.
        came: String,
    },
}

/// A signature line: `— name base64(id ‖ signature)`. Nothing is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignatureLine {
    /// The key's name.
    pub name: KeyName,
    /// The key's id.
    pub id: KeyId,
    /// The signature: for [`SignatureType::Ed25519`] 64 bytes, for [`SignatureType::CosignatureV1`] 72.
    pub signature: Vec<u8>,
}

impl SignatureLine {
    /// Reads a line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let bytes = decode_base64(encoded)?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: KeyName::new(name).ok()?, id: KeyId(*id), signature: signature.to_vec() })
    }

    /// Whether the line claims to be of this key.
    pub(crate) fn claims(&self, key: &VerifierKey) -> bool {
        self.name == *key.name() && self.id == key.id()
    }
}

/// The line with its newline.
impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.0, self.signature.as_slice()].concat();
        writeln!(f, "{LINE_START}{} {}", self.name, encode_base64(&bytes))
    }
}

/// A text with signatures that nobody has checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedNote {
    /// Ends in a newline.
    text: String,
    signatures: Vec<SignatureLine>,
}

impl SignedNote {
    /// Signs a text, which ends in a newline, with a key of type [`SignatureType::Ed25519`].
    ///
    /// # Errors
    /// [`NoteError`], if the text is no text of a note or begins like the message of a cosigner.
    pub fn sign(text: &str, name: &KeyName, key: &SigningKey) -> Result<Self, NoteError> {
        check_characters(text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::NoFinalNewline);
        }
        // So that one key may have both types, as the specification wants it.
        if text.starts_with(COSIGNATURE_HEADER) {
            return Err(NoteError::CosignatureHeader);
        }
        let signature = key.sign_text(text).map_err(|zero| NoteError::ControlCharacter { at: zero.at })?;
        let id = key_id(name, SignatureType::Ed25519, key.public());
        let note = Self { text: text.to_owned(), signatures: Vec::new() };
        note.with_signature(SignatureLine { name: name.clone(), id, signature: signature.to_vec() })
    }

    /// Reads a note. Its signatures are not checked, not even those of known types.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        check_size(bytes.len())?;
        let note = std::str::from_utf8(bytes).map_err(|error| NoteError::Utf8 { at: error.valid_up_to() })?;
        check_characters(note)?;
        // The last empty line divides, because a text may have empty lines.
        let at = note.rfind("\n\n").ok_or(NoteError::NoSignatureBlock)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoFinalNewline)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            let signature = SignatureLine::parse(line);
            signatures.push(signature.ok_or_else(|| NoteError::SignatureLine { came: excerpt(line) })?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The note with one more signature, which replaces one of the same name and id.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`] and [`NoteError::Size`].
    pub fn with_signature(mut self, line: SignatureLine) -> Result<Self, NoteError> {
        self.signatures.retain(|other| other.name != line.name || other.id != line.id);
        if self.signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(line);
        check_size(self.to_string().len())?;
        Ok(self)
    }

    /// The signature lines in their order. Nothing is checked.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Whether a line's signature is this key's over the text.
    fn has_valid_signature(&self, line: &SignatureLine, key: &VerifierKey) -> bool {
        let signature = SignatureBytes::try_from(line.signature.as_slice());
        signature.is_ok_and(|bytes| verify_text(key.public(), &self.text, &bytes).is_ok())
    }

    /// Checks the signatures of known keys. Lines of other keys are ignored, also those that share only the name or
    /// only the id with a known key. One wrong signature of a known key rejects the note.
    ///
    /// # Errors
    /// [`NoteSignatureError`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<VerifiedNote, NoteSignatureError> {
        check_known_keys(known)?;
        let mut signers: Vec<VerifierKey> = Vec::new();
        for line in &self.signatures {
            let Some(key) = known.iter().find(|key| line.claims(key)) else { continue };
            if !self.has_valid_signature(line, key) {
                return Err(NoteSignatureError::BadSignature { name: line.name.clone(), id: line.id });
            }
            if !signers.contains(key) {
                signers.push(key.clone());
            }
        }
        if signers.is_empty() {
            let expected = listed(known.iter().map(|key| (key.name(), key.id())));
            let came = listed(self.signatures.iter().map(|line| (&line.name, line.id)));
            return Err(NoteSignatureError::NoKnownKey { expected, came });
        }
        Ok(VerifiedNote { note: self.clone(), signers })
    }
}

/// The note's bytes, as [`SignedNote::parse`] reads them.
impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| write!(f, "{line}"))
    }
}

/// A note that at least one known key signed. Only [`SignedNote::verify`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedNote {
    note: SignedNote,
    signers: Vec<VerifierKey>,
}

impl VerifiedNote {
    /// The text with its final newline.
    pub fn text(&self) -> &str {
        &self.note.text
    }

    /// The known keys that signed the text, each once.
    pub fn signers(&self) -> &[VerifierKey] {
        &self.signers
    }

    /// The note with all its signature lines. Those of unknown keys are not checked.
    pub fn signed(&self) -> &SignedNote {
        &self.note
    }
}

fn check_size(bytes: usize) -> Result<(), NoteError> {
    if bytes > MAX_NOTE_BYTES { Err(NoteError::Size { came: bytes }) } else { Ok(()) }
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    find_control_character(text).map_or(Ok(()), |at| Err(NoteError::ControlCharacter { at }))
}

fn check_known_keys(known: &[VerifierKey]) -> Result<(), NoteSignatureError> {
    for (index, key) in known.iter().enumerate() {
        if key.signature_type() != SignatureType::Ed25519 {
            let came = key.signature_type();
            return Err(NoteSignatureError::KeyType { name: key.name().clone(), came });
        }
        if known[..index].iter().any(|other| other.name() == key.name() && other.id() == key.id()) {
            return Err(NoteSignatureError::RepeatedKey { name: key.name().clone(), id: key.id() });
        }
    }
    Ok(())
}

/// Names and ids for a message.
fn listed<'a>(keys: impl Iterator<Item = (&'a KeyName, KeyId)>) -> String {
    let parts: Vec<String> = keys.map(|(name, id)| format!("{name} {id}")).collect();
    if parts.is_empty() { "nobody".to_owned() } else { excerpt(&parts.join(", ")) }
}
