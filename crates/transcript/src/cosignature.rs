//! Cosignatures (c2sp.org/tlog-cosignature, version 1 with Ed25519): statements of others than the log that, at a time,
//! a checkpoint was the largest one they had seen of it, and consistent with all that they had seen before.
//!
//! A cosigner signs `cosignature/v1`, `time N` and the checkpoint's text. Its line in the note holds the time in seconds
//! since 1970 as 8 big-endian bytes and the 64 bytes of the signature. This module signs and checks. Whether a
//! checkpoint is consistent with earlier ones the caller checks before it signs.

use cloister_crypto::SigningKey;
use cloister_crypto::sign::{SignatureBytes, verify_text};
use thiserror::Error;

use crate::checkpoint::VerifiedCheckpoint;
use crate::keys::{KeyId, KeyName, SignatureType, VerifierKey, key_id};
use crate::note::{COSIGNATURE_HEADER, SignatureLine};

/// The latest time that a cosignature can have, in seconds since 1970.
pub const MAX_TIME: u64 = i64::MAX as u64;

/// A cosignature that cannot be made or does not fit, or a policy that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CosignatureError {
    /// The time is outside of the format's range.
    #[error("expected a time of at most {MAX_TIME} seconds since 1970, got {came}")]
    Time {
        /// The time in seconds since 1970.
        came: u64,
    },
    /// A key that does not cosign was given.
    #[error("expected a key of type {}, and {name} has type {came}", SignatureType::CosignatureV1)]
    KeyType {
        /// The key's name.
        name: KeyName,
        /// The key's type.
        came: SignatureType,
    },
    /// Two cosigners have the same public key, so one party would count twice.
    #[error("expected a public key of its own for each cosigner, and {first} and {second} have the same")]
    RepeatedKey {
        /// A cosigner's name.
        first: KeyName,
        /// The other's name.
        second: KeyName,
    },
    /// Two cosigners have the same name and id, so their lines cannot be told apart.
    #[error("expected cosigners that differ in name or id, and two are {name} {id}")]
    RepeatedId {
        /// The name of both.
        name: KeyName,
        /// The id of both.
        id: KeyId,
    },
    /// More cosignatures are required than there are cosigners.
    #[error("expected a threshold of at most {cosigners}, which is how many cosigners there are, got {came}")]
    Threshold {
        /// How many cosigners there are.
        cosigners: usize,
        /// The threshold.
        came: usize,
    },
    /// A line of a known cosigner has a wrong signature.
    #[error("expected a cosignature of {name} {id} over the checkpoint, and the signature does not fit")]
    BadSignature {
        /// The cosigner's name.
        name: KeyName,
        /// The id of its key.
        id: KeyId,
    },
    /// Too few known cosigners signed.
    #[error("expected cosignatures of at least {threshold} known cosigners, got {came}")]
    TooFew {
        /// How many are required.
        threshold: usize,
        /// How many there are.
        came: usize,
    },
}

/// A checked cosignature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosignature {
    /// Who cosigned.
    pub key: VerifierKey,
    /// When, in seconds since 1970, by the cosigner's clock. How old it may be is the caller's to decide.
    pub time: u64,
}

/// Whose cosignatures a verifier requires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CosignerPolicy {
    keys: Vec<VerifierKey>,
    threshold: usize,
}

impl CosignerPolicy {
    /// At least `threshold` of the keys must have cosigned. No keys and 0 require nobody.
    ///
    /// # Errors
    /// [`CosignatureError`], if a key is of another type, two keys are the same, or the threshold cannot be reached.
    pub fn new(keys: Vec<VerifierKey>, threshold: usize) -> Result<Self, CosignatureError> {
        for (index, key) in keys.iter().enumerate() {
            if key.signature_type() != SignatureType::CosignatureV1 {
                let came = key.signature_type();
                return Err(CosignatureError::KeyType { name: key.name().clone(), came });
            }
            for other in &keys[..index] {
                if other.public() == key.public() {
                    let (first, second) = (other.name().clone(), key.name().clone());
                    return Err(CosignatureError::RepeatedKey { first, second });
                }
                if other.name() == key.name() && other.id() == key.id() {
                    return Err(CosignatureError::RepeatedId { name: key.name().clone(), id: key.id() });
                }
            }
        }
        if threshold > keys.len() {
            return Err(CosignatureError::Threshold { cosigners: keys.len(), came: threshold });
        }
        Ok(Self { keys, threshold })
    }

    /// Checks all cosignatures of the policy's keys, and that there are enough. Lines of other keys are ignored. One
    /// wrong cosignature of a known key rejects the checkpoint. Of several by one key the latest is returned.
    ///
    /// # Errors
    /// [`CosignatureError::BadSignature`] and [`CosignatureError::TooFew`].
    pub fn check(&self, checkpoint: &VerifiedCheckpoint) -> Result<Vec<Cosignature>, CosignatureError> {
        let mut found: Vec<Cosignature> = Vec::new();
        for line in checkpoint.note().signed().signatures() {
            let Some(key) = self.keys.iter().find(|key| line.claims(key)) else { continue };
            let time = verified_time(checkpoint, key, &line.signature)
                .ok_or_else(|| CosignatureError::BadSignature { name: line.name.clone(), id: line.id })?;
            match found.iter_mut().find(|earlier| earlier.key == *key) {
                Some(earlier) => earlier.time = earlier.time.max(time),
                None => found.push(Cosignature { key: key.clone(), time }),
            }
        }
        if found.len() < self.threshold {
            return Err(CosignatureError::TooFew { threshold: self.threshold, came: found.len() });
        }
        Ok(found)
    }
}

/// Cosigns a checkpoint at a time in seconds since 1970. The line belongs into the checkpoint's note.
///
/// # Errors
/// [`CosignatureError::Time`].
pub fn cosign(
    checkpoint: &VerifiedCheckpoint,
    time: u64,
    name: &KeyName,
    key: &SigningKey,
) -> Result<SignatureLine, CosignatureError> {
    if time > MAX_TIME {
        return Err(CosignatureError::Time { came: time });
    }
    let signature = key
        .sign_text(&message(checkpoint, time))
        .expect("no text of a note has a zero byte, because it is a control character");
    let id = key_id(name, SignatureType::CosignatureV1, key.public());
    let signature = [&time.to_be_bytes()[..], &signature].concat();
    Ok(SignatureLine { name: name.clone(), id, signature })
}

/// What a cosigner signs.
fn message(checkpoint: &VerifiedCheckpoint, time: u64) -> String {
    format!("{COSIGNATURE_HEADER}time {time}\n{}", checkpoint.note().text())
}

/// The time of a cosignature, if it fits.
fn verified_time(checkpoint: &VerifiedCheckpoint, key: &VerifierKey, signature: &[u8]) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    let signature = SignatureBytes::try_from(signature).ok()?;
    let fits = verify_text(key.public(), &message(checkpoint, time), &signature).is_ok();
    (time <= MAX_TIME && fits).then_some(time)
}
