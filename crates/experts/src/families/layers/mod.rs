//! The parts that models of all families are made of.

pub(crate) mod attention;
pub(crate) mod experts;
pub(crate) mod head;
pub mod losses;
pub(crate) mod projection;
pub(crate) mod relative;
pub(crate) mod rope;
pub mod router;
pub mod tokens;
