//! The parts of models, shared by all families.

pub(crate) mod attention;
pub(crate) mod dispatch;
pub(crate) mod experts;
pub(crate) mod head;
pub mod losses;
pub(crate) mod projection;
pub(crate) mod relative;
pub(crate) mod rope;
pub mod router;
pub mod tokens;
