//! What a round releases of a member's data, and what each release costs (`PRIV-01` to `PRIV-04`).
//!
//! Follows from the plan alone, so that every party and every auditor computes the same charges from the log.
//! Neighbouring data sets: with privacy unit `member`, one member's contribution is there or is all zero, its noise
//! staying; with unit `record`, one record of a member is there or not, and may change the member's whole contribution
//! within its clips (group privacy over the member; nothing smaller is promised of training without per-record clips).
//! With private training and unit `record`, the steps of DP-SGD are charged, and what follows from the trained parameters
//! alone (sums and sketches of updates) costs nothing more, noised or not (`PRIV-10`).

use std::f64::consts::SQRT_2;

use cloister_params::block::BlockKind;
use cloister_params::floors::HONEST_COMPANIONS;
use cloister_params::late::is_sketched;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{
    LateSketchMode, PlannedBlock, PrivateTrainingPlan, RoundSettings, SKETCH_CLIP_STEPS, SketchPlan,
};
use serde::{Deserialize, Serialize};

use crate::accountant::{Account, Mechanism};
use crate::concentrated::{MapError, SummedNoise};
use crate::discrete_gaussian::MAX_SIGMA;

/// Honest members whose noise every opened sum carries, the member itself included: `H + 1` (`PRIV-02`).
pub const HONEST_NOISES: u32 = HONEST_COMPANIONS as u32 + 1;

/// What is released.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    /// The sum of an expert's updates over its cohort.
    ExpertSum,
    /// The sum of router updates, and of consistency weights.
    RouterSum,
    /// The sum of the shared parameters' updates.
    SharedSum,
    /// The sum of routing distributions.
    RoutingHistogram,
    /// A member's own sketch of an expert's region.
    RegionSketch,
    /// A member's own sketch of an expert's update.
    UpdateSketch,
    /// A member's own count of an expert's tokens.
    TokenCount,
    /// A step of a member's private training, and with it everything that follows from the trained parameters.
    PrivateStep,
}

impl Released {
    /// The sum of a block.
    pub fn sum_of(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Expert { .. } => Self::ExpertSum,
            BlockKind::Router { .. } => Self::RouterSum,
            BlockKind::Shared => Self::SharedSum,
            BlockKind::Routing { .. } => Self::RoutingHistogram,
        }
    }

    /// Whether it is a sum over members, and not a member's own.
    pub fn is_sum(self) -> bool {
        matches!(self, Self::ExpertSum | Self::RouterSum | Self::SharedSum | Self::RoutingHistogram)
    }

    /// Whether it is computed from trained parameters alone, and not from records.
    fn follows_from_parameters(self) -> bool {
        matches!(self, Self::ExpertSum | Self::RouterSum | Self::SharedSum | Self::UpdateSketch)
    }

    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::ExpertSum => "sums of experts' updates",
            Self::RouterSum => "sums of router updates",
            Self::SharedSum => "sums of shared parameters' updates",
            Self::RoutingHistogram => "sums of routing distributions",
            Self::RegionSketch => "own sketches of experts' regions",
            Self::UpdateSketch => "own sketches of experts' updates",
            Self::TokenCount => "own counts of experts' tokens",
            Self::PrivateStep => "steps of private training",
        }
    }
}

/// Releases of one kind in a round.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What is released.
    pub released: Released,
    /// How many of them.
    pub count: u64,
    /// Coordinates of each.
    pub coordinates: u64,
    /// The most by which one unit changes each, in L2 norm, in integer steps.
    pub sensitivity: f64,
    /// Standard deviation of the noise that each member adds, in the same steps.
    pub noise_per_member: u32,
    /// Honest members whose noise a release is sure to carry.
    pub honest_noises: u32,
    /// What each costs.
    pub mechanism: Mechanism,
}

/// The releases of a round with these settings, equal ones together.
///
/// # Errors
/// Never for settings that passed their checks; `opendp`'s error is passed on.
pub fn releases(settings: &RoundSettings, unit: PrivacyUnit) -> Result<Vec<Release>, MapError> {
    // PRIV-10
    let private = settings.training.private.filter(|_| unit == PrivacyUnit::Record);
    let mut all: Vec<Release> = private.map(|private| private_steps(settings, private)).into_iter().collect();
    for block in &settings.blocks {
        let sum = Noised::sum(settings, block);
        let own = if block.shape.kind.is_scored() { Noised::sketch(settings).to_vec() } else { Vec::new() };
        let touches_data = |noised: &Noised| private.is_none() || !noised.released.follows_from_parameters();
        for noised in std::iter::once(sum).chain(own).filter(touches_data) {
            let release = noised.release(unit, private)?;
            match all.iter_mut().find(|known| Release { count: release.count, ..**known } == release) {
                Some(known) => known.count += 1,
                None => all.push(release),
            }
        }
    }
    Ok(all)
}

