//! Faults that an audit has to find. They are made here, around the product: nothing in it can be switched
//! off.

use cloister_experts::PrivateTraining;
use cloister_params::plan::RoundSettings;
use cloister_privacy::release::Released;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;

use super::HONEST;

/// By how much a fault multiplies a clip, and how many times as long as their clips canaries are, so that a
/// missing clip shows in full.
pub(crate) const EXCESS: u32 = 4;
/// The factor on private training's noise that stands for none: private training rejects a noise multiplier
/// of 0.
pub(crate) const NO_NOISE: f64 = 1e-6;

/// What is wrong with one kind of release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlantedFault {
    /// Nothing.
    None,
    /// Every member's noise has half of its standard deviation, that on token counts a quarter.
    LessNoise,
    /// One of the honest members adds no noise.
    SilentMember,
    /// A member's noise is the same in every round, or in every step.
    ReusedNoise,
    /// All honest members draw the same noise.
    SharedNoise,
    /// One coordinate of a release has no noise: of a router, the consistency weight.
    BareCoordinate,
    /// A vector keeps its length up to four times its clip.
    NotClipped,
    /// Averages over records divide by the number of records, which is less than the minimum that is promised.
    FewRecords,
    /// A step's sum is divided by the number of examples that were drawn.
    DividedByDrawn,
    /// A step's sum is divided by half of what the plan says.
    HalvedDivisor,
    /// A release that is not charged.
    NotCharged,
}

impl PlantedFault {
    /// What can be wrong with what is released.
    pub(crate) const MECHANICAL: [Self; 9] = [
        Self::LessNoise,
        Self::SilentMember,
        Self::ReusedNoise,
        Self::SharedNoise,
        Self::BareCoordinate,
        Self::NotClipped,
        Self::FewRecords,
        Self::DividedByDrawn,
        Self::HalvedDivisor,
    ];

