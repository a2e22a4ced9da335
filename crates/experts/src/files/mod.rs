//! Files that hold a hospital's rows.
//!
//! [`rows`] reads rows of named columns, whatever the format of the file; [`notes`] reads rows as texts with their
//! classes. Neither passes on what a library says about a row, because it may quote the row.

pub mod notes;
pub(crate) mod quiet;
pub mod rows;
