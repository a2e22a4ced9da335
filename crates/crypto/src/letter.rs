//! Sealed letters: what a dealer sends one custodian through the coordinator, readable by that custodian
//! alone.
//!
//! Construction: ECIES over ristretto255: an ephemeral key, HKDF-SHA512 (RFC 5869), AES-256-GCM with a zero
//! nonce, as every key encrypts once (`MASK-12`). Given: confidentiality and integrity against everyone but
//! the custodian and the dealer. Not given: the dealer's identity; the announcement's signature covers the
//! letter's hash.

use cloister_params::rule;
use rand_core::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::group::{
    AgreedSecret, AgreementProof, BadProof, Element, KnowledgeProof, ScalarSecret, prove_agreement,
    prove_knowledge_with, verify_agreement, verify_knowledge,
};
use crate::mask::derive;

/// By how many bytes a sealed letter is longer than its content: the ephemeral key, its proof and the tag.
pub const OVERHEAD: usize = 32 + 64 + 16;

/// The letter cannot be opened: it was made for another recipient or in another context, or it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the letter cannot be opened with this key in this context")]
pub struct BadLetter;

/// Seals `content` for the holder of `recipient`, bound to `context`.
pub fn seal(content: &[u8], recipient: &Element, context: &[u8], random: &mut impl CryptoRng) -> Vec<u8> {
    let ephemeral = ScalarSecret::random(random);
    let key = letter_key(&ephemeral.agree(recipient), &ephemeral.public(), recipient, context);
    let mut letter = ephemeral.public().bytes().to_vec();
    letter.extend_from_slice(&prove_ephemeral(&ephemeral, context));
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
    let (ephemeral, sealed) = parts(letter, context)?;
    decrypt(&recipient.agree(&ephemeral), &ephemeral, &recipient.public(), sealed, context)
}

/// What a custodian shows to prove what a letter holds: the agreed element, with a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LetterEvidence {
    /// The Diffie–Hellman element of the letter's ephemeral key and the receiving key.
    pub agreed: [u8; 32],
    /// The proof that it is this element.
    pub proof: AgreementProof,
}

/// Shows what one letter holds to everybody (`MASK-13`).
///
/// # Errors
/// [`BadLetter`] if the letter has no ephemeral key with a proof for this context. Everybody sees that
/// without evidence, and evidence could open another dealer's letter, from which the key was copied.
///
/// # Leakage
/// This letter's content. Other letters to the same custodian stay sealed.
pub fn expose(
    letter: &[u8],
    recipient: &ScalarSecret,
    context: &[u8],
    random: &mut impl CryptoRng,
) -> Result<LetterEvidence, BadLetter> {
    let (ephemeral, _) = parts(letter, context)?;
    let (agreed, proof) = prove_agreement(recipient, &ephemeral, context, random);
    Ok(LetterEvidence { agreed, proof })
}

/// Opens a letter with a custodian's evidence.
///
/// # Errors
/// [`BadProof`] if the evidence is not about this letter and this receiving key. Otherwise the result of
/// opening it, which may be [`BadLetter`].
pub fn open_exposed(
    letter: &[u8],
    recipient: &Element,
    context: &[u8],
    evidence: &LetterEvidence,
) -> Result<Result<Zeroizing<Vec<u8>>, BadLetter>, BadProof> {
    // Everybody sees that such a letter is bad, and an honest custodian has no evidence to give.
    let Ok((ephemeral, sealed)) = parts(letter, context) else { return Ok(Err(BadLetter)) };
    let agreed = verify_agreement(recipient, &ephemeral, evidence.agreed, context, &evidence.proof)?;
    Ok(decrypt(&agreed, &ephemeral, recipient, sealed, context))
}

/// The ephemeral key and the sealed content, after the proof has shown that the key was made for this
/// context. A key that was copied from another letter is rejected, so that its agreement is never revealed
/// (`MASK-13`).
fn parts<'a>(letter: &'a [u8], context: &[u8]) -> Result<(Element, &'a [u8]), BadLetter> {
    let (ephemeral, rest) = letter.split_first_chunk::<32>().ok_or(BadLetter)?;
    let (proof, sealed) = rest.split_first_chunk::<64>().ok_or(BadLetter)?;
    let ephemeral = Element::decode(*ephemeral).map_err(|_| BadLetter)?;
    if rule::in_force("MASK-13") {
        verify_knowledge(&ephemeral, &ephemeral_context(context), proof).map_err(|_| BadLetter)?;
    }
    Ok((ephemeral, sealed))
}

/// A Schnorr proof of knowledge of the ephemeral scalar. Its nonce is derived from the scalar, which is used
/// for one letter only.
fn prove_ephemeral(ephemeral: &ScalarSecret, context: &[u8]) -> KnowledgeProof {
    let nonce = ephemeral.derived_nonce(b"cloister/v1/letter-nonce", context);
    prove_knowledge_with(ephemeral, &nonce, &ephemeral_context(context))
}

fn ephemeral_context(context: &[u8]) -> Vec<u8> {
    [b"cloister/v1/letter", context].concat()
}

fn decrypt(
    agreed: &AgreedSecret,
    ephemeral: &Element,
    recipient: &Element,
    sealed: &[u8],
    context: &[u8],
) -> Result<Zeroizing<Vec<u8>>, BadLetter> {
    let key = letter_key(agreed, ephemeral, recipient, context);
    let mut body = Zeroizing::new(sealed.to_vec());
    let opened = key.open_in_place(nonce(), Aad::from(context), body.as_mut_slice());
    let length = opened.map_err(|_| BadLetter)?.len();
    body.truncate(length);
    Ok(body)
}

/// The key of one letter. Both public elements are part of the derivation, so that the key fits no other pair
/// of keys; the tag keeps it apart from mask keys, whose derivations begin with the suite.
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

/// Always zero, because each letter has a key of its own. `LessSafeKey` is the type of `ring` that leaves
/// nonces to its caller.
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

    /// MASK-13
    #[test]
    fn evidence_opens_one_letter_and_lies_are_noticed() {
        let mut random = ChaCha20Rng::seed_from_u64(4);
        let (ours, other) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
        let letter = seal(b"shares", &ours.public(), b"context", &mut random);
        let evidence = expose(&letter, &ours, b"context", &mut random).expect("it has an ephemeral key");
        let opened = open_exposed(&letter, &ours.public(), b"context", &evidence).expect("honest evidence");
        assert_eq!(opened.expect("a good letter").as_slice(), b"shares");
        let lie = expose(&letter, &other, b"context", &mut random).expect("it has an ephemeral key");
        assert_eq!(open_exposed(&letter, &ours.public(), b"context", &lie), Err(BadProof));
        let mut bad = letter.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        assert_eq!(open_exposed(&bad, &ours.public(), b"context", &evidence), Ok(Err(BadLetter)));
        let another = seal(b"others", &ours.public(), b"context", &mut random);
        assert_eq!(open_exposed(&another, &ours.public(), b"context", &evidence), Err(BadProof));
        let borrowed = [&letter[..96], b"something else"].concat();
        assert!(expose(&borrowed, &ours, b"another dealer", &mut random).is_err(), "it would open the first");
    }
}
