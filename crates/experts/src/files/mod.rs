//! Files that hold a hospital's rows.
//!
//! [`rows`] reads rows of any format, [`notes`] makes labelled texts of them. No message of either has a value of the
//! file, because messages reach logs and screens that may not show patients' data.

pub(crate) mod hidden_panics;
pub mod notes;
pub mod rows;
