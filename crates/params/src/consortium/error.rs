//! The rules that a consortium file can break.

use thiserror::Error;

use super::{MAX_FILE_BYTES, MAX_WEIGHT};
use crate::floors::FloorsError;
use crate::id::PartyId;

/// What is wrong with a consortium file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConsortiumError {
    /// Larger than any real consortium's file.
    #[error("the consortium file has {got} bytes; at most {MAX_FILE_BYTES} are accepted")]
    TooLarge {
        /// The file's size, in bytes.
        got: usize,
    },
    /// Not a consortium file in TOML.
    #[error("the consortium file cannot be read: {}{}", .0, advice(.0))]
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
        /// The property that both share.
        what: &'static str,
    },
    /// A party that does nothing.
    #[error("party {name:?} has no role; give it `member`, `custodian` or both")]
    NoRole {
        /// The party.
        name: String,
    },
    /// A party with the number of one that has left: what was signed with it before would seem to be its own.
    #[error("party {name:?} has the number {}, which a party that has left had; give it a new one", number.0)]
    RetiredNumber {
        /// The party.
        name: String,
        /// The number.
        number: PartyId,
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
        /// The party's weight.
        got: u8,
    },
    /// A roster for which no floors exist.
    #[error(transparent)]
    Floors(#[from] FloorsError),
    /// A first epoch that continues from another, or a later one that does not say what it continues from.
    #[error(
        "the consortium file has the epoch number {epoch}. The first epoch has the number 1 and no table \
         `start`; a later epoch has a higher number and a table `start` with the digests `epoch` and \
         `model`"
    )]
    Start {
        /// The file's number.
        epoch: u32,
    },
    /// A way back to an earlier model that is not said to be one.
    #[error(
        "the table `start.back_to` goes back to an earlier model, and `start.replaced` is not true: set it, or leave the table out"
    )]
    BackTo,
}

/// What to do about a text that does not parse.
fn advice(why: &str) -> &'static str {
    // A field that nobody wrote by hand: the file is signed, or comes from another program.
    match why.contains("unknown field") {
        true => "; if nobody changed it, a later version of the program wrote it: install that version",
        false => "",
    }
}
