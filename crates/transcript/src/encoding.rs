//! The text encodings that all formats of the log share. Each value has exactly one accepted encoding.

use base64ct::{Base64, Encoding};
use cloister_params::id::Digest;

/// Standard base64 with padding (RFC 4648, section 4).
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The bytes of a base64 text. `None` if encoding them does not give the same text.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = Base64::decode_vec(text).ok()?;
    (encode_base64(&bytes) == text).then_some(bytes)
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
