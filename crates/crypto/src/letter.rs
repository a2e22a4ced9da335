//! Sealed letters: what a dealer sends one custodian through the coordinator, readable by that custodian alone.
//!
//! Construction: ECIES over ristretto255: an ephemeral key, HKDF-SHA512 (RFC 5869), AES-256-GCM with a zero
//! nonce, as every key encrypts once (`MASK-12`). Given: confidentiality and integrity against everyone but the custodian
//! and the dealer. Not given: the dealer's identity; the announcement's signature covers the letter's hash.

use rand_core::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::group::{AgreedSecret, Element, ScalarSecret};
use crate::mask::derive;

/// Bytes that a sealed letter is longer than its content: the ephemeral key and the tag.
pub const OVERHEAD: usize = 32 + 16;

/// A letter that cannot be opened: made for somebody else, in another context, or damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the letter cannot be opened with this key in this context")]
pub struct BadLetter;

/// Seals `content` for the holder of `recipient`, bound to `context`.
pub fn seal(content: &[u8], recipient: &Element, context: &[u8], random: &mut impl CryptoRng) -> Vec<u8> {
    let ephemeral = ScalarSecret::random(random);
    let key = letter_key(&ephemeral.agree(recipient), &ephemeral.public(), recipient, context);
    let mut letter = ephemeral.public().bytes().to_vec();
    let mut body = Zeroizing::new(content.to_vec());
    let tag = key
        .seal_in_place_separate_tag(nonce(), Aad::from(context), body.as_mut_slice())
        .expect("letters are far shorter than the limit of AES-GCM");
    letter.extend_from_slice(&body);
    letter.extend_from_slice(tag.as_ref());
    letter
}

/// Opens a letter.
///
/// # Errors
/// [`BadLetter`].
pub fn open(
    letter: &[u8],
    recipient: &ScalarSecret,
    context: &[u8],
) -> Result<Zeroizing<Vec<u8>>, BadLetter> {
    let (ephemeral, sealed) = letter.split_first_chunk::<32>().ok_or(BadLetter)?;
    let ephemeral = Element::decode(*ephemeral).map_err(|_| BadLetter)?;
    let key = letter_key(&recipient.agree(&ephemeral), &ephemeral, &recipient.public(), context);
    let mut body = Zeroizing::new(sealed.to_vec());
    let length =
        key.open_in_place(nonce(), Aad::from(context), body.as_mut_slice()).map_err(|_| BadLetter)?.len();
    body.truncate(length);
    Ok(body)
}

fn letter_key(
    agreed: &AgreedSecret,
    ephemeral: &Element,
    recipient: &Element,
    context: &[u8],
) -> LessSafeKey {
    let info = [b"cloister/v1/letter-key", &ephemeral.bytes()[..], &recipient.bytes(), context].concat();
    let key = derive(agreed.as_bytes(), &info);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("the key has 32 bytes"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// MASK-12
    #[test]
    fn only_the_recipient_in_the_same_context_opens() {
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let (ours, other) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
        let letter = seal(b"shares", &ours.public(), b"round 1", &mut random);
        assert_eq!(letter.len(), 6 + OVERHEAD);
        assert_eq!(open(&letter, &ours, b"round 1").expect("ours").as_slice(), b"shares");
        assert_eq!(open(&letter, &other, b"round 1"), Err(BadLetter));
        assert_eq!(open(&letter, &ours, b"round 2"), Err(BadLetter));
        for index in 0..letter.len() {
            let mut damaged = letter.clone();
            damaged[index] ^= 4;
            assert_eq!(open(&damaged, &ours, b"round 1"), Err(BadLetter), "byte {index}");
        }
        assert_eq!(open(&letter[..20], &ours, b"round 1"), Err(BadLetter));
    }
}
