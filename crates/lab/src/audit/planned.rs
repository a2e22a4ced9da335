//! The plan of audited rounds, and what canaries contribute in them before noise.

use cloister_experts::{BlockVectors, LocalResult, ModelConfig, initial_blocks};
use cloister_gate::prepare;
use cloister_params::block::BlockKind;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PrivateTrainingPlan, RoundPlan, RoundSettings, SketchForm};
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
        Self::in_form(unit, private_training, SketchForm::Pairs)
    }

    /// A plan for this unit whose members announce signs, without private training.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn by_signs(unit: PrivacyUnit) -> Result<Self, LabError> {
        Self::in_form(unit, false, SketchForm::Signs)
    }

    fn in_form(unit: PrivacyUnit, private_training: bool, form: SketchForm) -> Result<Self, LabError> {
        let classes = vec!["one".to_owned(), "other".to_owned()];
        let model = ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) };
        let clips = Clips { update_log2: 0, region_milli: 1000 };
        let mut settings = settings(&model, MEMBERS, clips, None)?;
        settings.scoring.sketches = form;
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
        let mut planned = Self { unit, model, settings, start, releases, canaries: Vec::new() };
        planned.canaries = planned.canaries(&planned.settings)?;
        Ok(planned)
    }

    /// The same plan, where members make something else of their data because of a fault in one kind of release.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn with_fault(&self, fault: PlantedFault, released: Released) -> Result<Self, LabError> {
        let canaries = self.canaries(&fault.settings(&self.settings, released, 0))?;
        let (unit, model, settings) = (self.unit, self.model.clone(), self.settings.clone());
        Ok(Self {
            unit,
            model,
            settings,
            start: self.start.clone(),
            releases: self.releases.clone(),
            canaries,
        })
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
        let result = canary.result(self.unit, &self.model, (&self.settings, settings), others)?;
        // Without noise nothing is drawn; the generator only completes the arguments.
        let unused = &mut ChaCha20Rng::seed_from_u64(0);
        let (prepared, _) = prepare(&plan, &self.model(), &result, permits.next(&plan)?, unused)?;
        let mut protected = prepared.clone();
        if self.unit == PrivacyUnit::Member && !canary.included {
            protected.integers.iter_mut().for_each(|(_, block)| block.fill(0));
        }
        Ok(Planted { result, prepared, protected })
    }

    fn without_noise(&self, settings: &RoundSettings) -> RoundSettings {
        let mut silent = settings.clone();
        self.kinds().for_each(|released| change_noise(&mut silent, released, |_| 0));
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
        plan(settings, &self.start, 1)
    }

    /// The model that rounds start from.
    pub(crate) fn model(&self) -> Model {
        Model::new(self.start.values().to_vec())
    }

    /// The kinds of releases of a round that are charged one by one. Steps of private training are no part of a contribution.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Released> {
        let mut kinds: Vec<Released> = self.releases.iter().map(|release| release.released).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().filter(|released| *released != Released::PrivateStep)
    }

    /// Whether contributions are all that is charged. With private training they are not: its steps are
    /// audited separately.
    pub(crate) fn is_whole(&self) -> bool {
        self.settings.training.private.is_none()
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
            _ => {
                let blocks = self.settings.blocks.iter().zip(contribution.integers.values());
                let of_kind = blocks.filter(|(block, _)| Released::sum_of(block.shape.kind) == released);
                of_kind.flat_map(|(_, block)| block.iter().map(|value| i64::from(*value))).collect()
            }
        }
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
