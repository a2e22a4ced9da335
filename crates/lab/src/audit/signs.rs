//! Sign sketches as a mechanism: what the client's code announces, bit by bit.
//!
//! Signs are charged as the noised projections that they follow from (`PRIV-16`), which an attacker does not see. So the
//! bound from guesses stays far below the claim, also with half of the noise. The auditor knows the directions before
//! noise, and with them the probability of each bit under the claimed noise: bits that agree too often with their
//! direction show noise that is too small.

use cloister_alignment::signs::{centred_means, sign};
use cloister_alignment::sketch::{SketchSubject, direction};
use cloister_experts::LocalResult;
use cloister_gate::prepare;
use cloister_params::plan::{RoundSettings, SketchForm, SketchPlan, SketchValues};
use cloister_privacy::release::Released;
use cloister_protocol::contribution::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::HONEST;
use super::bounds::above;
use super::canary::Canary;
use super::coins;
use super::fault::PlantedFault;
use super::mechanism::{AuditSubject, AuditedMechanism, CanaryEvidence};
use super::noise::{BitAgreement, Comparison, NoiseSeen};
use super::planned::AuditPlan;
use crate::accounts::Permits;
use crate::error::LabError;

/// Rounds without a canary that are compared with each other: their bits are signs of noise.
const COMPARED: usize = 20;

/// Announcements by signs.
#[derive(Debug)]
pub struct AuditedSigns<'a> {
    planned: &'a AuditPlan,
    fault: PlantedFault,
    /// The settings that each honest member follows.
    settings: Vec<RoundSettings>,
}

/// The directions of one expert before noise.
struct Directions {
    update: Vec<i16>,
    region: Vec<i16>,
}

/// The state of a run between two rounds.
struct Running {
    permits: Permits,
    random: ChaCha20Rng,
}

impl<'a> AuditedSigns<'a> {
    /// Announcements with this fault, of a plan by signs ([`AuditPlan::by_signs`]).
    pub fn new(planned: &'a AuditPlan, fault: PlantedFault) -> Self {
        let honest = planned.noise_on(Released::UpdateSigns);
        let settings =
            (0..HONEST).map(|member| fault.settings(&honest, Released::UpdateSigns, member)).collect();
        Self { planned, fault, settings }
    }

    /// What the honest members announce in a round, each as one canary.
    fn round(&self, canaries: &[Canary], running: &mut Running) -> Result<Vec<Contribution>, LabError> {
        let mut contributions = Vec::with_capacity(HONEST);
        for (member, canary) in canaries.iter().enumerate() {
            let plan = self.planned.plan(&self.settings[member]);
            let mut generator = self.fault.generator(member, &mut running.random);
            let permit = running.permits.next(&plan)?;
            let result = &self.planned.planted(*canary).result;
            let (contribution, _) = prepare(&plan, &self.planned.model(), result, permit, &mut generator)?;
            contributions.push(contribution);
        }
        Ok(contributions)
    }

    /// The tests for reused noise. Without a canary, bits are signs of noise alone.
    fn compared(&self, running: &mut Running) -> Result<NoiseSeen, LabError> {
        let nobody: Vec<Canary> = (0..HONEST).map(|number| Canary { number, included: false }).collect();
        let mut rounds: Vec<Vec<Vec<i64>>> = Vec::with_capacity(COMPARED);
        for _ in 0..COMPARED {
            let contributions = self.round(&nobody, running)?;
            rounds.push(contributions.iter().map(bits).collect());
        }
        let mut seen = NoiseSeen::default();
        for member in 0..HONEST {
            let successive: Vec<Vec<i64>> = rounds.iter().map(|round| round[member].clone()).collect();
            seen.comparisons.push(Comparison::from_successive(&successive));
        }
        for next in 1..HONEST {
            let mut comparison = Comparison::default();
            rounds.iter().for_each(|round| comparison.add(&round[next - 1], &round[next]));
            seen.comparisons.push(comparison);
        }
        Ok(seen)
    }

    /// The log-likelihood ratio of a member's bits with the canary over without it, under the claimed noise. Adds the
    /// bits that agree with their likelier sign to `agreement`.
    fn score(&self, canary: Canary, contribution: &Contribution, agreement: &mut BitAgreement) -> f64 {
        let [absent, present] = [false, true].map(|included| {
            let planted = self.planned.planted(Canary { included, ..canary });
            directions(&self.planned.settings, &planted.result)
        });
        let sigma = f64::from(self.planned.settings.sketch.noise_steps);
        let mut score = 0.0;
        let experts = contribution.sketches.values().zip(present.iter().zip(&absent));
        for (sketch, (present, absent)) in experts {
            let SketchValues::Signs(bits) = &sketch.values else { continue };
            for at in 0..present.update.len() {
                let is_plus = sign(bits, at) > 0;
                let [with, without] = [present, absent].map(|known| known.plus(at, sigma));
                score += likelihood(is_plus, with).ln() - likelihood(is_plus, without).ln();
                agreement.add(is_plus, if canary.included { with } else { without });
            }
        }
        score
    }
}

