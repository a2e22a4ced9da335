//! Mask keys, receiving keys and the proofs about them, in the ristretto255 group (RFC 9496).
//!
//! Construction: Diffie–Hellman between one-round keys; Schnorr proofs of knowledge made non-interactive with
//! SHA-512 over the statement and its context (Fiat–Shamir). Assumption: gap Diffie–Hellman in ristretto255,
//! SHA-512 a random oracle. Not given: security against a quantum adversary (self masks do not rest on it).
//!
//! Why ristretto255, and not X25519: the group has prime order. The identity is its only element of small
//! order, each element has one encoding, and proofs and shared keys need no care for a cofactor.

use std::fmt;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hash::wide;

/// The bytes are not a canonical element of the group, or they are the identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the bytes are not a canonical ristretto255 element other than the identity")]
pub struct BadElement;

/// The proof does not fit its statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the proof does not fit its statement")]
pub struct BadProof;

/// A uniformly random scalar: a mask key, a seed key, a receiving key or a share.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScalarSecret(Scalar);

impl ScalarSecret {
    /// A new uniformly random secret.
    pub fn random(random: &mut impl CryptoRng) -> Self {
        // 64 bytes, because 32 bytes mod the group's order would not be uniform.
        let mut bytes = Zeroizing::new([0; 64]);
        random.fill_bytes(bytes.as_mut());
        Self(Scalar::from_bytes_mod_order_wide(&bytes))
    }

    /// Reads a revealed secret; `None` if the bytes are not canonical, so that a secret has one encoding.
    pub fn from_revealed(bytes: [u8; 32]) -> Option<Self> {
        Option::from(Scalar::from_canonical_bytes(bytes)).map(Self)
    }

    /// The canonical bytes, for a reveal or a derivation.
    pub fn reveal(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public element `s·G`.
    pub fn public(&self) -> Element {
        Element::with_bytes(RistrettoPoint::mul_base(&self.0))
    }

    /// The Diffie–Hellman element `s·P`.
    pub fn agree(&self, public: &Element) -> AgreedSecret {
        let point = Zeroizing::new(public.point * self.0);
        AgreedSecret(point.compress())
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.0
    }

    /// The nonce of a proof, derived from the proof's secret and all that is proved. Whoever has a nonce and
    /// its proof has the secret, so that the hash is erased like the secret itself.
    pub(crate) fn derived_nonce(&self, tag: &[u8], proved: &[u8]) -> Self {
        let hash = Zeroizing::new(wide(tag, &[self.reveal().as_ref(), proved]));
        Self(Scalar::from_bytes_mod_order_wide(&hash))
    }

    /// The secret of a scalar. The caller erases its copy.
    pub(crate) fn from_scalar(scalar: &Scalar) -> Self {
        Self(*scalar)
    }
}

impl fmt::Debug for ScalarSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScalarSecret(…)")
    }
}

/// A shared Diffie–Hellman element. It is input to a key derivation, and nothing else: as bytes, elements are
/// not uniform.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AgreedSecret(CompressedRistretto);

impl AgreedSecret {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for AgreedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreedSecret(…)")
    }
}

/// A public element of the group, with its encoding, so that it is decoded once only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    point: RistrettoPoint,
    bytes: [u8; 32],
}

impl Element {
    /// Decodes an element.
    ///
    /// # Errors
    /// Bytes that are not canonical, and the identity, which would make every agreed secret public.
    pub fn decode(bytes: [u8; 32]) -> Result<Self, BadElement> {
        let point = CompressedRistretto(bytes).decompress().ok_or(BadElement)?;
        if point.is_identity() { Err(BadElement) } else { Ok(Self { point, bytes }) }
    }

    /// The element of a point; `None` for the identity.
    pub(crate) fn from_point(point: RistrettoPoint) -> Option<Self> {
        (!point.is_identity()).then(|| Self::with_bytes(point))
    }

    /// The element of a point that is the identity only with a probability of 2⁻²⁵². It is not checked,
    /// because the check would take a time that depends on a secret.
    pub(crate) fn with_bytes(point: RistrettoPoint) -> Self {
        Self { point, bytes: point.compress().to_bytes() }
    }

    pub(crate) fn point(&self) -> &RistrettoPoint {
        &self.point
    }

    /// The canonical encoding, 32 bytes (RFC 9496, section 4.3.2).
    pub fn bytes(&self) -> [u8; 32] {
        self.bytes
    }
}

