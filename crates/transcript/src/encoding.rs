//! The text encodings that all formats of the log share. Each value has exactly one accepted encoding.

use base64ct::{Base64, Encoding};
use cloister_params::id::Digest;

/// Standard base64 with padding (RFC 4648, section 4).
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The bytes of a base64 text. `base64ct` refuses padding that is missing or superfluous, other characters, and unused
/// bits that are not zero, so no other text has the same bytes.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

/// A hash in base64.
pub(crate) fn decode_digest(text: &str) -> Option<Digest> {
    decode_base64(text)?.try_into().ok().map(Digest)
}

/// A decimal number in ASCII digits without a sign and without leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// How many characters of a wrong text a message quotes.
const EXCERPT: usize = 120;

/// The beginning of a text for a message: what came from elsewhere may be as long as the largest note.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where the first ASCII control character other than a newline is, counted in bytes from 0.
pub(crate) fn find_control_character(text: &str) -> Option<usize> {
    text.bytes().position(|byte| byte < 0x20 && byte != b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Texts that are almost base64: what is accepted is the one encoding of its bytes.
        #[test]
        fn base64_has_one_form(text in "([A-Za-z0-9+/]{4}){0,3}[A-Za-z0-9+/]{0,4}={0,3}[ \n]?") {
            if let Some(bytes) = decode_base64(&text) {
                prop_assert_eq!(encode_base64(&bytes), text);
            }
        }

        #[test]
        fn every_number_has_one_form(number in any::<u64>(), text in "[+0]?[0-9]{1,20}") {
            prop_assert_eq!(parse_decimal(&number.to_string()), Some(number));
            if let Some(number) = parse_decimal(&text) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
