//! The fingerprint that people read to one another.

use std::fmt;
use std::str::FromStr;

use cloister_params::id::Digest;
use thiserror::Error;

/// Twenty-five decimal digits that people read to one another. Digits are the same in every language. They
/// stand for 83 bits of a digest, so that nobody can make another file with the same digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortFingerprint(u128);

/// Digits of a short fingerprint.
const DIGITS: u32 = 25;

impl ShortFingerprint {
    /// The first 16 bytes of a digest as a big-endian number, modulo 10²⁵.
    pub fn new(digest: Digest) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&digest.0[..16]);
        Self(u128::from_be_bytes(first) % 10u128.pow(DIGITS))
    }
}

impl fmt::Display for ShortFingerprint {
    /// Five groups of five digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:025}", self.0);
        let groups: Vec<&str> = (0..5).map(|group| &digits[5 * group..5 * group + 5]).collect();
        f.write_str(&groups.join(" "))
    }
}

/// A text that is not a short fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a fingerprint has {DIGITS} digits, and {got} came; read all five groups")]
pub struct ShortFingerprintError {
    /// How many digits the text has.
    pub got: usize,
}

impl FromStr for ShortFingerprint {
    type Err = ShortFingerprintError;

    /// Digits, with blanks or hyphens anywhere.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|sign| !sign.is_whitespace() && *sign != '-').collect();
        let is_whole = digits.len() == DIGITS as usize && digits.chars().all(|sign| sign.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_whole);
        number
            .map(Self)
            .ok_or(ShortFingerprintError { got: digits.chars().filter(char::is_ascii_digit).count() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_digest_modulo_ten_to_the_25th() {
        // int('00112233445566778899aabbccddeeff', 16) % 10**25 in Python
        let digest = Digest(std::array::from_fn(|index| if index < 16 { 17 * index as u8 } else { 0 }));
        let fingerprint = ShortFingerprint::new(digest);
        assert_eq!(fingerprint.to_string(), "61277 02866 24172 74331 42015");
        assert_eq!("61277-02866-24172-74331-42015".parse(), Ok(fingerprint));
        assert_eq!("12345".parse::<ShortFingerprint>(), Err(ShortFingerprintError { got: 5 }));
        assert!("1234567890123456789012345a".parse::<ShortFingerprint>().is_err());
        assert!("+234567890123456789012345".parse::<ShortFingerprint>().is_err());
    }
}
