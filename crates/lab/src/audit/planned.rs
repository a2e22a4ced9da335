//! The plan of audited rounds, and what canaries contribute in them before noise.

use cloister_alignment::score::ExpertSketch;
use cloister_experts::{BlockVectors, LocalResult, ModelConfig, initial_blocks};
use cloister_gate::{LocalWork, prepare};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::fixed::Scale;
use cloister_params::id::BlockId;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{
    LEAST_SCORE_NOISE, PlannedBlock, PrivateTrainingPlan, RoundPlan, RoundSettings, SketchForm, SketchValues,
    least_region_noise,
};
use cloister_privacy::accountant::Account;
use cloister_privacy::ledger::LedgerError;
use cloister_privacy::release::{Release, Released, account, releases};
use cloister_protocol::contribution::Contribution;
use cloister_protocol::model::Model;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::canary::Canary;
use super::fault::{EXCESS, PlantedFault, change_noise};
use super::mechanism::AuditSubject;
use super::withheld;
use super::{DIRECTIONS, HONEST, RHO};
use crate::accounts::Permits;
use crate::error::LabError;
use crate::federation::plan;
use crate::noise::{Clips, settings};

/// The honest members and a corrupt one.
pub(crate) const MEMBERS: usize = HONEST + 1;
/// What signs follow from.
const SIGNS: [Released; 2] = [Released::RegionSigns, Released::UpdateSigns];
/// The smallest number that averages over records divide by, as the plan promises it.
const MINIMUM_RECORDS: u32 = 32;

/// A plan in which every kind of release costs the same, so that no kind's claim hides another's.
#[derive(Debug)]
pub struct AuditPlan {
    pub(crate) unit: PrivacyUnit,
    model: ModelConfig,
    pub(crate) settings: RoundSettings,
    pub(crate) start: BlockVectors,
    releases: Vec<Release>,
    /// By direction: the canary absent and included. With private training there is one more, next to few
    /// other records: it shows whether averages divide by the minimum.
    canaries: Vec<[Planted; 2]>,
    /// In plans with withheld sketches, the one kind of release that is audited: the canaries of another would not do.
    audited: Option<Released>,
    /// The published regions, if sketches are withheld.
    regions: Vec<Vec<f32>>,
}

/// The contribution of one canary.
#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) result: LocalResult,
    /// What the client's code prepares of it without noise.
    pub(crate) prepared: Contribution,
    /// What the noise protects. An absent member's integers are zero by definition (`PRIV-01`), although a
    /// real member always has a consistency weight. Its sketches and counts are zero already.
    pub(crate) protected: Contribution,
}

impl AuditPlan {
    /// A plan for this unit, with private training or without.
    ///
    /// # Errors
    /// A plan whose charges cannot be computed; [`LabError::File`] for ledgers that cannot be written.
    pub fn new(unit: PrivacyUnit, private_training: bool) -> Result<Self, LabError> {
        Self::in_form(unit, private_training, SketchForm::Pairs, None)
    }

