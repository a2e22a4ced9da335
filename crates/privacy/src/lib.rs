//! Noise: exact samplers that use integers alone.

pub mod discrete_gaussian;