impl Directions {
    /// The probability that a coordinate is plus.
    fn plus(&self, at: usize, sigma: f64) -> f64 {
        let half = self.update.len() - self.region.len();
        let update = plus(self.update[at], sigma);
        if at < half {
            return update;
        }
        let region = plus(self.region[at - half], sigma);
        update * region + (1.0 - update) * (1.0 - region)
    }
}

/// The probability that an integer with Gaussian noise counts as plus, where 0 is a coin.
fn plus(value: i16, sigma: f64) -> f64 {
    above(-f64::from(value) / sigma)
}

fn likelihood(is_plus: bool, plus: f64) -> f64 {
    (if is_plus { plus } else { 1.0 - plus }).max(f64::MIN_POSITIVE)
}

/// All bits of an announcement, 1 or −1.
fn bits(contribution: &Contribution) -> Vec<i64> {
    let mut all = Vec::new();
    for sketch in contribution.sketches.values() {
        if let SketchValues::Signs(bits) = &sketch.values {
            all.extend((0..8 * bits.len()).map(|at| sign(bits, at)));
        }
    }
    all
}

/// A member's directions before noise (`ALIGN-14`). Every expert of a canary that is included has enough tokens; without
/// it, none has, and nothing is subtracted.
fn directions(settings: &RoundSettings, result: &LocalResult) -> Vec<Directions> {
    let counts = result.regions.iter().map(|region| region.tokens > 0).collect::<Vec<bool>>();
    let hidden: Vec<&[f32]> = result.regions.iter().map(|region| region.mean_hidden.as_slice()).collect();
    let regions = centred_means(&hidden, &counts);
    let size = SketchForm::Signs.region_coordinates(settings.sketch.coordinates);
    let halved = SketchPlan { coordinates: size, ..settings.sketch };
    let experts = settings.blocks.iter().filter(|block| block.shape.kind.is_scored());
    let mut all = Vec::with_capacity(regions.len());
    for (block, region) in experts.zip(regions) {
        let subject = SketchSubject::Update(block.shape.id);
        let update = direction(&settings.sketch, subject, &result.updates[block.shape.id]);
        all.push(Directions { update, region: direction(&halved, SketchSubject::Region, &region) });
    }
    all
}

/// The furthest that a canary moves its directions, divided by the sensitivity that is charged.
fn moved(planned: &AuditPlan) -> f64 {
    let [absent, present] = [false, true].map(|included| {
        directions(&planned.settings, &planned.planted(Canary { number: 0, included }).result)
    });
    let mut squares = 0.0;
    for (one, other) in absent.iter().zip(&present) {
        let pairs = one.update.iter().chain(&one.region).zip(other.update.iter().chain(&other.region));
        squares += pairs.map(|(one, other)| (f64::from(*one) - f64::from(*other)).powi(2)).sum::<f64>();
    }
    squares.sqrt() / planned.sensitivity_of_signs()
}

impl AuditedMechanism for AuditedSigns<'_> {
    fn evidence(&self, canaries: usize, seed: u64) -> Result<Vec<CanaryEvidence>, LabError> {
        let random = ChaCha20Rng::seed_from_u64(seed);
        let mut running = Running { permits: Permits::counting(self.planned.unit)?, random };
        let mut noise = self.compared(&mut running)?;
        let (mut scores, mut agreement) = (Vec::new(), BitAgreement::default());
        let coins = coins(canaries.div_ceil(HONEST) * HONEST, seed);
        for (number, coins) in coins.chunks(HONEST).enumerate() {
            let mut canaries = Vec::with_capacity(HONEST);
            for (member, &included) in coins.iter().enumerate() {
                canaries.push(Canary { number: number * HONEST + member, included });
            }
            let contributions = self.round(&canaries, &mut running)?;
            for (canary, contribution) in canaries.iter().zip(&contributions) {
                scores.push(self.score(*canary, contribution, &mut agreement));
            }
        }
        noise.agreements.push(agreement);
        let subject = AuditSubject::Signs;
        let (claimed, moved) = (self.planned.claimed(subject), moved(self.planned));
        Ok(vec![CanaryEvidence { subject, claimed, moved, scores, included: coins, noise }])
    }
}
