//! What members announce in place of projections: signs, or scores that they compute themselves.

use cloister_alignment::reference::{ExpertDirections, own_score};
use cloister_alignment::score::UNIT;
use cloister_alignment::signs::sign;
use cloister_experts::LocalResult;
use cloister_params::block::BlockShape;
use cloister_params::plan::{RoundSettings, ScoringRule, SketchForm, SketchValues};
use cloister_privacy::discrete_gaussian::sample;
use cloister_protocol::contribution::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::strength::COVERING;
use crate::centred_region::{CountedExperts, centred_region};

/// Sizes of sign sketches that are attacked.
pub(crate) const SIGNS: [u16; 3] = [64, 128, 256];
/// Numbers of groups of experts that are attacked; the last has an expert each.
pub(crate) const GROUPS: [usize; 3] = [1, 4, 8];
/// Standard deviation of slight noise on scores.
const SLIGHT_SCORE_NOISE: f64 = 0.1;
/// The part of a round's `rho` that is left for what is announced of experts, as for sketches.
const SCORES: f64 = 0.6;

/// The settings of rounds by signs, of each size.
pub(crate) fn by_signs(settings: &RoundSettings) -> [RoundSettings; 3] {
    SIGNS.map(|size| {
        let mut settings = settings.clone();
        settings.scoring.sketches = SketchForm::Signs;
        settings.sketch.coordinates = size;
        settings
    })
}

/// Signs as numbers, and counts scaled so that the largest is as long as a sketch.
pub(crate) fn sign_vector(contribution: &Contribution, rule: &ScoringRule) -> Vec<f32> {
    let mut seen = Vec::new();
    for sketch in contribution.sketches.values() {
        if let SketchValues::Signs(bits) = &sketch.values {
            let size = 8 * bits.len();
            seen.extend((0..size).map(|at| sign(bits, at) as f32));
            seen.push(sketch.tokens as f32 * (size as f32).sqrt() / rule.largest_count() as f32);
        }
    }
    seen
}

/// The updates and centred regions of a training's experts, from which scores are computed.
#[derive(Clone, Debug)]
pub(crate) struct TrainedExperts {
    /// For each expert, its update and its region; none with too few tokens.
    experts: Vec<Option<(Vec<f64>, Vec<f64>)>>,
    /// The number of the training, which seeds the noise of its scores.
    number: u64,
}

impl TrainedExperts {
    pub(crate) fn new(table: &[BlockShape], result: &LocalResult, rule: &ScoringRule, number: u64) -> Self {
        let mut experts = Vec::new();
        for shape in table.iter().filter(|shape| shape.kind.is_scored()) {
            let region = centred_region(shape, result, CountedExperts::WithMinimum(rule.minimum_tokens));
            experts.push(region.map(|region| (floats(&result.updates[shape.id]), floats(&region))));
        }
        Self { experts, number }
    }

    /// The member's scores of `groups` groups against a reference, with this noise.
    pub(crate) fn scores(&self, reference: &Reference, groups: usize, noise: f64) -> Vec<f32> {
        let mut scores = vec![(0.0, 0usize); groups];
        for (place, expert) in self.experts.iter().enumerate() {
            if let Some((update, region)) = expert {
                let trained = ExpertDirections { update, region };
                let (sum, count) = &mut scores[place * groups / self.experts.len()];
                *sum += own_score(trained, reference.directions(place));
                *count += 1;
            }
        }
        let seed = self.number << 16 ^ (groups as u64) << 8 ^ (noise * 16.0) as u64;
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let sigma = (noise * UNIT as f64).round() as u32;
        let means = scores.into_iter().map(|(sum, count)| sum / count.max(1) as f64);
        means.map(|mean| (mean + sample(sigma, &mut random) as f64 / UNIT as f64) as f32).collect()
    }
}

/// What members score themselves against: a direction of the update and of the region of each expert.
#[derive(Clone, Debug)]
pub(crate) struct Reference(Vec<(Vec<f64>, Vec<f64>)>);

impl Reference {
    /// What an honest round published: the sums over these trainings.
    pub(crate) fn published(trainings: &[TrainedExperts]) -> Self {
        let weights = vec![1.0; trainings.len()];
        let experts = trainings.first().map_or(0, |training| training.experts.len());
        Self::weighted(trainings, &vec![weights; experts])
    }

    /// What corrupt members make of it: the direction in which the share of one class grows, another class for each
    /// expert. `shares` has the classes' shares in each training.
    pub(crate) fn steered(trainings: &[TrainedExperts], shares: &[Vec<f64>]) -> Self {
        let experts = trainings.first().map_or(0, |training| training.experts.len());
        let classes = shares.first().map_or(1, Vec::len);
        let mut weights = Vec::with_capacity(experts);
        for expert in 0..experts {
            let class: Vec<f64> = shares.iter().map(|shares| shares[expert % classes]).collect();
            let mean = class.iter().sum::<f64>() / class.len().max(1) as f64;
            weights.push(class.iter().map(|share| share - mean).collect());
        }
        Self::weighted(trainings, &weights)
    }

    /// Sums of the trainings' directions of each expert by its weights.
    fn weighted(trainings: &[TrainedExperts], weights: &[Vec<f64>]) -> Self {
        let mut sums = Vec::with_capacity(weights.len());
        for (place, weights) in weights.iter().enumerate() {
            let (mut updates, mut regions) = (Vec::new(), Vec::new());
            for (training, weight) in trainings.iter().zip(weights) {
                if let Some((update, region)) = &training.experts[place] {
                    add_direction(&mut updates, update, *weight);
                    add_direction(&mut regions, region, *weight);
                }
            }
            sums.push((updates, regions));
        }
        Self(sums)
    }

    fn directions(&self, place: usize) -> ExpertDirections<'_> {
        let (update, region) = &self.0[place];
        ExpertDirections { update, region }
    }
}

/// Standard deviations of the noise on each of so many scores: none, slight, and what covers a member. Scores lie between −1
/// and 1, and a member that is not there has scores of 0.
pub(crate) fn score_noise(groups: usize) -> [f64; 3] {
    [0.0, SLIGHT_SCORE_NOISE, (groups as f64 / (2.0 * SCORES * COVERING)).sqrt()]
}

fn add_direction(sum: &mut Vec<f64>, vector: &[f64], weight: f64) {
    let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.resize(vector.len(), 0.0);
    sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value / norm);
}

fn floats(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
