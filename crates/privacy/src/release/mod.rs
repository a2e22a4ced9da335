//! What a round releases of a member's data, and what each release costs (`PRIV-01` to `PRIV-04`).
//!
//! It follows from the plan alone, so that every party and every auditor computes the same charges from the
//! log.
//!
//! Neighbouring data sets:
//!
//! - With the unit `member`, one member's contribution is there or is all zero; its noise is there in both.
//! - With the unit `record`, one record of a member is there or not. Without private training, one record may
//!   change the member's whole contribution within its clips: training without per-record clips promises
//!   nothing smaller.
//! - With the unit `record` and private training, the steps of DP-SGD are charged. What follows from the
//!   trained parameters alone (sums and sketches of updates) is post-processing and costs nothing more, with
//!   noise or without (`PRIV-10`).

use std::f64::consts::SQRT_2;

use cloister_params::block::BlockKind;
use cloister_params::floors::HONEST_COMPANIONS;
use cloister_params::late::is_sketched;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{
    LARGEST_SCORE, LateSketchMode, PlannedBlock, PrivateTrainingPlan, RoundSettings, SKETCH_CLIP_STEPS,
    SketchForm, SketchPlan,
};
use serde::{Deserialize, Serialize};

use crate::accountant::{Account, Mechanism};
use crate::concentrated::{MapError, SummedNoise};
use crate::discrete_gaussian::MAX_SIGMA;

/// How many honest members' noise is in every opened sum, the member itself included: `H + 1` (`PRIV-02`).
pub const HONEST_NOISES: u32 = HONEST_COMPANIONS as u32 + 1;

/// A kind of release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    /// The sum of an expert's updates over its cohort. Everybody sees it.
    ExpertSum,
    /// The sum of router updates and of consistency weights. Everybody sees it.
    RouterSum,
    /// The sum of the shared parameters' updates. Everybody sees it.
    SharedSum,
    /// The sum of routing distributions. Everybody sees it.
    RoutingHistogram,
    /// One member's sketch of an expert's region. Coordinator, custodians and auditors see it.
    RegionSketch,
    /// One member's sketch of an expert's update. Coordinator, custodians and auditors see it.
    UpdateSketch,
    /// One member's count of an expert's tokens. Coordinator, custodians and auditors see it.
    TokenCount,
    /// A step of a member's private training, and with it everything that follows from the trained
    /// parameters.
    PrivateStep,
    /// The sum of counts of held-out records. Everybody sees it.
    EvaluationSum,
    /// One member's noised projection of an expert's region, of which only the signs of products with
    /// [`UpdateSigns`](Self::UpdateSigns) leave. Coordinator, custodians and auditors see them.
    RegionSigns,
    /// One member's noised projection of an expert's update, of which only signs leave. Coordinator, custodians and
    /// auditors see them.
    UpdateSigns,
    /// The sum of regions of a layer's experts. Everybody sees it.
    RegionSum,
    /// One member's score of a group of experts. Coordinator, custodians and auditors see it.
    Score,
}

impl Released {
    /// The kind of a block's sum.
    pub fn sum_of(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Expert { .. } => Self::ExpertSum,
            BlockKind::Router { .. } => Self::RouterSum,
            BlockKind::Shared => Self::SharedSum,
            BlockKind::Routing { .. } => Self::RoutingHistogram,
            BlockKind::Evaluation => Self::EvaluationSum,
            BlockKind::Regions { .. } => Self::RegionSum,
        }
    }

    /// Whether it is a sum over members, and not shown for one member alone.
    pub fn is_sum(self) -> bool {
        match self {
            Self::ExpertSum
            | Self::RouterSum
            | Self::SharedSum
            | Self::RoutingHistogram
            | Self::EvaluationSum
            | Self::RegionSum => true,
            Self::RegionSketch
            | Self::UpdateSketch
            | Self::RegionSigns
            | Self::UpdateSigns
            | Self::Score
            | Self::TokenCount
            | Self::PrivateStep => false,
        }
    }

    /// Whether with private training it is computed from trained parameters and what was published alone, without looking
    /// at records again.
    fn follows_from_parameters(self) -> bool {
        matches!(
            self,
            Self::ExpertSum
                | Self::RouterSum
                | Self::SharedSum
                | Self::UpdateSketch
                | Self::UpdateSigns
                | Self::Score
        )
    }

    /// The kind in words, in the plural, for tables.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::ExpertSum => "sums of experts' updates",
            Self::RouterSum => "sums of router updates",
            Self::SharedSum => "sums of shared parameters' updates",
            Self::RoutingHistogram => "sums of routing distributions",
            Self::RegionSketch => "this member's sketches of regions",
            Self::UpdateSketch => "this member's sketches of updates",
            Self::RegionSigns => "signs of this member's noised regions",
            Self::UpdateSigns => "signs of this member's noised updates",
            Self::TokenCount => "this member's token counts",
            Self::PrivateStep => "steps of private training",
            Self::EvaluationSum => "sums of counts of held-out records",
            Self::RegionSum => "sums of regions",
            Self::Score => "this member's scores of groups of experts",
        }
    }
}