    /// Plans whose members announce scores, without private training: of scores and of sums of regions, for both units.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn withheld_of_both_units() -> Result<Vec<Self>, LabError> {
        let mut plans = Vec::new();
        for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
            for audited in [Released::Score, Released::RegionSum] {
                plans.push(Self::in_form(unit, false, SketchForm::Withheld, Some(audited))?);
            }
        }
        Ok(plans)
    }

    /// A plan for this unit whose members announce signs, without private training.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn by_signs(unit: PrivacyUnit) -> Result<Self, LabError> {
        Self::in_form(unit, false, SketchForm::Signs, None)
    }

    fn in_form(
        unit: PrivacyUnit,
        private_training: bool,
        form: SketchForm,
        audited: Option<Released>,
    ) -> Result<Self, LabError> {
        let classes = vec!["one".to_owned(), "other".to_owned()];
        let model = ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) };
        let clips = Clips { update_log2: 0, region_milli: 1000 };
        let mut settings = settings(&model, MEMBERS, clips, None)?;
        settings.scoring.sketches = form;
        if form == SketchForm::Withheld {
            withhold(&mut settings, model.experts);
        }
        settings.training.private = private_training.then_some(PrivateTrainingPlan {
            clipping_norm_milli: 1000,
            noise_multiplier_milli: 1000,
            sampling_probability_micro: 500_000,
            minimum_records: MINIMUM_RECORDS,
        });
        calibrate(&mut settings, unit)?;
        // Without a published distribution every consistency weight is 1, and a canary could not move it.
        let start = initial_blocks(&model).map(|shape, values| match shape.kind {
            BlockKind::Routing { .. } => vec![1.0 / values.len() as f32; values.len()],
            _ => vec![0.0; values.len()],
        });
        let releases = releases(&settings, unit).map_err(LedgerError::from)?;
        let (canaries, regions) = (Vec::new(), zeros(&settings, start.table().len()));
        let mut planned = Self { unit, model, settings, start, releases, canaries, audited, regions };
        if audited == Some(Released::Score) {
            planned.publish_regions()?;
        }
        planned.canaries = planned.canaries(&planned.settings)?;
        Ok(planned)
    }

    /// The same plan, where members make something else of their data because of a fault in one kind of release.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn with_fault(&self, fault: PlantedFault, released: Released) -> Result<Self, LabError> {
        let canaries = self.canaries(&fault.settings(&self.settings, released, 0))?;
        let (model, settings, start) = (self.model.clone(), self.settings.clone(), self.start.clone());
        let (releases, regions) = (self.releases.clone(), self.regions.clone());
        let (unit, audited) = (self.unit, self.audited);
        Ok(Self { unit, model, settings, start, releases, canaries, audited, regions })
    }

    /// Publishes the regions that all canaries of scores have.
    fn publish_regions(&mut self) -> Result<(), LabError> {
        let included = Canary { number: 0, included: true };
        let planted = self.plant(included, 0, &self.settings, &mut Permits::counting(self.unit)?)?;
        let regions = self.settings.blocks[self.start.table().len()..].iter();
        let integers = regions.map(|block| &planted.prepared.integers[block.shape.id]);
        self.regions = integers.map(|block| block.iter().map(|value| *value as f32).collect()).collect();
        Ok(())
    }

    /// What canaries contribute under these settings, by direction.
    fn canaries(&self, settings: &RoundSettings) -> Result<Vec<[Planted; 2]>, LabError> {
        let mut permits = Permits::counting(self.unit)?;
        let minimum = settings.training.private.map_or(0, |private| private.minimum_records as usize);
        let few = (minimum > 0).then_some(minimum / EXCESS as usize);
        let mut canaries = Vec::with_capacity(DIRECTIONS);
        for (number, others) in std::iter::repeat_n(minimum, DIRECTIONS).chain(few).enumerate() {
            let [absent, included] = [false, true].map(|included| Canary { number, included });
            canaries.push([
                self.plant(absent, others, settings, &mut permits)?,
                self.plant(included, others, settings, &mut permits)?,
            ]);
        }
        Ok(canaries)
    }

    /// Prepares one canary without noise, as an honest member would.
    fn plant(
        &self,
        canary: Canary,
        others: usize,
        settings: &RoundSettings,
        permits: &mut Permits,
    ) -> Result<Planted, LabError> {
        let plan = self.plan(&self.without_noise(settings));
        let result = match self.audited {
            Some(audited) => withheld::result(canary, audited, self.unit, &self.model, settings)?,
            None => canary.result(self.unit, &self.model, (&self.settings, settings), others)?,
        };
        // Without noise nothing is drawn; the generator only completes the arguments.
        let unused = &mut ChaCha20Rng::seed_from_u64(0);
        let before = self.before_last_changes(canary);
        let work = LocalWork { before_last_changes: before.as_ref(), ..LocalWork::from(&result) };
        let (prepared, _) = prepare(&plan, &self.model(), work, permits.next(&plan)?, unused)?;
        let mut protected = prepared.clone();
        if self.unit == PrivacyUnit::Member && !canary.included {
            protected.integers.iter_mut().for_each(|(_, block)| block.fill(0));
        }
        Ok(Planted { result, prepared, protected })
    }

    fn without_noise(&self, settings: &RoundSettings) -> RoundSettings {
        let mut silent = settings.clone();
        // Of all kinds, those that are not audited too.
        self.releases.iter().for_each(|release| change_noise(&mut silent, release.released, |_| 0));
        silent
    }

    /// The settings with noise on releases of one kind alone, for runs that look at nothing else.
    pub(crate) fn noise_on(&self, released: Released) -> RoundSettings {
        let mut settings = self.without_noise(&self.settings);
        let (_, sigma) = self.deviation(released);
        change_noise(&mut settings, released, |_| sigma as u32);
        settings
    }

    /// The contribution of a canary; those whose numbers differ by [`DIRECTIONS`] share one.
    pub(crate) fn planted(&self, canary: Canary) -> &Planted {
        &self.canaries[canary.number % DIRECTIONS][usize::from(canary.included)]
    }

    /// The plan of a round with these settings.
    pub(crate) fn plan(&self, settings: &RoundSettings) -> RoundPlan {
        plan(settings, &self.model(), 1)
    }

    /// The model that rounds start from.
    pub(crate) fn model(&self) -> Model {
        Model::new(self.start.values().iter().chain(&self.regions).cloned().collect())
    }

    /// What a canary's scores are compared with; none unless scores are audited.
    pub(crate) fn before_last_changes(&self, canary: Canary) -> Option<Model> {
        // Those whose numbers differ by `DIRECTIONS` share one.
        let canary = Canary { number: canary.number % DIRECTIONS, ..canary };
        let scores = self.audited == Some(Released::Score);
        scores.then(|| withheld::before_last_changes(canary, &self.settings, &self.start))
    }

    /// The kinds of releases of a round that are charged one by one. Steps of private training are no part of a contribution.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Released> {
        let mut kinds: Vec<Released> = self.releases.iter().map(|release| release.released).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let audited = self.audited;
        kinds.into_iter().filter(move |released| {
            *released != Released::PrivateStep && audited.is_none_or(|audited| audited == *released)
        })
    }

    /// Whether contributions are all that is charged. With private training they are not: its steps are
    /// audited separately. Of plans with withheld sketches one kind is audited.
    pub(crate) fn is_whole(&self) -> bool {
        self.settings.training.private.is_none() && self.audited.is_none()
    }

    /// The accountant's charge for it.
    pub(crate) fn claimed(&self, subject: AuditSubject) -> Account {
        account(self.releases.iter().filter(|release| match subject {
            AuditSubject::Round => true,
            AuditSubject::Signs => SIGNS.contains(&release.released),
            AuditSubject::Release(released) => release.released == released,
        }))
    }

    /// The standard deviation of the claimed noise on releases of this kind: of the honest members together,
    /// and of each.
    pub(crate) fn deviation(&self, released: Released) -> (f64, f64) {
        let release = self.releases.iter().find(|release| release.released == released);
        let sigma = release.map_or(0.0, |release| f64::from(release.noise_per_member));
        let noises = release.map_or(0.0, |release| f64::from(release.honest_noises));
        (sigma * noises.sqrt(), sigma)
    }

    /// The sensitivity that is charged for all signs together.
    pub(crate) fn sensitivity_of_signs(&self) -> f64 {
        let squares = SIGNS.map(|released| squared_sensitivity(&self.releases, released));
        squares.iter().sum::<f64>().sqrt()
    }

    /// The furthest that a canary moves releases of one kind before noise, divided by the sensitivity that is
    /// charged.
    pub(crate) fn moved(&self, released: Released) -> f64 {
        let charged = squared_sensitivity(&self.releases, released).sqrt();
        self.canaries.iter().map(|both| self.distance(both, released) / charged).fold(0.0, f64::max)
    }

    /// The distance between a canary's protected contribution and the one without it.
    fn distance(&self, both: &[Planted; 2], released: Released) -> f64 {
        let [absent, present] = both.each_ref().map(|planted| self.part(&planted.protected, released));
        let squares = absent.iter().zip(present).map(|(absent, present)| ((present - absent) as f64).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// The released integers of one kind in a contribution.
    pub(crate) fn part(&self, contribution: &Contribution, released: Released) -> Vec<i64> {
        let sketches = contribution.sketches.values();
        match released {
            Released::RegionSketch => {
                sketches.flat_map(|sketch| sketch.region().iter().map(|value| i64::from(*value))).collect()
            }
            Released::UpdateSketch => {
                sketches.flat_map(|sketch| sketch.update().iter().map(|value| i64::from(*value))).collect()
            }
            Released::TokenCount => sketches.map(|sketch| i64::from(sketch.tokens)).collect(),
            Released::Score => sketches.filter_map(announced_score).collect(),
            _ => {
                let blocks = self.settings.blocks.iter().zip(contribution.integers.values());
                let of_kind = blocks.filter(|(block, _)| Released::sum_of(block.shape.kind) == released);
                of_kind.flat_map(|(_, block)| block.iter().map(|value| i64::from(*value))).collect()
            }
        }
    }
}

/// Has members announce a score for each expert, and publish regions.
fn withhold(settings: &mut RoundSettings, experts: usize) {
    settings.scoring.groups = experts as u16;
    settings.scoring.score_noise = LEAST_SCORE_NOISE;
    let kind = BlockKind::Regions { layer: 0 };
    let (id, length) =
        (BlockId(settings.blocks.len() as u32), experts as u64 * u64::from(settings.sketch.coordinates));
    let scale = Scale { step_log2: -14, clip_steps: 1 << 14 };
    let noise_steps = least_region_noise(scale);
    settings.blocks.push(PlannedBlock { shape: BlockShape { id, kind, length }, scale, noise_steps });
}

/// Zeros for each block from this one on.
fn zeros(settings: &RoundSettings, from: usize) -> Vec<Vec<f32>> {
    settings.blocks[from..].iter().map(|block| vec![0.0; block.shape.length as usize]).collect()
}

fn announced_score(sketch: &ExpertSketch) -> Option<i64> {
    match sketch.values {
        SketchValues::Score(score) => score.map(i64::from),
        _ => None,
    }
}

/// The squared sensitivity of all releases of one kind together: squares add up, because they are separate
/// coordinates.
fn squared_sensitivity(releases: &[Release], released: Released) -> f64 {
    let of_kind = releases.iter().filter(|release| release.released == released);
    of_kind.map(|release| release.count as f64 * release.sensitivity.powi(2)).sum()
}

/// Gives every kind of release the noise that costs [`RHO`]. Both kinds of sketches share one noise, and have
/// the same sensitivity where both are charged.
fn calibrate(settings: &mut RoundSettings, unit: PrivacyUnit) -> Result<(), LabError> {
    let all = releases(settings, unit).map_err(LedgerError::from)?;
    for release in all.iter().filter(|release| release.released != Released::PrivateStep) {
        let squares = squared_sensitivity(&all, release.released);
        // `rho = Δ²/(2·m·σ²)`, solved for σ and rounded up, so that the round never costs more than planned.
        let sigma = (squares / (2.0 * RHO * f64::from(release.honest_noises))).sqrt().ceil();
        change_noise(settings, release.released, |_| sigma as u32);
    }
    Ok(())
}