/// The steps of a round's private training, in steps of the grid that its noise lies on: `2⁻²⁰` of the noise's standard
/// deviation. What one record moves a step's sum by has its clip and rounding in it.
fn private_steps(settings: &RoundSettings, private: PrivateTrainingPlan) -> Release {
    let (noise_multiplier, sampling_probability) =
        (private.noise_multiplier(), private.sampling_probability());
    let trained =
        settings.blocks.iter().filter(|block| !matches!(block.shape.kind, BlockKind::Routing { .. }));
    Release {
        released: Released::PrivateStep,
        count: private.steps(settings.training.local_epochs),
        coordinates: trained.map(|block| block.shape.length).sum(),
        sensitivity: f64::from(MAX_SIGMA) / noise_multiplier,
        noise_per_member: MAX_SIGMA,
        honest_noises: 1,
        mechanism: Mechanism::Gaussian { noise_multiplier, sampling_probability },
    }
}

/// Everything in an account.
pub fn account<'a>(releases: impl IntoIterator<Item = &'a Release>) -> Account {
    let mut account = Account::default();
    for release in releases {
        account.add(release.mechanism, release.count);
    }
    account
}

/// An integer vector with noise.
#[derive(Clone, Copy, Debug)]
struct Noised {
    released: Released,
    coordinates: u64,
    /// The largest norm that one member's part has, in steps.
    norm: f64,
    /// The largest distance of any two parts that one member may have, in steps.
    change: f64,
    /// The most by which rounding moves a coordinate, in steps.
    rounding: f64,
    /// Where it is an average over records: the largest distance of one record's part from an average of others', in steps.
    change_of_average: Option<f64>,
    sigma: u32,
    parties: u32,
}

impl Noised {
    /// A block's opened sum. With weights above 1 only the member's own noise counts: multiples of other members'
    /// noise are no discrete Gaussians. A late sketch shows the member's own upload, so that with it, too, nobody else's
    /// noise counts; it is no release beside the sum.
    fn sum(settings: &RoundSettings, block: &PlannedBlock) -> Self {
        let released = Released::sum_of(block.shape.kind);
        let shown_alone = settings.late_sketches != LateSketchMode::Off && is_sketched(block);
        let parties = if settings.max_weight == 1 && !shown_alone { HONEST_NOISES } else { 1 };
        // Distributions have norms of at most 1, and no angle of more than a right one between them.
        let of_distributions = 2f64.powi(-i32::from(block.scale.step_log2)) * SQRT_2;
        let change_of_average = (released == Released::RoutingHistogram).then_some(of_distributions);
        Self {
            released,
            coordinates: block.shape.length,
            // PRIV-04: rounding keeps to the clip, and may take a step for it.
            norm: block.scale.largest_norm(block.shape.kind),
            change: block.scale.largest_change(block.shape.kind),
            rounding: 1.0,
            change_of_average,
            sigma: block.noise_steps,
            parties,
        }
    }

    /// What an announcement shows of an expert: it carries the member's own noise alone.
    fn sketch(settings: &RoundSettings) -> [Self; 3] {
        // A count is between 0 and its largest, so that two of them are no further apart than one is from 0.
        let largest = f64::from(settings.scoring.largest_count());
        let count = Self {
            released: Released::TokenCount,
            coordinates: 1,
            norm: largest,
            change: largest,
            rounding: 0.0,
            change_of_average: None,
            sigma: u32::from(settings.sketch.count_noise),
            parties: 1,
        };
        let of_regions = 2.0 * f64::from(SKETCH_CLIP_STEPS);
        [
            Self::projected(&settings.sketch, Released::RegionSketch, Some(of_regions)),
            Self::projected(&settings.sketch, Released::UpdateSketch, None),
            count,
        ]
    }

    /// A sketch of an expert's region or update.
    fn projected(plan: &SketchPlan, released: Released, change_of_average: Option<f64>) -> Self {
        let coordinates = u64::from(plan.coordinates);
        let norm = sketch_norm(coordinates);
        Self {
            released,
            coordinates,
            norm,
            change: 2.0 * norm,
            rounding: 0.5,
            change_of_average,
            sigma: u32::from(plan.noise_steps),
            parties: 1,
        }
    }

    /// With private training, `private` says what one record moves averages over records by, rounding included.
    fn release(self, unit: PrivacyUnit, private: Option<PrivateTrainingPlan>) -> Result<Release, MapError> {
        let sensitivity = match (unit, self.change_of_average, private) {
            (PrivacyUnit::Member, _, _) => self.norm,
            // PRIV-11
            (PrivacyUnit::Record, Some(change), Some(private)) => {
                let moved = change / f64::from(private.minimum_records);
                (moved + 2.0 * self.rounding * (self.coordinates as f64).sqrt()).min(self.change)
            }
            // From any contribution to any other.
            (PrivacyUnit::Record, _, _) => self.change,
        };
        let noise = SummedNoise { sigma: self.sigma, parties: self.parties, length: self.coordinates };
        let mechanism = Mechanism::from_noise(noise, sensitivity)?;
        Ok(Release {
            released: self.released,
            count: 1,
            coordinates: self.coordinates,
            sensitivity,
            noise_per_member: self.sigma,
            honest_noises: self.parties,
            mechanism,
        })
    }
}

/// The largest norm of a sketch once each of its coordinates is rounded to the nearest integer, in steps.
pub fn sketch_norm(coordinates: u64) -> f64 {
    f64::from(SKETCH_CLIP_STEPS) + (coordinates as f64).sqrt() / 2.0
}

#[cfg(test)]
mod tests;
