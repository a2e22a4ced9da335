//! What an epoch continues from, as the consortium file says it (`CONS-06`).

use serde::{Deserialize, Serialize};

use super::{ConsortiumError, PublicBytes};
use crate::id::Round;

/// What an epoch continues from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// Digest of the consortium file of the previous epoch.
    pub epoch: PublicBytes,
    /// Digest of the model from which this epoch starts.
    pub model: PublicBytes,
    /// Whether the consortium chose another model than the one that the ending left. Without it, a party that
    /// knows the ending accepts no other model.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replaced: bool,
    /// The earlier closing to whose model the consortium goes back; `None` if it does not. `replaced` is true with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<EarlierClosing>,
    /// How the previous epoch ended; `None` if no round of it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<LastEnding>,
}

// `serde` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

impl EpochStart {
    /// Reads the table from a file of its own.
    ///
    /// # Errors
    /// A text that is not such a table in TOML.
    pub fn parse(text: &str) -> Result<Self, ConsortiumError> {
        toml::from_str(text).map_err(|error| ConsortiumError::Syntax(error.to_string()))
    }

    /// The text of a file with the table alone.
    ///
    /// # Errors
    /// Never for this type; the TOML library's error is passed on.
    pub fn to_toml(&self) -> Result<String, ConsortiumError> {
        toml::to_string(self).map_err(|error| ConsortiumError::Syntax(error.to_string()))
    }
}

/// A closing of an earlier round, in this consortium's chain of rounds (`CONS-16`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierClosing {
    /// Digest of the consortium file of the closing's epoch.
    pub epoch: PublicBytes,
    /// The round.
    pub round: Round,
    /// Digest of the closing's body.
    pub digest: PublicBytes,
}

/// How the previous epoch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastEnding {
    /// The last round of that epoch.
    pub round: Round,
    /// Digest of that round's closing or abort body.
    pub digest: PublicBytes,
}
