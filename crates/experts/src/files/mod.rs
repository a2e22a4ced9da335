//! Files that hold a hospital's rows.

pub mod notes;
pub(crate) mod quiet;
pub mod rows;
