//! One row of a plan's block table.

use serde::{Deserialize, Serialize};

use crate::block::BlockShape;
use crate::fixed::Scale;

/// A block of the plan: its shape, how its reals become integers, and how much noise each member adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedBlock {
    /// Number, kind and length.
    pub shape: BlockShape,
    /// Clip and quantisation step.
    pub scale: Scale,
    /// Standard deviation of the noise that each member adds to each coordinate before masking, in
    /// quantisation steps; 0 is no noise.
    pub noise_steps: u32,
}
