//! Faults that an audit has to notice. They are made here, around the product: none of it can be switched off.

use cloister_params::plan::RoundSettings;
use cloister_privacy::release::Released;
use serde::Serialize;

/// What is wrong with a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    None,
    /// Everybody's noise has half of its standard deviation.
    HalvedNoise,
    /// One of the honest members adds no noise.
    SilentMember,
    /// Sketches are announced and not charged.
    UnchargedSketches,
}

impl Fault {
    /// All that is wrong with anything.
    pub const BREAKS: [Self; 3] = [Self::HalvedNoise, Self::SilentMember, Self::UnchargedSketches];

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::None => "as it is",
            Self::HalvedNoise => "noise halved",
            Self::SilentMember => "one member without noise",
            Self::UnchargedSketches => "sketches not charged",
        }
    }

    /// The settings by which a member adds its noise.
    pub(crate) fn settings(self, promised: &RoundSettings, member: usize) -> RoundSettings {
        match self {
            Self::HalvedNoise => with_noise(promised, |noise| noise / 2),
            Self::SilentMember if member == 0 => with_noise(promised, |_| 0),
            _ => promised.clone(),
        }
    }

    /// Whether what is released is charged.
    pub(crate) fn charges(self, released: Released) -> bool {
        let sketch = matches!(released, Released::RegionSketch | Released::UpdateSketch);
        !(self == Self::UnchargedSketches && sketch)
    }
}

fn with_noise(promised: &RoundSettings, change: fn(u32) -> u32) -> RoundSettings {
    let mut settings = promised.clone();
    settings.blocks.iter_mut().for_each(|block| block.noise_steps = change(block.noise_steps));
    let sketch = &mut settings.sketch;
    sketch.noise_steps = change(sketch.noise_steps.into()) as u16;
    sketch.count_noise = change(sketch.count_noise.into()) as u16;
    settings
}