/// Equal releases of one kind in a round, as the ledger holds them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What is released.
    pub released: Released,
    /// How many equal ones the round has, such as one sum for each expert.
    pub count: u64,
    /// Coordinates of each.
    pub coordinates: u64,
    /// The most by which one unit changes each of them, in L2 norm, in integer steps.
    pub sensitivity: f64,
    /// Standard deviation of the noise that each member adds to each coordinate, in the same steps; 0 is no
    /// noise.
    pub noise_per_member: u32,
    /// How many honest members' noise is in each, also if other members drop out.
    pub honest_noises: u32,
    /// The mechanism of each, for the accountant.
    pub mechanism: Mechanism,
}

/// The releases of a round with these settings. Equal ones are counted together. A rehearsal has none (`ROUND-39`).
///
/// # Errors
/// Never for settings that passed their checks; `opendp`'s error is passed on.
pub fn releases(settings: &RoundSettings, unit: PrivacyUnit) -> Result<Vec<Release>, MapError> {
    if settings.rehearsal {
        return Ok(Vec::new());
    }
    // PRIV-10: for a whole member, private training gains nothing.
    let private = settings.training.private.filter(|_| unit == PrivacyUnit::Record);
    let mut all: Vec<Release> = private.map(|private| private_steps(settings, private)).into_iter().collect();
    let announced = settings.announced_blocks();
    for block in &settings.blocks {
        let mut vectors = vec![NoisedVector::sum(settings, block)];
        if announced.contains(&block.shape.id) {
            vectors.extend(NoisedVector::announced(settings));
        }
        for vector in vectors {
            // PRIV-10: the steps of training are charged already, and these are functions of their result.
            if private.is_some() && vector.released.follows_from_parameters() {
                continue;
            }
            let release = vector.release(unit, private)?;
            match all.iter_mut().find(|known| Release { count: release.count, ..**known } == release) {
                Some(known) => known.count += 1,
                None => all.push(release),
            }
        }
    }
    Ok(all)
}

/// The steps of a round's private training. Sensitivity and noise are in units of the grid on which the noise
/// lies: `2⁻²⁰` of its standard deviation. The most by which one record moves a step's sum includes clip and
/// rounding.
fn private_steps(settings: &RoundSettings, private: PrivateTrainingPlan) -> Release {
    let (noise_multiplier, sampling_probability) =
        (private.noise_multiplier(), private.sampling_probability());
    let trained = settings.blocks.iter().filter(|block| block.shape.kind.is_trained());
    Release {
        released: Released::PrivateStep,
        count: private.steps(settings.training.local_epochs),
        coordinates: trained.map(|block| block.shape.length).sum(),
        sensitivity: f64::from(MAX_SIGMA) / noise_multiplier,
        noise_per_member: MAX_SIGMA,
        // A step's noise is the member's own: no sum over members is in a step.
        honest_noises: 1,
        mechanism: Mechanism::Gaussian { noise_multiplier, sampling_probability },
    }
}

/// An account of these releases.
pub fn account<'a>(releases: impl IntoIterator<Item = &'a Release>) -> Account {
    let mut account = Account::default();
    for release in releases {
        account.add(release.mechanism, release.count);
    }
    account
}

/// An account of these releases, made in each of `rounds` rounds.
pub fn account_of_rounds(releases: &[Release], rounds: u32) -> Account {
    let mut account = Account::default();
    for release in releases {
        match release.count.checked_mul(rounds.into()) {
            Some(count) => account.add(release.mechanism, count),
            // More steps than can be counted, in settings that nobody has checked: no ε may be claimed for
            // them.
            None => account.add(Mechanism::Unbounded, 1),
        }
    }
    account
}

/// An integer vector with noise, to which one member contributes.
#[derive(Clone, Copy, Debug)]
struct NoisedVector {
    released: Released,
    coordinates: u64,
    /// The largest L2 norm of one member's contribution, in steps.
    norm: f64,
    /// The largest L2 distance of any two contributions that one member may make, in steps.
    change: f64,
    /// The most by which rounding moves a coordinate, in steps.
    rounding: f64,
    /// If the vector is an average over records: the largest distance of one record's part from an average of
    /// others', in steps.
    change_of_average: Option<f64>,
    /// If the vector is a sum over records that do not depend on one another: the largest L2 norm of one record's part,
    /// in steps.
    change_of_sum: Option<f64>,
    /// Parameter of each party's noise, in steps.
    sigma: u32,
    /// How many honest parties' noise counts.
    parties: u32,
}

