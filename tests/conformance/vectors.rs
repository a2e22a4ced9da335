//! Reading vectors. Files are read into structures that know every field, so that none is overlooked.

use std::fs;
use std::path::PathBuf;

use cloister_params::id::Digest;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../protocols/vectors/v1"))
}

/// The names of all files, in order.
pub(crate) fn files() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the vectors are beside the specification");
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".json"));
    names.sort_unstable();
    names
}

/// Reads a file.
pub(crate) fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}.json: {error}"))
}

/// Bytes in hex.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Hex {
    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().expect("the vector has a value of another length")
    }

    /// Single-precision numbers, little-endian.
    pub(crate) fn singles(&self) -> Vec<f32> {
        self.0.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    }

    /// A double-precision number, little-endian.
    pub(crate) fn double(&self) -> f64 {
        f64::from_le_bytes(self.array())
    }

    pub(crate) fn from_singles(values: &[f32]) -> Self {
        Self(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl From<Digest> for Hex {
    fn from(digest: Digest) -> Self {
        Self(digest.0.to_vec())
    }
}

/// Replaces `{"bytes": hex}` by a list of numbers, as serde writes bytes in JSON.
pub(crate) fn expand(value: Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("bytes").and_then(Value::as_str) {
            Some(text) if fields.len() == 1 => Value::from(hex::decode(text).unwrap()),
            _ => Value::Object(fields.into_iter().map(|(name, field)| (name, expand(field))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(expand).collect()),
        other => other,
    }
}