    /// What can be wrong with signs. A bit shows no value without noise, and directions have no clip.
    pub(crate) const SIGNS: [Self; 4] =
        [Self::LessNoise, Self::SilentMember, Self::ReusedNoise, Self::SharedNoise];

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::None => "as it is",
            Self::LessNoise => "less noise",
            Self::SilentMember => "a member without noise",
            Self::ReusedNoise => "the same noise again",
            Self::SharedNoise => "all with the same noise",
            Self::BareCoordinate => "a value without noise",
            Self::NotClipped => "not clipped",
            Self::FewRecords => "averages of few records",
            Self::DividedByDrawn => "divided by the drawn",
            Self::HalvedDivisor => "divided by half",
            Self::NotCharged => "not charged",
        }
    }

    /// Whether a release of this kind can have the fault, with or without private training. A sketch is
    /// scaled to its clip and averages over records are clipped before they are averaged, so neither can be
    /// left unclipped from outside.
    pub(crate) fn befalls(self, released: Released, private_training: bool) -> bool {
        match self {
            Self::NotClipped => match released {
                Released::RegionSketch
                | Released::UpdateSketch
                | Released::RegionSigns
                | Released::UpdateSigns
                // Neither is longer than its clip before it is clipped.
                | Released::RegionSum
                | Released::Score => false,
                Released::RoutingHistogram => !private_training,
                _ => true,
            },
            Self::FewRecords => {
                let averages = [Released::RegionSketch, Released::RoutingHistogram];
                private_training && averages.contains(&released)
            }
            Self::DividedByDrawn | Self::HalvedDivisor => released == Released::PrivateStep,
            // A step is one member's.
            Self::SharedNoise => released != Released::PrivateStep,
            _ => true,
        }
    }

    /// Whether it changes contributions before noise, so that canaries have to be prepared again.
    pub(crate) fn changes_data(self) -> bool {
        matches!(self, Self::NotClipped | Self::FewRecords)
    }

    /// How many of an audit's canaries suffice to find this fault. Runs with faults are most of an audit's
    /// time.
    pub(crate) fn canaries(self, all: usize) -> usize {
        let part = match self {
            Self::None | Self::NotCharged => 1,
            Self::LessNoise | Self::DividedByDrawn => 4,
            Self::NotClipped | Self::FewRecords => 12,
            // Noticed by comparing noise, or before there is any.
            Self::SilentMember
            | Self::ReusedNoise
            | Self::SharedNoise
            | Self::BareCoordinate
            | Self::HalvedDivisor => 120,
        };
        all.div_ceil(part)
    }

    /// The settings by which a member prepares releases of this kind.
    pub(crate) fn settings(
        self,
        promised: &RoundSettings,
        released: Released,
        member: usize,
    ) -> RoundSettings {
        let mut settings = promised.clone();
        match self {
            Self::LessNoise => {
                let divisor = if released == Released::TokenCount { 4 } else { 2 };
                change_noise(&mut settings, released, |noise| noise / divisor);
            }
            Self::SilentMember if member == 0 => change_noise(&mut settings, released, |_| 0),
            Self::FewRecords => {
                let private = settings.training.private.as_mut();
                private.into_iter().for_each(|private| private.minimum_records /= EXCESS);
            }
            Self::NotClipped if released == Released::TokenCount => settings.scoring.minimum_tokens *= EXCESS,
            Self::NotClipped => {
                let blocks = settings.blocks.iter_mut();
                blocks
                    .filter(|block| Released::sum_of(block.shape.kind) == released)
                    .for_each(|block| block.scale.clip_steps *= EXCESS);
            }
            _ => {}
        }
        settings
    }

    /// The settings by which a member trains.
    pub(crate) fn training(self, promised: &PrivateTraining) -> PrivateTraining {
        let mut training = *promised;
        match self {
            Self::LessNoise => training.noise_multiplier /= 2.0,
            Self::SilentMember => training.noise_multiplier *= NO_NOISE,
            Self::NotClipped => {
                training.clipping_norm *= f64::from(EXCESS);
                // The noise keeps its size, so that only the missing clip is wrong.
                training.noise_multiplier /= f64::from(EXCESS);
            }
            _ => {}
        }
        training
    }

    /// What a member divides a step's sum by.
    pub(crate) fn divisor(self, promised: usize) -> usize {
        if self == Self::HalvedDivisor { promised / 2 } else { promised }
    }

    /// The generator for a member's next contribution or step.
    pub(crate) fn generator(self, member: usize, random: &mut ChaCha20Rng) -> ChaCha20Rng {
        match self {
            Self::ReusedNoise => ChaCha20Rng::seed_from_u64(member as u64),
            // All but the last draw from a copy, and the last advances the generator: the next round has
            // other noise.
            Self::SharedNoise if member + 1 < HONEST => ChaCha20Rng::from_rng(&mut random.clone()),
            _ => ChaCha20Rng::from_rng(random),
        }
    }
}

/// Changes the noise of releases of this kind. Sketches of regions and of updates share one setting. Noise on
/// what is announced has 16 bits.
pub(crate) fn change_noise(settings: &mut RoundSettings, released: Released, change: impl Fn(u32) -> u32) {
    let sketch = &mut settings.sketch;
    match released {
        Released::RegionSketch | Released::UpdateSketch | Released::RegionSigns | Released::UpdateSigns => {
            sketch.noise_steps = within_16_bits(change(sketch.noise_steps.into()));
        }
        Released::Score => {
            let noise = &mut settings.scoring.score_noise;
            *noise = within_16_bits(change((*noise).into()));
        }
        Released::TokenCount => sketch.count_noise = within_16_bits(change(sketch.count_noise.into())),
        _ => {
            let blocks = settings.blocks.iter_mut();
            blocks
                .filter(|block| Released::sum_of(block.shape.kind) == released)
                .for_each(|block| block.noise_steps = change(block.noise_steps));
        }
    }
}

fn within_16_bits(noise: u32) -> u16 {
    u16::try_from(noise).unwrap_or(u16::MAX)
}
