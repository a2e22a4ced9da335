//! Why a row cannot be read, before the file's name and the row's place are added.
//!
//! Messages of libraries are not passed on, because they may quote what a row holds.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::{NotesError, RowPlace};

/// What is wrong with a file's content, as opposed to reading it. Readers are stacked (file, decompression,
/// decoding) and pass only [`io::Error`]s to each other, so it travels inside one and becomes a [`ReadError`]
/// at the top.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum ContentFault {
    /// The bytes break the rules of their format.
    #[error("{0}")]
    Damaged(&'static str),
    /// The row that is being read is not what it must be.
    #[error("{0}")]
    Row(String),
    /// The file is sound, but of a kind that is not supported.
    #[error("{0}")]
    Kind(String),
}

impl From<ContentFault> for io::Error {
    fn from(fault: ContentFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Why a row cannot be read. The variants are those of [`NotesError`].
pub(super) enum ReadError {
    /// The operating system fails to read it.
    File(io::Error),
    /// The bytes are damaged.
    Damaged(String),
    /// The row is not what it must be.
    Row(String),
    /// The row does not end, and neither it nor what follows was read.
    Unread(String),
    /// The file is not a file of rows, or of a kind that is not supported.
    Kind(String),
    /// A table or a Parquet file lacks the columns that are read.
    Columns(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ContentFault>()) {
            Some(ContentFault::Damaged(reason)) => Self::Damaged((*reason).to_owned()),
            Some(ContentFault::Row(reason)) => Self::Row(reason.clone()),
            Some(ContentFault::Kind(reason)) => Self::Kind(reason.clone()),
            None => Self::File(error),
        }
    }
}

impl ReadError {
    /// Adds the file, and the place of the row that was to be read, if reading came to the first row.
    pub(super) fn in_file(self, path: &Path, place: Option<RowPlace>) -> NotesError {
        let path = path.to_owned();
        match self {
            Self::File(source) => NotesError::File { path, source },
            Self::Damaged(reason) => NotesError::Damaged { path, place, reason },
            // Only tables read a row before the first one: their header, which is line 1.
            Self::Row(reason) => NotesError::Row { path, place: place.unwrap_or(RowPlace::Line(1)), reason },
            Self::Unread(reason) => {
                NotesError::Unread { path, place: place.unwrap_or(RowPlace::Line(1)), reason }
            }
            Self::Kind(reason) => NotesError::Kind { path, reason },
            Self::Columns(reason) => NotesError::Columns { path, reason },
        }
    }
}
