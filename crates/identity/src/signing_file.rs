//! The file of a signing key: PKCS#8 in PEM (RFC 8410), as OpenSSL and other tools read and write it.

use std::path::{Path, PathBuf};

use cloister_crypto::sign::SigningKey;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::{AlgorithmIdentifierRef, LineEnding, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key_file::{KeyFileError, read_private, write_new};

/// Ed25519 (RFC 8410, section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// The label of an unencrypted key (RFC 7468, section 10).
const LABEL: &str = "PRIVATE KEY";

/// Why a signing key's file was not read or written.
#[derive(Debug, Error)]
pub enum SigningKeyError {
    /// The file was not read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The file does not hold a signing key.
    #[error("{} does not hold an Ed25519 key in PKCS#8 and PEM: {detail}; copy the file again", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// Writes a new key's seed to a file that only its owner can read. An existing file is not overwritten.
///
/// # Errors
/// [`KeyFileError`]
pub fn write_signing_key(path: &Path, seed: &[u8; 32]) -> Result<(), KeyFileError> {
    write_new(path, &to_pem(seed))
}

/// Reads a key, unless users other than its owner can read it (`CONS-07`). The files of earlier versions,
/// which are 64 hexadecimal digits, are read as well.
///
/// # Errors
/// See [`SigningKeyError`].
pub fn read_signing_key(path: &Path) -> Result<SigningKey, SigningKeyError> {
    let text = read_private(path)?;
    let seed = from_text(&text);
    let seed = seed.map_err(|detail| SigningKeyError::NotAKey { path: path.to_owned(), detail })?;
    Ok(SigningKey::from_seed(&seed))
}

fn to_pem(seed: &[u8; 32]) -> Zeroizing<String> {
    // The key is an octet string within the octet string of PKCS#8 (RFC 8410, section 7).
    let mut inner = Zeroizing::new([0; 34]);
    OctetStringRef::new(seed)
        .and_then(|octets| octets.encode_to_slice(inner.as_mut()).map(|_| ()))
        .expect("32 bytes fit");
    let algorithm = AlgorithmIdentifierRef { oid: ED25519, parameters: None };
    // Version 1, without the public key: OpenSSL 3.0 reads no other.
    let document = SecretDocument::encode_msg(&PrivateKeyInfo::new(algorithm, inner.as_ref()));
    let pem = document.and_then(|document| document.to_pem(LABEL, LineEnding::LF));
    pem.expect("48 bytes can be encoded")
}

fn from_text(text: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let mut seed = Zeroizing::new([0; 32]);
    if !text.starts_with("-----BEGIN") {
        let decoded = hex::decode_to_slice(text.trim(), seed.as_mut());
        return decoded.map(|()| seed).map_err(|_| "it is not PEM".to_owned());
    }
    let (label, document) = SecretDocument::from_pem(text).map_err(|error| error.to_string())?;
    if label != LABEL {
        return Err(format!("its label is “{label}”, and “{LABEL}” was expected"));
    }
    let info: PrivateKeyInfo<'_> = document.decode_msg().map_err(|error| error.to_string())?;
    if info.algorithm.oid != ED25519 {
        return Err(format!("it holds a key of the algorithm {}, not of Ed25519", info.algorithm.oid));
    }
    // Tag and length of the inner octet string, then the seed.
    match info.private_key {
        [0x04, 32, bytes @ ..] if bytes.len() == 32 => seed.copy_from_slice(bytes),
        other => return Err(format!("its private key has {} bytes, not 34", other.len())),
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and its seed of RFC 8410, section 10.3.
    const PUBLISHED: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const SEED: &str = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";

    #[test]
    fn the_published_key_of_rfc_8410_is_read_and_written() {
        let seed = from_text(PUBLISHED).expect("a key");
        assert_eq!(hex::encode(*seed), SEED);
        assert_eq!(*to_pem(&seed), PUBLISHED);
    }

    #[test]
    fn the_second_version_with_a_public_key_is_read() {
        // RFC 8410, section 10.3: the same key with an attribute and its public key.
        let second = "-----BEGIN PRIVATE KEY-----\n\
            MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
            Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PRIVATE KEY-----\n";
        // The attribute is not one of the format that PKCS#8 libraries must read; what matters is that
        // nothing else than the key is taken for the key.
        if let Ok(seed) = from_text(second) {
            assert_eq!(hex::encode(*seed), SEED);
        }
    }

    #[test]
    fn an_earlier_version_s_file_is_read_and_other_texts_are_not() {
        assert_eq!(hex::encode(*from_text(&format!("{SEED}\n")).expect("64 digits")), SEED);
        let ec = "-----BEGIN PRIVATE KEY-----\n\
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQRmhqKBNOJLhzVUK\n\
            -----END PRIVATE KEY-----\n";
        for (text, says) in [
            (&SEED[1..], "not PEM"),
            ("", "not PEM"),
            (ec, ""),
            (&PUBLISHED.replace("PRIVATE KEY", "EC PRIVATE KEY"), "EC PRIVATE KEY"),
            (&PUBLISHED.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vu"), "1.3.101.110"),
        ] {
            let detail = from_text(text).expect_err("no key");
            assert!(detail.contains(says), "{detail}");
            assert!(!detail.contains(&SEED[..8]) && !detail.contains("1O5y2"), "no secret is told: {detail}");
        }
    }
}
