//! The rules that a consortium file can break.

use thiserror::Error;

use super::{MAX_FILE_BYTES, MAX_WEIGHT};
use crate::floors::FloorsError;

/// What is wrong with a consortium file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConsortiumError {
    /// Larger than any real consortium's file.
    #[error("the consortium file has {got} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge {
        /// Its size.
        got: usize,
    },
    /// No consortium file in TOML.
    #[error("the consortium file cannot be read: {0}")]
    Syntax(String),
    /// A party with the coordinator's number.
    #[error("party {name:?} has the number 0, which is the coordinator's; numbers start at 1")]
    ReservedId {
        /// The party.
        name: String,
    },
    /// Two entries that cannot be told apart.
    #[error("{first:?} and {second:?} have the same {what}; every party needs its own")]
    Duplicate {
        /// The earlier entry.
        first: String,
        /// The later entry.
        second: String,
        /// What they share.
        what: &'static str,
    },
    /// A party that does nothing.
    #[error("party {name:?} has no role; give it `member`, `custodian` or both")]
    NoRole {
        /// The party.
        name: String,
    },
    /// An organisation with two custodians: shares would be in fewer hands than they seem.
    #[error(
        "{first:?} and {second:?} are custodians of one organisation, {organisation:?}; each organisation may have one"
    )]
    CustodianOrganisation {
        /// One custodian.
        first: String,
        /// The other.
        second: String,
        /// Their organisation.
        organisation: String,
    },
    /// A weight that no plan can use.
    #[error("party {name:?} has the weight {got}; weights are 1 to {MAX_WEIGHT}")]
    Weight {
        /// The party.
        name: String,
        /// Its weight.
        got: u8,
    },
    /// A roster without floors.
    #[error(transparent)]
    Floors(#[from] FloorsError),
    /// A first epoch that begins on another, or a later one that does not say on what it begins.
    #[error(
        "the file has the epoch number {epoch}: a first epoch has the number 1 and no table `start`, a later one a higher number and a table \
         `start` with the digests `epoch` and `model`"
    )]
    Start {
        /// The file's number.
        epoch: u32,
    },
}
