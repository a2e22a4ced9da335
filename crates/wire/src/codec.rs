//! The canonical encoding: little-endian integers of fixed width, 64-bit lengths, no padding, nothing
//! optional.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest encoding of one value, in bytes. Plans bound blocks times members, so that every message fits.
pub const MAX_ENCODED: usize = 8 << 20;

/// Bytes that are no canonical encoding of the expected type.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// More bytes than any value has.
    #[error("{got} bytes came; an encoded value has at most {MAX_ENCODED}")]
    TooLong {
        /// Bytes given.
        got: usize,
    },
    /// Not a value of this type.
    #[error("the bytes are no {expected}: {detail}")]
    Malformed {
        /// The type.
        expected: &'static str,
        /// Where decoding stopped.
        detail: String,
    },
    /// A value, then more.
    #[error("{extra} bytes follow the {expected}")]
    Trailing {
        /// The type.
        expected: &'static str,
        /// How many.
        extra: usize,
    },
    /// A value that has another, canonical encoding.
    #[error("the bytes are not the canonical encoding of this {expected}")]
    NotCanonical {
        /// The type.
        expected: &'static str,
    },
}

type Canonical<const LIMIT: usize> =
    config::Configuration<config::LittleEndian, config::Fixint, config::Limit<LIMIT>>;

fn canonical<const LIMIT: usize>() -> Canonical<LIMIT> {
    // Fixed width, because a number of variable width could be written in several ways.
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Reads a value with a limit near the length of what came: a byte string's memory is taken before its bytes
/// are read, and its length is the peer's word (`WIRE-03`).
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    use bincode::serde::decode_from_slice;
    // The limit is a type parameter, so it has steps. A short message cannot claim the memory of a long one.
    match bytes.len() {
        0..=0x400 => decode_from_slice(bytes, canonical::<0x400>()),
        0x401..=0x4000 => decode_from_slice(bytes, canonical::<0x4000>()),
        0x4001..=0x40000 => decode_from_slice(bytes, canonical::<0x40000>()),
        _ => decode_from_slice(bytes, canonical::<MAX_ENCODED>()),
    }
}

/// Encodes a value.
///
/// # Panics
/// For a value that serde cannot serialise; the types of this crate can be.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Without a limit: a value that is too long is rejected where it is decoded.
    let unlimited = config::standard().with_little_endian().with_fixed_int_encoding();
    bincode::serde::encode_to_vec(value, unlimited).expect("wire types serialise")
}

/// Decodes a value from exactly these bytes.
///
/// # Errors
/// Anything but the canonical encoding of a value of this type.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let expected = short_name::<T>();
    if bytes.len() > MAX_ENCODED {
        return Err(DecodeError::TooLong { got: bytes.len() });
    }
    let (value, consumed): (T, usize) =
        read(bytes).map_err(|error| DecodeError::Malformed { expected, detail: error.to_string() })?;
    if consumed != bytes.len() {
        return Err(DecodeError::Trailing { expected, extra: bytes.len() - consumed });
    }
    // Signatures and digests are over bytes, so one value must not have two encodings. Encoding again finds
    // what serde accepts and would not write.
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical { expected });
    }
    Ok(value)
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    struct Sample {
        number: u32,
        flag: bool,
        list: Vec<u16>,
    }

    /// WIRE-01
    #[test]
    fn integers_are_little_endian_and_lengths_are_64_bit() {
        let sample = Sample { number: 1, flag: true, list: vec![2] };
        assert_eq!(encode(&sample), [1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    }

    /// WIRE-02
    #[test]
    fn what_is_not_canonical_is_refused() {
        let mut bytes = encode(&Sample { number: 1, flag: true, list: vec![2] });
        bytes.push(0);
        assert!(matches!(decode::<Sample>(&bytes), Err(DecodeError::Trailing { extra: 1, .. })));
        bytes.truncate(14);
        assert!(matches!(decode::<Sample>(&bytes), Err(DecodeError::Malformed { .. })));
        let two_for_true = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(decode::<Sample>(&two_for_true), Err(DecodeError::Malformed { .. })));
        assert!(matches!(decode::<Sample>(&vec![0; MAX_ENCODED + 1]), Err(DecodeError::TooLong { .. })));
    }

    /// WIRE-03
    #[test]
    fn a_length_by_a_peers_word_allocates_nothing() {
        let mut bytes = vec![1, 0, 0, 0, 1];
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Sample>(&bytes), Err(DecodeError::Malformed { .. })));
        bytes.truncate(5);
        bytes.extend_from_slice(&(MAX_ENCODED as u64 / 2 - 64).to_le_bytes());
        assert!(matches!(decode::<Sample>(&bytes), Err(DecodeError::Malformed { .. })));
    }

    /// WIRE-03: a byte string that claims more than came is refused before memory for it is taken.
    #[test]
    fn a_byte_strings_length_allocates_nothing() {
        let refusal = |length: usize| match decode::<serde_bytes::ByteBuf>(&(length as u64).to_le_bytes()) {
            Err(DecodeError::Malformed { detail, .. }) => detail,
            other => panic!("{other:?}"),
        };
        assert!(refusal(MAX_ENCODED / 2).contains("LimitExceeded"));
        assert!(
            refusal(100).contains("UnexpectedEnd"),
            "control: within the limit, the missing bytes are noticed"
        );
    }

    proptest! {
        /// WIRE-02
        #[test]
        fn values_survive_and_random_bytes_are_refused_or_canonical(number: u32, flag: bool, list: Vec<u16>, noise: Vec<u8>) {
            let sample = Sample { number, flag, list };
            prop_assert_eq!(decode::<Sample>(&encode(&sample)), Ok(sample));
            if let Ok(value) = decode::<Sample>(&noise) {
                prop_assert_eq!(encode(&value), noise);
            }
        }
    }
}