impl NoisedVector {
    /// A block's opened sum.
    ///
    /// With weights above 1 only the member's own noise counts, because multiples of other members' noise are
    /// not discrete Gaussians. A late sketch shows one member's upload, so that with late sketches nobody
    /// else's noise counts either. The late sketch is post-processing of that upload, and no further release.
    fn sum(settings: &RoundSettings, block: &PlannedBlock) -> Self {
        let released = Released::sum_of(block.shape.kind);
        let shown_alone = settings.late_sketches != LateSketchMode::Off && is_sketched(block);
        let parties = if settings.max_weight == 1 && !shown_alone { HONEST_NOISES } else { 1 };
        // Distributions have norms of at most 1 and no negative coordinates, so that two are at most sqrt(2)
        // apart.
        let sqrt2_in_steps = 2f64.powi(-i32::from(block.scale.step_log2)) * SQRT_2;
        let change_of_average = (released == Released::RoutingHistogram).then_some(sqrt2_in_steps);
        // PRIV-15: a record counts at most 1 as correct, and 1 as evaluated. The two sums are rounded to 32-bit floats before
        // they are rounded to steps.
        let float_rounding = f64::from(block.scale.clip_steps) * 2f64.powi(-23);
        let change_of_sum = (released == Released::EvaluationSum).then_some(sqrt2_in_steps + float_rounding);
        Self {
            released,
            coordinates: block.shape.length,
            // PRIV-04: the integers keep to the clip, for which rounding may move a coordinate by a whole
            // step.
            norm: block.scale.largest_norm(block.shape.kind),
            change: block.scale.largest_change(block.shape.kind),
            rounding: 1.0,
            change_of_average,
            change_of_sum,
            sigma: block.noise_steps,
            parties,
        }
    }

    /// What an announcement shows of an expert, or of a group of experts. It has the member's own noise alone.
    fn announced(settings: &RoundSettings) -> Vec<Self> {
        // A count is between 0 and its largest value, so that two counts are no further apart than one is
        // from 0.
        let largest = f64::from(settings.scoring.largest_count());
        let count = Self {
            released: Released::TokenCount,
            coordinates: 1,
            norm: largest,
            change: largest,
            rounding: 0.0,
            change_of_average: None,
            change_of_sum: None,
            sigma: u32::from(settings.sketch.count_noise),
            parties: 1,
        };
        // A record's part and the average of the others are each within the sketch's clip.
        let region_sensitivity = Some(2.0 * f64::from(SKETCH_CLIP_STEPS));
        let (form, size) = (settings.scoring.sketches, settings.sketch.coordinates);
        // PRIV-16: signs are post-processing of noised projections, which are charged whole.
        let (region, update) = match form {
            SketchForm::Pairs => (Released::RegionSketch, Released::UpdateSketch),
            SketchForm::Signs => (Released::RegionSigns, Released::UpdateSigns),
            SketchForm::Withheld => return vec![Self::score(settings)],
        };
        let region_size = form.region_coordinates(size);
        vec![
            Self::projected(&settings.sketch, (region, region_size), region_sensitivity),
            // No average over records: an update follows from training, which covers it if it is private.
            Self::projected(&settings.sketch, (update, size), None),
            count,
        ]
    }

    /// The score of a group of experts (`PRIV-17`). It is limited after rounding.
    fn score(settings: &RoundSettings) -> Self {
        let largest = f64::from(LARGEST_SCORE);
        Self {
            released: Released::Score,
            coordinates: 1,
            norm: largest,
            change: 2.0 * largest,
            rounding: 0.0,
            change_of_average: None,
            change_of_sum: None,
            sigma: u32::from(settings.scoring.score_noise),
            parties: 1,
        }
    }

    /// A projection of an expert's region or update to so many coordinates.
    fn projected(
        plan: &SketchPlan,
        (released, coordinates): (Released, u16),
        change_of_average: Option<f64>,
    ) -> Self {
        let coordinates = u64::from(coordinates);
        let norm = sketch_norm(coordinates);
        Self {
            released,
            coordinates,
            norm,
            change: 2.0 * norm,
            rounding: 0.5,
            change_of_average,
            change_of_sum: None,
            sigma: u32::from(plan.noise_steps),
            parties: 1,
        }
    }

    /// The release of this vector. `private` is given if the round has private training that counts for this
    /// unit.
    fn release(self, unit: PrivacyUnit, private: Option<PrivateTrainingPlan>) -> Result<Release, MapError> {
        // PRIV-11: an average divides by at least `minimum_records`.
        let moved_average = self.change_of_average.zip(private);
        let moved_average =
            moved_average.map(|(change, private)| change / f64::from(private.minimum_records));
        let sensitivity = match (unit, moved_average.or(self.change_of_sum)) {
            (PrivacyUnit::Member, _) => self.norm,
            // With the record and without it, the vector is rounded, which the factor 2 covers.
            (PrivacyUnit::Record, Some(moved)) => {
                (moved + 2.0 * self.rounding * (self.coordinates as f64).sqrt()).min(self.change)
            }
            // One record may move a contribution from any point to any other.
            (PrivacyUnit::Record, None) => self.change,
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

/// The largest L2 norm of a sketch after each coordinate was rounded to the nearest integer, in steps.
/// Rounding to the nearest may lengthen a sketch by half a step in each coordinate.
pub fn sketch_norm(coordinates: u64) -> f64 {
    f64::from(SKETCH_CLIP_STEPS) + (coordinates as f64).sqrt() / 2.0
}

#[cfg(test)]
mod tests;
