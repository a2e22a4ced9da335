//! The fingerprint by which a certificate is pinned.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// SHA-256 over a certificate in DER. Printed and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn from_certificate(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({}…)", hex::encode(&self.0[..4]))
    }
}

/// A text that is not a fingerprint.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "a certificate fingerprint is 64 hexadecimal digits, and {got:?} is not; copy it from `openssl x509 \
     -fingerprint -sha256`, without the colons"
)]
pub struct FingerprintError {
    /// The text.
    pub got: String,
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| FingerprintError { got: text.to_owned() })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let fingerprint = Fingerprint::from_certificate(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse(), Ok(fingerprint));
    }

    #[test]
    fn refuses_other_lengths_and_other_digits() {
        let text = Fingerprint::from_certificate(b"abc").to_string();
        for bad in [&text[..62], &format!("{text}00"), &text.replace('b', "x"), ""] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError { got: bad.to_owned() }));
        }
    }
}
