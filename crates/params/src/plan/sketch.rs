//! How members make the sketches that they announce of their experts.

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// The norm, in integer steps, of a sketch whose L2 norm is at the clip, and of every direction that sign sketches
/// are made from.
pub const SKETCH_CLIP_STEPS: u16 = 8192;

/// The largest score of a group of experts, in units of 2⁻¹⁴ (`ALIGN-16`).
pub const LARGEST_SCORE: u16 = 1 << 14;

/// What a member announces of an expert, and how members are compared by it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum SketchForm {
    /// A projection of the region and one of the update, compared pair by pair as in the paper (`ALIGN-02` to
    /// `ALIGN-06`).
    #[default]
    Pairs,
    /// One bit for each coordinate, compared by the coordinates in which members agree (`ALIGN-14`, `ALIGN-15`).
    Signs,
    /// No sketch: members compare themselves with what the last closing published, and announce one number for each
    /// group of experts (`ALIGN-16`, `ALIGN-17`).
    Withheld,
}

impl SketchForm {
    /// The sizes that a plan may choose.
    pub fn sizes(self) -> &'static [u16] {
        match self {
            Self::Pairs | Self::Withheld => &[16, 32, 64, 128],
            Self::Signs => &[16, 32, 64, 128, 256],
        }
    }

    /// Coordinates of the projected region, if sketches have this size. Sign sketches use it in the second
    /// half of their coordinates alone.
    pub fn region_coordinates(self, size: u16) -> u16 {
        match self {
            Self::Pairs | Self::Withheld => size,
            Self::Signs => size / 2,
        }
    }
}

/// What is announced of one expert or of one group of experts, noise included.
///
/// # Leakage
/// The coordinator, the custodians and the auditors see it. The member's own noise is all that protects it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SketchValues {
    /// Projections of the region and of the update, in sketch steps.
    Projections {
        /// The region, a number for each sketch coordinate of the plan.
        region: Vec<i16>,
        /// The update, of the same length.
        update: Vec<i16>,
    },
    /// Signs, one bit for each sketch coordinate of the plan: coordinate `j` is bit `j mod 8` of byte `j / 8`, and 1
    /// is plus.
    Signs(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The score of a group of experts, in units of 2⁻¹⁴; `None` from a member that has nothing to compare itself with.
    Score(Option<i32>),
}

impl SketchValues {
    /// What is announced in a rehearsal: zeros or no score, which depends on the plan alone (`ROUND-39`).
    pub fn zeros(form: SketchForm, size: u16) -> Self {
        let size = usize::from(size);
        match form {
            SketchForm::Pairs => Self::Projections { region: vec![0; size], update: vec![0; size] },
            SketchForm::Signs => Self::Signs(vec![0; size / 8]),
            SketchForm::Withheld => Self::Score(None),
        }
    }

    /// Whether it has the plan's form and size.
    pub fn fits(&self, form: SketchForm, size: u16) -> bool {
        let size = usize::from(size);
        match (self, form) {
            (Self::Projections { region, update }, SketchForm::Pairs) => {
                region.len() == size && update.len() == size
            }
            (Self::Signs(bits), SketchForm::Signs) => bits.len() == size / 8,
            (Self::Score(_), SketchForm::Withheld) => true,
            _ => false,
        }
    }
}

/// How members make the sketches that they announce of their experts.
///
/// # Leakage
/// The coordinator, the custodians and the auditors see each member's sketches and counts. Their noise is the
/// member's own, and all that protects them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SketchPlan {
    /// Seed of the Rademacher projections. It follows from the task (`PLAN-15`) and is the same in every
    /// round: with another one in each round, a coordinator would collect further projections of one member's
    /// update.
    pub seed: Digest,
    /// Coordinates of a sketch, one of the [sizes](SketchForm::sizes) of the plan's form.
    pub coordinates: u16,
    /// Standard deviation of the noise on each projected coordinate, in sketch steps (the clip is
    /// [`SKETCH_CLIP_STEPS`]); 0 is no noise. Signs are taken after it.
    pub noise_steps: u16,
    /// L2 clip of a region sketch, in thousandths of the unit of hidden states; at least 1 (`PLAN-03`). Sign
    /// sketches need it in rounds with private training alone.
    pub region_clip_milli: u32,
    /// Standard deviation of the noise on each expert's token count, in tokens. At least
    /// [`ScoringRule::least_count_noise`](super::ScoringRule::least_count_noise) (`PLAN-17`).
    pub count_noise: u16,
}
