//! What all parties of a consortium agree on before a round: identifiers, the consortium and policy files, the
//! privacy floors, the round plan and the fixed-point domain.
//!
//! Nothing here does IO, holds a secret, or hashes. Requirement ids refer to `protocols/`.

pub mod block;
pub mod consortium;
pub mod fixed;
pub mod floors;
pub mod id;
pub mod late;
pub mod limits;
pub mod plan;
mod planned_block;
pub mod policy;
pub mod rule;
