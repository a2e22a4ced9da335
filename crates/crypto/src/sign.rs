//! Ed25519 signatures (RFC 8032, through `ring`) over a domain and the bytes as they travel, or over a text without a
//! zero byte.

use std::fmt;

use cloister_params::consortium::PublicBytes;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// A signature's bytes: `R ‖ S` of RFC 8032.
pub type SignatureBytes = [u8; 64];

/// The signature does not fit the key and the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the signature does not fit the key and the message")]
pub struct BadSignature;

/// The bytes are not the one encoding of a point of the group of prime order, or they are the identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the bytes are not the canonical encoding of a point of the curve's group of prime order other than the identity"
)]
pub struct WeakKey;

/// A text to be signed as it is has a zero byte, so it could be the body of a statement of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("expected a text without a zero byte, and the byte at {at} is zero")]
pub struct ZeroByteInText {
    /// Where the first zero byte is, counted in bytes from 0.
    pub at: usize,
}

/// A long-term signing key. It cannot be printed. `ring` holds it, and does not erase it when it is dropped.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, and the 32 bytes from which [`Self::from_seed`] makes it again.
    pub fn generate(random: &mut impl CryptoRng) -> (Self, Zeroizing<[u8; 32]>) {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill_bytes(seed.as_mut());
        (Self::from_seed(&seed), seed)
    }

    /// The key that a seed of RFC 8032 (its "private key") determines.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // What `ring` does not check is a public key stored with the seed. Here the seed alone is stored.
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an Ed25519 seed"))
    }

    /// The public key, as the consortium file lists it.
    pub fn public(&self) -> PublicBytes {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicBytes(bytes)
    }

    /// Signs `tag ‖ 0x00 ‖ message`. Tags have no zero byte, so that a message signed for one purpose fits no
    /// other.
    pub fn sign(&self, tag: &str, message: &[u8]) -> SignatureBytes {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(&tagged(tag, message)).as_ref());
        bytes
    }

    /// Signs a text as it is, for formats that others define and that have no tag: the notes and cosignatures of a
    /// transparency log (c2sp.org/signed-note, c2sp.org/tlog-cosignature).
    ///
    /// What [`Self::sign`] signs always has a zero byte, after its tag. A text without one is never such a message,
    /// so no signature of this function fits a statement of the protocol, and none of [`Self::sign`] fits a text.
    ///
    /// # Errors
    /// [`ZeroByteInText`].
    pub fn sign_text(&self, text: &str) -> Result<SignatureBytes, ZeroByteInText> {
        check_text(text)?;
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(text.as_bytes()).as_ref());
        Ok(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.public())
    }
}

/// Checks a public key before it is pinned (`CONS-10`). RFC 8032 lets a verifier accept any point of the curve,
/// and `ring` does, also in encodings that are not canonical. But under a key of small order one signature,
/// which anybody can make without a secret, fits many messages.
///
/// # Errors
/// [`WeakKey`].
pub fn check_key(key: PublicBytes) -> Result<(), WeakKey> {
    let point = CompressedEdwardsY(key.0).decompress().ok_or(WeakKey)?;
    // Decompression reduces the coordinate and ignores the sign of zero, so that it accepts several encodings.
    let is_canonical = point.compress().0 == key.0;
    // A key that is the sum of a good point and one of small order is rejected, too: no honest party has one.
    if is_canonical && point.is_torsion_free() && !point.is_identity() { Ok(()) } else { Err(WeakKey) }
}

/// Checks a signature over `tag ‖ 0x00 ‖ message`. The key is one that [`check_key`] accepted.
///
/// # Errors
/// [`BadSignature`], also for a key that is not a point of the curve.
pub fn verify(
    key: PublicBytes,
    tag: &str,
    message: &[u8],
    signature: &SignatureBytes,
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&ED25519, key.0).verify(&tagged(tag, message), signature).map_err(|_| BadSignature)
}

/// Checks a signature of [`SigningKey::sign_text`]. The key is one that [`check_key`] accepted.
///
/// # Errors
/// [`BadSignature`], also for a text with a zero byte and for a key that is not a point of the curve.
pub fn verify_text(key: PublicBytes, text: &str, signature: &SignatureBytes) -> Result<(), BadSignature> {
    check_text(text).map_err(|_| BadSignature)?;
    UnparsedPublicKey::new(&ED25519, key.0).verify(text.as_bytes(), signature).map_err(|_| BadSignature)
}

