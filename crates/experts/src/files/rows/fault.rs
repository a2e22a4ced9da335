//! Why a row does not come. What libraries say is not passed on, as it may quote what a row holds.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::{NotesError, RowPlace};

/// What is wrong with bytes that the operating system gave; it travels through readers as an [`io::Error`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum RowFault {
    /// The bytes break the rules of their format.
    #[error("{0}")]
    Damaged(&'static str),
    /// The row at hand is not what it must be.
    #[error("{0}")]
    Row(String),
    /// It is whole and not read.
    #[error("{0}")]
    Kind(String),
}

impl From<RowFault> for io::Error {
    fn from(fault: RowFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Why a row does not come.
pub(super) enum Broken {
    /// The operating system does not give it.
    File(io::Error),
    /// The bytes are damaged.
    Damaged(String),
    /// The row is not what it must be.
    Row(String),
    /// The file is something else than rows.
    Kind(String),
    /// A table lacks its columns.
    Columns(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<RowFault>()) {
            Some(RowFault::Damaged(reason)) => Self::Damaged((*reason).to_owned()),
            Some(RowFault::Row(reason)) => Self::Row(reason.clone()),
            Some(RowFault::Kind(reason)) => Self::Kind(reason.clone()),
            None => Self::File(error),
        }
    }
}

impl Broken {
    pub(super) fn of_file(self, path: &Path, place: Option<RowPlace>) -> NotesError {
        let path = path.to_owned();
        match self {
            Self::File(source) => NotesError::File { path, source },
            Self::Damaged(reason) => NotesError::Damaged { path, place, reason },
            Self::Row(reason) => {
                // What is wrong before any row comes is wrong with the header row.
                NotesError::Row { path, place: place.unwrap_or(RowPlace::Line(1)), reason }
            }
            Self::Kind(reason) => NotesError::Kind { path, reason },
            Self::Columns(reason) => NotesError::Columns { path, reason },
        }
    }
}
