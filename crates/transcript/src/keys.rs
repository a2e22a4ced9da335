//! Verifier keys of signed notes (c2sp.org/signed-note): their names, ids and text form.

use std::fmt;

use cloister_crypto::hash::note_key_id;
use cloister_crypto::sign::{WeakKey, check_key};
use cloister_params::consortium::PublicBytes;
use thiserror::Error;

use crate::encoding::{decode_base64, encode_base64, excerpt};

/// The name of a key: not empty, without Unicode spaces, `+` and ASCII control characters. By convention it is a URL
/// without its scheme, such as `hospital.example/log`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyName(String);

/// A text that is no name of a key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("expected a key name without spaces, `+` and control characters, got {came:?}")]
pub struct BadKeyName {
    /// The text.
    pub came: String,
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadKeyName`].
    pub fn new(name: &str) -> Result<Self, BadKeyName> {
        if name.is_empty()
            || name.chars().any(|letter| letter.is_whitespace() || letter == '+' || letter < ' ')
        {
            return Err(BadKeyName { came: excerpt(name) });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a key: the first four bytes of SHA-256 over `name ‖ 0x0A ‖ type ‖ public key`. It tells keys apart, and
/// it does not replace the key: anybody can make another key with the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyId(pub [u8; 4]);

/// Eight lower-case hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a key signs. The number is the type byte of c2sp.org/signed-note, which is part of the key's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SignatureType {
    /// The text of a note, as it is.
    Ed25519 = 0x01,
    /// A checkpoint's text after the header and time of c2sp.org/tlog-cosignature, version 1.
    CosignatureV1 = 0x04,
}

impl SignatureType {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::CosignatureV1].into_iter().find(|known| *known as u8 == byte)
    }
}

impl fmt::Display for SignatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("0x01 (Ed25519)"),
            Self::CosignatureV1 => f.write_str("0x04 (cosignature/v1)"),
        }
    }
}

/// A public key that a verifier trusts: an Ed25519 key with its name and what it signs. Its text form is
/// `name+id+key`: the id as 8 lower-case hexadecimal digits, then the type byte and the 32 bytes of the key in base64.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: KeyName,
    signature_type: SignatureType,
    public: PublicBytes,
}

/// A text that is no verifier key, or a key that must not be trusted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum VerifierKeyError {
    /// The text does not have three parts, or a part is not in its encoding.
    #[error("expected a verifier key as name+8 hexadecimal digits+base64, got {came:?}")]
    Format {
        /// The text.
        came: String,
    },
    /// The first part is no name.
    #[error(transparent)]
    Name(#[from] BadKeyName),
    /// The type byte stands for another algorithm.
    #[error("expected a key of type 0x01 or 0x04, got type {came:#04x}")]
    Type {
        /// The type byte.
        came: u8,
    },
    /// The key is not of Ed25519's length.
    #[error("expected a key of 32 bytes, got {came}")]
    Length {
        /// The key's length in bytes, without the type byte.
        came: usize,
    },
    /// The id in the text is not that of the name and the key.
    #[error("expected the key id {expected}, which follows from the name and the key, got {came:?}")]
    Id {
        /// The id that the name and the key have.
        expected: KeyId,
        /// The second part of the text.
        came: String,
    },
    /// Anybody could sign under this key.
    #[error(transparent)]
    Weak(#[from] WeakKey),
}

impl VerifierKey {
    /// A key with its name.
    ///
    /// # Errors
    /// [`WeakKey`], which `cloister_crypto::sign::check_key` describes.
    pub fn new(name: KeyName, signature_type: SignatureType, public: PublicBytes) -> Result<Self, WeakKey> {
        check_key(public)?;
        Ok(Self { name, signature_type, public })
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`VerifierKeyError`].
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        // The base64 part may hold further `+`, the other two cannot.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Format { came: excerpt(text) });
        };
        let name = KeyName::new(name)?;
        let material =
            decode_base64(material).ok_or_else(|| VerifierKeyError::Format { came: excerpt(text) })?;
        let Some((type_byte, bytes)) = material.split_first() else {
            return Err(VerifierKeyError::Format { came: excerpt(text) });
        };
        let signature_type =
            SignatureType::from_byte(*type_byte).ok_or(VerifierKeyError::Type { came: *type_byte })?;
        let public = bytes.try_into().map_err(|_| VerifierKeyError::Length { came: bytes.len() })?;
        let key = Self::new(name, signature_type, PublicBytes(public))?;
        if key.id().to_string() != id {
            return Err(VerifierKeyError::Id { expected: key.id(), came: excerpt(id) });
        }
        Ok(key)
    }

    /// The name, which signature lines repeat.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What the key signs.
    pub fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The Ed25519 key.
    pub fn public(&self) -> PublicBytes {
        self.public
    }

    /// The id, which signature lines repeat.
    pub fn id(&self) -> KeyId {
        key_id(&self.name, self.signature_type, self.public)
    }
}

/// The text form.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [&[self.signature_type as u8], &self.public.0[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id(), encode_base64(&material))
    }
}

/// The id of a key with its name and type.
pub(crate) fn key_id(name: &KeyName, signature_type: SignatureType, public: PublicBytes) -> KeyId {
    KeyId(note_key_id(name.as_str(), signature_type as u8, public))
}