fn check_text(text: &str) -> Result<(), ZeroByteInText> {
    match text.bytes().position(|byte| byte == 0) {
        Some(at) => Err(ZeroByteInText { at }),
        None => Ok(()),
    }
}

fn tagged(tag: &str, message: &[u8]) -> Vec<u8> {
    [tag.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1_has_its_public_key() {
        let mut seed = [0; 32];
        for (index, pair) in "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
            .as_bytes()
            .chunks(2)
            .enumerate()
        {
            let digits = std::str::from_utf8(pair).expect("ASCII");
            seed[index] = u8::from_str_radix(digits, 16).expect("hex");
        }
        assert_eq!(
            SigningKey::from_seed(&seed).public().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    /// WIRE-04
    #[test]
    fn a_signature_fits_its_tag_and_message_alone() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign("tag", b"message");
        assert_eq!(verify(key.public(), "tag", b"message", &signature), Ok(()));
        assert_eq!(verify(key.public(), "gat", b"message", &signature), Err(BadSignature));
        assert_eq!(verify(key.public(), "tag", b"massage", &signature), Err(BadSignature));
        assert_eq!(verify(PublicBytes([1; 32]), "tag", b"message", &signature), Err(BadSignature));
    }

    /// WIRE-04: a text is no statement of the protocol, and no statement is a text.
    #[test]
    fn a_signature_of_a_text_fits_no_statement() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign_text("tag\nmessage\n").expect("no zero byte");
        assert_eq!(verify_text(key.public(), "tag\nmessage\n", &signature), Ok(()));
        assert_eq!(verify_text(key.public(), "tag\nmassage\n", &signature), Err(BadSignature));
        assert_eq!(verify(key.public(), "tag", b"message\n", &signature), Err(BadSignature));

        assert_eq!(key.sign_text("tag\0message"), Err(ZeroByteInText { at: 3 }));
        let statement = key.sign("tag", b"message");
        assert_eq!(verify_text(key.public(), "tag\0message", &statement), Err(BadSignature));
        assert_eq!(verify(key.public(), "tag", b"message", &statement), Ok(()), "control");
    }

    /// libsodium's list of points of small order, with and without the sign bit, in all encodings that RFC 8032
    /// lets a decoder take; then a point of mixed order from the test cases of Chalkias, Garillot and
    /// Nikolaenko, "Taming the many EdDSAs" (2020).
    const WEAK: [&str; 8] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
    ];

    fn key(digits: &str) -> PublicBytes {
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
        PublicBytes(std::array::from_fn(byte))
    }

    /// CONS-10
    #[test]
    fn keys_of_small_or_mixed_order_and_other_encodings_are_refused() {
        for weak in WEAK.map(key) {
            assert_eq!(check_key(weak), Err(WeakKey), "{weak}");
            let mut negated = weak;
            negated.0[31] |= 0x80;
            assert_eq!(check_key(negated), Err(WeakKey), "{negated}");
        }
        assert_eq!(check_key(PublicBytes([1; 32])), Err(WeakKey), "no point of the curve");
        for seed in 0..50 {
            assert_eq!(check_key(SigningKey::from_seed(&[seed; 32]).public()), Ok(()), "control");
        }
    }

    /// CONS-10: why a weak key must not be pinned. For the identity as the key, `R = S·B` is the whole equation.
    #[test]
    fn under_the_identity_one_signature_without_a_secret_fits_every_message() {
        let identity = key(WEAK[1]);
        let mut forged = [0; 64];
        forged[0] = 1;
        for message in [b"one", b"two"] {
            assert_eq!(verify(identity, "tag", message, &forged), Ok(()));
            let honest = SigningKey::from_seed(&[7; 32]).public();
            assert_eq!(verify(honest, "tag", message, &forged), Err(BadSignature), "control");
        }
    }

    #[test]
    fn a_key_cannot_be_printed() {
        let printed = format!("{:?}", SigningKey::from_seed(&[7; 32]));
        assert!(printed.starts_with("SigningKey(public "), "{printed}");
        assert!(!printed.contains("07070707"));
    }
}
