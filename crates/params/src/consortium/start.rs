//! On what an epoch begins, as the consortium file says it (`CONS-06`).

use serde::{Deserialize, Serialize};

use super::PublicBytes;
use crate::id::Round;

/// On what an epoch begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// Digest of the consortium file of the epoch before.
    pub epoch: PublicBytes,
    /// Digest of the model that this epoch starts from.
    pub model: PublicBytes,
    /// The last ending of the epoch before; none if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<LastEnding>,
}

/// How the epoch before ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastEnding {
    /// Its last round.
    pub round: Round,
    /// Digest of that round's closing or abort body.
    pub digest: PublicBytes,
}
