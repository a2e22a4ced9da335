//! That somebody holds the private key of a certificate.

use rustls::SignatureScheme;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tls::Identity;
use crate::validity::UnreadableCertificate;

/// What is signed starts with 64 spaces, a context and a zero byte, as in TLS 1.3 (RFC 8446, section 4.4.3).
/// So a handshake's signature fits no proof, and a proof fits no handshake.
const CONTEXT: &[u8] = b"cloister/v1/certificate-possession";

/// A signature by the key of a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateProof {
    /// The signature scheme's number in TLS (IANA's registry “TLS SignatureScheme”).
    pub scheme: u16,
    /// The signature, as TLS encodes it, in hexadecimal digits.
    pub signature: String,
}

/// Why a proof was not made or is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ProofError {
    /// The certificate's key cannot sign.
    #[error("the certificate's key cannot sign: {0}")]
    CannotSign(String),
    /// The proof does not fit.
    #[error(
        "the certificate's key has not signed this: whoever wrote the file does not hold that key, or the file was changed"
    )]
    NotSigned,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] UnreadableCertificate),
}

fn signed_bytes(message: &[u8]) -> Vec<u8> {
    [&[b' '; 64][..], CONTEXT, &[0], message].concat()
}

impl Identity {
    /// Signs a message with the certificate's key, to show that this side holds it.
    ///
    /// # Errors
    /// [`ProofError::CannotSign`] for a key of a kind that cannot sign.
    pub fn prove_possession(&self, message: &[u8]) -> Result<CertificateProof, ProofError> {
        let certified = self.certified_key();
        let schemes = default_provider().signature_verification_algorithms.supported_schemes();
        let signer = certified.key.choose_scheme(&schemes);
        let signer = signer.ok_or_else(|| ProofError::CannotSign("no known scheme fits it".to_owned()))?;
        let signature = signer.sign(&signed_bytes(message));
        let signature = signature.map_err(|error| ProofError::CannotSign(error.to_string()))?;
        Ok(CertificateProof { scheme: signer.scheme().into(), signature: hex::encode(signature) })
    }
}

/// Checks that the key of a certificate, given in DER, has signed a message.
///
/// # Errors
/// See [`ProofError`].
pub fn check_possession(der: &[u8], message: &[u8], proof: &CertificateProof) -> Result<(), ProofError> {
    let scheme = SignatureScheme::from(proof.scheme);
    let algorithms = default_provider().signature_verification_algorithms;
    let candidates = algorithms.mapping.iter().filter(|(listed, _)| *listed == scheme);
    let signature = hex::decode(&proof.signature).map_err(|_| ProofError::NotSigned)?;
    let key = public_key(der)?;
    for algorithm in candidates.flat_map(|(_, algorithms)| algorithms.iter()) {
        // ECDSA has an algorithm for each curve; the right one is that of the certificate's key.
        if algorithm.public_key_alg_id().as_ref() == key.algorithm
            && algorithm.verify_signature(&key.bits, &signed_bytes(message), &signature).is_ok()
        {
            return Ok(());
        }
    }
    Err(ProofError::NotSigned)
}

/// A certificate's public key: the content of its algorithm identifier, and its bits.
struct PublicKey {
    algorithm: Vec<u8>,
    bits: Vec<u8>,
}

fn public_key(der: &[u8]) -> Result<PublicKey, UnreadableCertificate> {
    use x509_cert::der::{Decode, Encode};
    let certificate = x509_cert::Certificate::from_der(&CertificateDer::from(der))
        .map_err(|error| UnreadableCertificate(error.to_string()))?;
    let info = certificate.tbs_certificate.subject_public_key_info;
    let algorithm = info.algorithm.to_der().map_err(|error| UnreadableCertificate(error.to_string()))?;
    // Two bytes of tag and length come first: an algorithm identifier is shorter than 128 bytes.
    let algorithm = algorithm.get(2..).unwrap_or_default().to_vec();
    Ok(PublicKey { algorithm, bits: info.subject_public_key.raw_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;
    use crate::validity::Validity;

    #[test]
    fn each_kind_of_key_proves_that_it_is_held_and_no_other_key_does() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).expect("randomness");
            let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
            let identity = Identity::from_pem(&certificate.pem(), &key.serialize_pem()).expect("they match");
            let proof = identity.prove_possession(b"message").expect("it can sign");
            assert_eq!(check_possession(certificate.der(), b"message", &proof), Ok(()));
            assert_eq!(check_possession(certificate.der(), b"massage", &proof), Err(ProofError::NotSigned));
            let other = Identity::generate("other", Validity::unlimited()).expect("randomness");
            let by_other = other.prove_possession(b"message").expect("it can sign");
            assert_eq!(
                check_possession(certificate.der(), b"message", &by_other),
                Err(ProofError::NotSigned)
            );
            let changed = CertificateProof { scheme: 0x0101, ..proof };
            assert_eq!(check_possession(certificate.der(), b"message", &changed), Err(ProofError::NotSigned));
        }
    }
}