/// A Schnorr proof of knowledge of the secret behind an element: `R ‖ s`.
pub type KnowledgeProof = [u8; 64];

/// Proves knowledge of `secret`, bound to `context` (`MASK-02`).
pub fn prove_knowledge(secret: &ScalarSecret, context: &[u8], random: &mut impl CryptoRng) -> KnowledgeProof {
    prove_knowledge_with(secret, &ScalarSecret::random(random), context)
}

/// The same with a nonce that the caller derived from the secret and the context. Two proofs with one nonce
/// and different challenges would reveal the secret.
pub(crate) fn prove_knowledge_with(
    secret: &ScalarSecret,
    nonce: &ScalarSecret,
    context: &[u8],
) -> KnowledgeProof {
    let commitment = nonce.public();
    let challenge = knowledge_challenge(&secret.public(), &commitment, context);
    join(commitment.bytes(), response(nonce, &challenge, secret).to_bytes())
}

/// A proof's response. The product alone would give the secret, because the challenge is public.
fn response(nonce: &ScalarSecret, challenge: &Scalar, secret: &ScalarSecret) -> Scalar {
    let product = Zeroizing::new(challenge * secret.scalar());
    nonce.scalar() + *product
}

/// Checks a proof of knowledge.
///
/// # Errors
/// [`BadProof`].
///
/// # Timing
/// Variable; everything here is public.
pub fn verify_knowledge(element: &Element, context: &[u8], proof: &KnowledgeProof) -> Result<(), BadProof> {
    let (commitment, response) = halves(proof);
    let commitment = Element::decode(commitment).map_err(|_| BadProof)?;
    let response = canonical_scalar(response)?;
    let challenge = knowledge_challenge(element, &commitment, context);
    let expected =
        RistrettoPoint::vartime_double_scalar_mul_basepoint(&-challenge, &element.point, &response);
    if expected == commitment.point { Ok(()) } else { Err(BadProof) }
}

/// A scalar of a proof. Only its canonical bytes are accepted, so that a proof has one encoding.
fn canonical_scalar(bytes: [u8; 32]) -> Result<Scalar, BadProof> {
    Option::from(Scalar::from_canonical_bytes(bytes)).ok_or(BadProof)
}

/// The element is hashed too. A prover that could choose it after the challenge would need no secret.
fn knowledge_challenge(element: &Element, commitment: &Element, context: &[u8]) -> Scalar {
    let hash = wide(b"cloister/v1/knowledge", &[&element.bytes, &commitment.bytes, context]);
    Scalar::from_bytes_mod_order_wide(&hash)
}

/// A proof that one secret stands behind two elements: challenge ‖ response. From these the verifier computes
/// both commitments; to send the commitments instead of the challenge would take 32 bytes more.
pub type AgreementProof = [u8; 64];

/// Reveals the element on which `secret` and `public` agree, with a proof that it is that element (Chaum and
/// Pedersen 1992, made non-interactive), bound to `context` (`MASK-13`).
///
/// # Leakage
/// A party that sees it can compute everything that was derived from this one agreement. It learns nothing
/// else about the secret.
pub fn prove_agreement(
    secret: &ScalarSecret,
    public: &Element,
    context: &[u8],
    random: &mut impl CryptoRng,
) -> ([u8; 32], AgreementProof) {
    prove_agreement_with(secret, public, context, &ScalarSecret::random(random))
}

/// The same with a nonce that the caller derived from the secret and all that is proved.
pub(crate) fn prove_agreement_with(
    secret: &ScalarSecret,
    public: &Element,
    context: &[u8],
    nonce: &ScalarSecret,
) -> ([u8; 32], AgreementProof) {
    let agreed = Element::with_bytes(public.point * secret.scalar());
    let commitments = [nonce.public(), Element::with_bytes(public.point * nonce.scalar())];
    let challenge = agreement_challenge(&[secret.public(), *public, agreed], &commitments, context);
    (agreed.bytes, join(challenge.to_bytes(), response(nonce, &challenge, secret).to_bytes()))
}

