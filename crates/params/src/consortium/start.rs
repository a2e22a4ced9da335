//! What an epoch continues from, as the consortium file says it (`CONS-06`).

use serde::{Deserialize, Serialize};

use super::PublicBytes;
use crate::id::Round;

/// What an epoch continues from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// Digest of the consortium file of the previous epoch.
    pub epoch: PublicBytes,
    /// Digest of the model from which this epoch starts.
    pub model: PublicBytes,
    /// How the previous epoch ended; `None` if no round of it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<LastEnding>,
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
