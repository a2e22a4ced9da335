//! What a coordinator can observe about a member, by what protects it.

use cloister_params::block::BlockKind;
use cloister_params::plan::{PlannedBlock, RoundSettings, SKETCH_CLIP_STEPS};
use cloister_privacy::discrete_gaussian::sample;
use cloister_protocol::contribution::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::announced::{GROUPS, Reference, SIGNS, TrainedExperts, score_noise};

/// What stands between a member and the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Federated averaging in the clear: the coordinator gets every update.
    None,
    /// Secure aggregation, with a little noise on sketches and histograms, for which no ε is claimed.
    Masks,
    /// Secure aggregation, with as much noise on everything as leaves sketches useful; ε is in the thousands.
    MasksAndSlightNoise,
    /// Secure aggregation, with enough noise on everything to cover a whole member.
    MasksAndNoise,
}

/// Which part of its observations the coordinator uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Updates: one member's, or the sum over a cohort.
    Updates,
    /// Routing histograms: one member's, or the sum over a cohort.
    Histograms,
    /// One member's own sketches of regions and updates, and token counts.
    Sketches,
    /// One member's sign sketches of this size, and token counts.
    Signs(u16),
    /// One member's scores of itself, a number for each of so many groups of experts.
    Scores(usize),
    /// The same, where corrupt members have chosen what members score themselves against.
    SteeredScores(usize),
}

/// A place where the coordinator looks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct View {
    /// What stands in between.
    pub protection: Protection,
    /// Where it looks.
    pub source: Observed,
    /// How many members are summed; 1 shows the attacked member alone.
    pub members: usize,
}

impl View {
    /// Every view that is attacked. Own updates and histograms exist in the clear only, because masks hide
    /// them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self { protection: Protection::None, source: Observed::Updates, members: 1 },
            Self { protection: Protection::None, source: Observed::Histograms, members: 1 },
        ];
        for protection in Protection::MASKED {
            all.extend([4, 8, 16].map(|members| Self { protection, source: Observed::Updates, members }));
            all.push(Self { protection, source: Observed::Histograms, members: 8 });
            all.push(Self { protection, source: Observed::Sketches, members: 1 });
            all.extend(SIGNS.map(|size| Self { protection, source: Observed::Signs(size), members: 1 }));
            for scores in [Observed::Scores, Observed::SteeredScores] {
                all.extend(GROUPS.map(|groups| Self { protection, source: scores(groups), members: 1 }));
            }
        }
        all
    }

    /// In words, for people.
    pub fn in_words(self) -> String {
        let Self { source, members, .. } = self;
        match (source, members) {
            (Observed::Updates, 1) => "own update".to_owned(),
            (Observed::Updates, _) => format!("sum of {members} updates"),
            (Observed::Histograms, 1) => "own histogram".to_owned(),
            (Observed::Histograms, _) => format!("sum of {members} histograms"),
            (Observed::Sketches, _) => "own sketches".to_owned(),
            (Observed::Signs(size), _) => format!("own {size} signs"),
            (Observed::Scores(groups), _) => format!("own {groups} scores"),
            (Observed::SteeredScores(groups), _) => format!("own {groups} steered scores"),
        }
    }
}

impl Protection {
    /// The place of its noise among none, slight and covering.
    fn strength(self) -> usize {
        match self {
            Self::None | Self::Masks => 0,
            Self::MasksAndSlightNoise => 1,
            Self::MasksAndNoise => 2,
        }
    }

    fn is_noised(self) -> bool {
        matches!(self, Self::MasksAndSlightNoise | Self::MasksAndNoise)
    }

    /// The protections that secure aggregation gives.
    pub const MASKED: [Self; 3] = [Self::Masks, Self::MasksAndSlightNoise, Self::MasksAndNoise];

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Masks => "masks",
            Self::MasksAndSlightNoise => "masks and slight noise",
            Self::MasksAndNoise => "masks and noise",
        }
    }
}

/// The contribution of one training at each strength of noise.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) bare: Contribution,
    pub(crate) slight: Contribution,
    pub(crate) noised: Contribution,
    /// By signs: for each strength of noise and each size.
    pub(crate) signs: Vec<Vec<Vec<f32>>>,
    /// What scores are computed from.
    pub(crate) experts: TrainedExperts,
}

impl Sent {
    fn under(&self, protection: Protection) -> &Contribution {
        match protection {
            Protection::None | Protection::Masks => &self.bare,
            Protection::MasksAndSlightNoise => &self.slight,
            Protection::MasksAndNoise => &self.noised,
        }
    }
}

/// Whose trainings are observed. Each side has companions of its own: with shared ones the attacker would
/// learn from the very sums that it attacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    /// The attacker's own, to learn from.
    Attackers,
    /// Those of members under attack.
    Members,
}