/// Checks that `agreed` is the element on which the holder of `prover` and the holder of `public` agree, and
/// returns it for a derivation.
///
/// # Errors
/// [`BadProof`].
///
/// # Timing
/// Variable; everything here is public.
pub fn verify_agreement(
    prover: &Element,
    public: &Element,
    agreed: [u8; 32],
    context: &[u8],
    proof: &AgreementProof,
) -> Result<AgreedSecret, BadProof> {
    let agreed = Element::decode(agreed).map_err(|_| BadProof)?;
    let (challenge, response) = halves(proof);
    let (challenge, response) = (canonical_scalar(challenge)?, canonical_scalar(response)?);
    let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-challenge, &prover.point, &response);
    let second = public.point * response - agreed.point * challenge;
    // In a forged proof these may be the identity. They are hashed and nothing else, so that it does no harm.
    let commitments = [Element::with_bytes(first), Element::with_bytes(second)];
    if agreement_challenge(&[*prover, *public, agreed], &commitments, context) != challenge {
        return Err(BadProof);
    }
    Ok(AgreedSecret(CompressedRistretto(agreed.bytes)))
}

fn agreement_challenge(statement: &[Element; 3], commitments: &[Element; 2], context: &[u8]) -> Scalar {
    let parts: Vec<&[u8]> = statement.iter().chain(commitments).map(|element| &element.bytes[..]).collect();
    let hash = wide(b"cloister/v1/agreement", &[&parts.concat(), context]);
    Scalar::from_bytes_mod_order_wide(&hash)
}

fn join(first: [u8; 32], second: [u8; 32]) -> [u8; 64] {
    let mut joined = [0; 64];
    joined[..32].copy_from_slice(&first);
    joined[32..].copy_from_slice(&second);
    joined
}

fn halves(joined: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    first.copy_from_slice(&joined[..32]);
    second.copy_from_slice(&joined[32..]);
    (first, second)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn both_ends_agree() {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
        assert_eq!(a.agree(&b.public()).as_bytes(), b.agree(&a.public()).as_bytes());
    }

    /// MASK-02
    #[test]
    fn a_proof_fits_its_element_and_context_alone() {
        let mut random = ChaCha20Rng::seed_from_u64(2);
        let secret = ScalarSecret::random(&mut random);
        let proof = prove_knowledge(&secret, b"context", &mut random);
        assert_eq!(verify_knowledge(&secret.public(), b"context", &proof), Ok(()));
        assert_eq!(verify_knowledge(&secret.public(), b"other", &proof), Err(BadProof));
        let other = ScalarSecret::random(&mut random).public();
        assert_eq!(verify_knowledge(&other, b"context", &proof), Err(BadProof));
        let mut bent = proof;
        bent[40] ^= 1;
        assert_eq!(verify_knowledge(&secret.public(), b"context", &bent), Err(BadProof));
    }

    /// MASK-13
    #[test]
    fn an_agreement_is_proved_for_its_two_elements_alone() {
        let mut random = ChaCha20Rng::seed_from_u64(5);
        let (ours, theirs) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
        let (agreed, proof) = prove_agreement(&ours, &theirs.public(), b"context", &mut random);
        let verify = |prover: &Element, agreed, context: &[u8], proof: &AgreementProof| {
            let verified = verify_agreement(prover, &theirs.public(), agreed, context, proof);
            verified.map(|agreed| *agreed.as_bytes())
        };
        let expected = *ours.agree(&theirs.public()).as_bytes();
        assert_eq!(verify(&ours.public(), agreed, b"context", &proof), Ok(expected));
        assert_eq!(verify(&ours.public(), agreed, b"other", &proof), Err(BadProof));
        assert_eq!(verify(&theirs.public(), agreed, b"context", &proof), Err(BadProof));
        let other = ScalarSecret::random(&mut random).public().bytes();
        assert_eq!(verify(&ours.public(), other, b"context", &proof), Err(BadProof));
        for at in [3, 40] {
            let mut bent = proof;
            bent[at] ^= 1;
            assert_eq!(verify(&ours.public(), agreed, b"context", &bent), Err(BadProof));
        }
    }

    #[test]
    fn the_identity_and_bytes_outside_the_group_are_refused() {
        assert_eq!(Element::decode([0; 32]), Err(BadElement));
        assert_eq!(Element::decode([0xff; 32]), Err(BadElement));
    }

    #[test]
    fn secrets_cannot_be_printed() {
        let secret = ScalarSecret::from_revealed([
            9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ])
        .expect("canonical");
        assert_eq!(format!("{secret:?}"), "ScalarSecret(…)");
        assert_eq!(format!("{:?}", secret.agree(&secret.public())), "AgreedSecret(…)");
    }
}