/// Turns contributions into the vectors that a coordinator observes.
pub(crate) struct Observer<'a> {
    /// The settings without noise, with slight noise and with noise.
    pub(crate) settings: [&'a RoundSettings; 3],
    /// Members that others are summed with: the attacker draws from the first half, those under attack from the other.
    pub(crate) companions: &'a [Sent],
    /// What an honest round published, and what corrupt members make of it.
    pub(crate) references: [&'a Reference; 2],
    pub(crate) seed: u64,
}

impl Observer<'_> {
    /// The observation of each training: a sum with companions that are drawn for it, without their mean,
    /// which a coordinator knows from other rounds. Companions' noise is drawn for each sum, as one discrete
    /// Gaussian with their total variance: almost the same distribution, in less time.
    pub(crate) fn observe(&self, view: View, trainings: &[Sent], whose: Whose) -> Vec<Vec<f32>> {
        let (attackers, members) = self.companions.split_at(self.companions.len() / 2);
        let (companions, stream) = match whose {
            Whose::Attackers => (attackers, 0),
            Whose::Members => (members, 1),
        };
        // Noise has its own stream, so that views with equally many members draw the same companions, and
        // differ in protection alone.
        let [mut random, mut noise] = [stream, stream + 2].map(|stream| {
            let mut random = ChaCha20Rng::seed_from_u64(self.seed);
            random.set_stream(stream);
            random
        });
        let mean = self.mean(view.source, companions);
        let mut all = Vec::with_capacity(trainings.len());
        for training in trainings {
            let mut seen = self.vector(view.source, training, view.protection);
            for companion in draw(companions, view.members - 1, &mut random) {
                add(&mut seen, &self.vector(view.source, companion, Protection::Masks), 1.0);
                add(&mut seen, &mean, -1.0);
            }
            // The attacked member's own noise is in its contribution already.
            if view.members > 1 && view.protection.is_noised() {
                add(&mut seen, &self.noise(view, &mut noise), 1.0);
            }
            all.push(seen);
        }
        all
    }

    fn mean(&self, source: Observed, companions: &[Sent]) -> Vec<f32> {
        let mut mean =
            vec![
                0.0;
                companions.first().map_or(0, |first| self.vector(source, first, Protection::Masks).len())
            ];
        let share = 1.0 / companions.len() as f32;
        companions
            .iter()
            .for_each(|sent| add(&mut mean, &self.vector(source, sent, Protection::Masks), share));
        mean
    }

    /// The noise of all companions of a sum.
    fn noise(&self, view: View, random: &mut ChaCha20Rng) -> Vec<f32> {
        let root = ((view.members - 1) as f64).sqrt();
        let mut noise = Vec::new();
        for block in self.blocks(view.source, self.under(view.protection)) {
            let sigma = (f64::from(block.noise_steps) * root).round() as u32;
            noise.extend((0..block.shape.length).map(|_| sample(sigma, random) as f32));
        }
        noise
    }

    fn under(&self, protection: Protection) -> &RoundSettings {
        let [bare, slight, noised] = self.settings;
        match protection {
            Protection::None | Protection::Masks => bare,
            Protection::MasksAndSlightNoise => slight,
            Protection::MasksAndNoise => noised,
        }
    }

    /// The blocks of a source.
    fn blocks<'b>(
        &self,
        source: Observed,
        settings: &'b RoundSettings,
    ) -> impl Iterator<Item = &'b PlannedBlock> + use<'b> {
        let histograms = source == Observed::Histograms;
        let blocks = settings.blocks.iter();
        blocks.filter(move |block| matches!(block.shape.kind, BlockKind::Routing { .. }) == histograms)
    }

    /// The observation of each training alone and without noise, which an attacker can compute by itself.
    pub(crate) fn imagine(&self, source: Observed, trainings: &[Sent]) -> Vec<Vec<f32>> {
        trainings.iter().map(|training| self.vector(source, training, Protection::Masks)).collect()
    }

    /// What one training shows, with its member's noise.
    fn vector(&self, source: Observed, sent: &Sent, protection: Protection) -> Vec<f32> {
        let (contribution, strength) = (sent.under(protection), protection.strength());
        let [published, steered] = self.references;
        match source {
            Observed::Updates | Observed::Histograms => self.integers(source, contribution),
            Observed::Sketches => self.sketches(contribution),
            Observed::Signs(size) => {
                let place = SIGNS.iter().position(|known| *known == size).unwrap_or_default();
                sent.signs[strength][place].clone()
            }
            Observed::Scores(groups) => sent.experts.scores(published, groups, score_noise(groups)[strength]),
            Observed::SteeredScores(groups) => {
                sent.experts.scores(steered, groups, score_noise(groups)[strength])
            }
        }
    }

    fn integers(&self, source: Observed, contribution: &Contribution) -> Vec<f32> {
        let mut vector = Vec::new();
        for block in self.blocks(source, self.settings[0]) {
            vector.extend(contribution.integers[block.shape.id].iter().map(|value| *value as f32));
        }
        vector
    }

    /// Coordinates as they are, and counts scaled so that the largest is as long as a sketch: otherwise they
    /// would vanish in inner products.
    fn sketches(&self, contribution: &Contribution) -> Vec<f32> {
        let count = f32::from(SKETCH_CLIP_STEPS) / self.settings[0].scoring.largest_count() as f32;
        let mut seen = Vec::new();
        for sketch in contribution.sketches.values() {
            seen.extend(sketch.region().iter().chain(sketch.update()).map(|value| f32::from(*value)));
            seen.push(sketch.tokens as f32 * count);
        }
        seen
    }
}

/// Distinct companions.
fn draw<'a>(companions: &'a [Sent], count: usize, random: &mut ChaCha20Rng) -> Vec<&'a Sent> {
    let mut left: Vec<&Sent> = companions.iter().collect();
    (0..count).map(|_| left.swap_remove((random.next_u64() % left.len() as u64) as usize)).collect()
}

fn add(sum: &mut [f32], values: &[f32], factor: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}
