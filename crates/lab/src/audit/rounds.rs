//! Rounds of the product as a mechanism: the contributions that members prepare, and their sums.
//!
//! Four members are the fewest that tolerate a corrupt one. Three are honest: their noise is counted. The
//! fourth contributes zeros without noise. Each honest member is a canary in each round. Clipping, rounding,
//! sketching and noise are the client's own ([`cloister_gate::prepare`]). Without a fault, the first round
//! goes through the protocol's own state machines, and the model that it opens must be the one that the plain
//! sum of the prepared integers gives; later rounds are summed without masks.

use cloister_gate::{LocalWork, prepare};
use cloister_params::fixed::CohortTotal;
use cloister_params::plan::{PlannedBlock, RoundPlan, RoundSettings, SketchValues};
use cloister_privacy::release::Released;
use cloister_protocol::contribution::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::HONEST;
use super::canary::Canary;
use super::coins;
use super::fault::PlantedFault;
use super::mechanism::{AuditSubject, AuditedMechanism, CanaryEvidence};
use super::noise::{Comparison, Constant, NoiseSeen, Squares};
use super::planned::{AuditPlan, MEMBERS};
use crate::accounts::Permits;
use crate::error::LabError;
use crate::masked::Masked;

/// Rounds of the same canaries that are compared with each other. With reused noise, even the counts of three
/// experts agree too often for chance.
const COMPARED: usize = 20;

/// Rounds of a small model.
#[derive(Debug)]
pub struct AuditedRounds<'a> {
    planned: &'a AuditPlan,
    /// The fault and the kind of release that has it; none in a sound run.
    broken: Option<(PlantedFault, Released)>,
    /// The kinds of releases that are scored.
    kinds: Vec<Released>,
}

/// One round: the canary that each honest member was, and what it prepared.
struct Round {
    canaries: Vec<Canary>,
    contributions: Vec<Contribution>,
}

/// The state of a run between two rounds.
struct Running {
    plans: Vec<RoundPlan>,
    permits: Permits,
    random: ChaCha20Rng,
}

impl<'a> AuditedRounds<'a> {
    /// Rounds without a fault, in which every kind of release is scored, and all of them together.
    pub fn sound(planned: &'a AuditPlan) -> Self {
        Self { planned, broken: None, kinds: planned.kinds().collect() }
    }

    /// Rounds with a fault in one kind of release, which alone is scored. No other kind has noise, because
    /// drawing it takes most of the time.
    pub fn with_fault(planned: &'a AuditPlan, fault: PlantedFault, released: Released) -> Self {
        Self { planned, broken: Some((fault, released)), kinds: vec![released] }
    }

    /// The settings that a member follows; some faults affect one member alone.
    fn settings_of(&self, member: usize) -> RoundSettings {
        match self.broken {
            None => self.planned.settings.clone(),
            Some((fault, released)) => fault.settings(&self.planned.noise_on(released), released, member),
        }
    }

    fn start(&self, seed: u64) -> Result<Running, LabError> {
        Ok(Running {
            plans: (0..HONEST).map(|member| self.planned.plan(&self.settings_of(member))).collect(),
            permits: Permits::counting(self.planned.unit)?,
            random: ChaCha20Rng::seed_from_u64(seed),
        })
    }

    fn round(&self, canaries: Vec<Canary>, running: &mut Running) -> Result<Round, LabError> {
        let mut contributions = Vec::with_capacity(HONEST);
        let Running { plans, permits, random } = running;
        let fault = self.broken.map_or(PlantedFault::None, |(fault, _)| fault);
        for (member, (canary, plan)) in canaries.iter().zip(plans).enumerate() {
            let planted = self.planned.planted(*canary);
            let mut generator = fault.generator(member, random);
            let permit = permits.next(plan)?;
            let before = self.planned.before_last_changes(*canary);
            let work = LocalWork { before_last_changes: before.as_ref(), ..LocalWork::from(&planted.result) };
            let (mut contribution, _) = prepare(plan, &self.planned.model(), work, permit, &mut generator)?;
            if let Some((PlantedFault::BareCoordinate, released)) = self.broken {
                self.bare(&mut contribution, &planted.prepared, released);
            }
            contributions.push(contribution);
        }
        Ok(Round { canaries, contributions })
    }

    /// Removes the noise from the last value of a kind of release; of a router, that is its consistency
    /// weight.
    fn bare(&self, contribution: &mut Contribution, known: &Contribution, released: Released) {
        let blocks = &self.planned.settings.blocks;
        let last = blocks.iter().rev().find(|block| Released::sum_of(block.shape.kind) == released);
        if let Some(block) = last.map(|block| block.shape.id) {
            copy_last(&mut contribution.integers[block], &known.integers[block]);
        }
        let sketches = contribution.sketches.values_mut().zip(known.sketches.values());
        let Some((sketch, known)) = sketches.last() else { return };
        match (released, &mut sketch.values) {
            (Released::RegionSketch, SketchValues::Projections { region, .. }) => {
                copy_last(region, known.region());
            }
            (Released::UpdateSketch, SketchValues::Projections { update, .. }) => {
                copy_last(update, known.update());
            }
            (Released::TokenCount, _) => sketch.tokens = known.tokens,
            (Released::Score, score) => score.clone_from(&known.values),
            _ => {}
        }
    }

    /// Each member's noise on releases of one kind: what it prepared, without what is known of it.
    fn noise(&self, round: &Round, released: Released) -> Vec<Vec<i64>> {
        let members = round.canaries.iter().zip(&round.contributions);
        members.map(|(canary, contribution)| self.member_noise(*canary, contribution, released)).collect()
    }

    fn member_noise(&self, canary: Canary, contribution: &Contribution, released: Released) -> Vec<i64> {
        let known = self.planned.part(&self.planned.planted(canary).prepared, released);
        self.planned
            .part(contribution, released)
            .iter()
            .zip(known)
            .map(|(value, known)| value - known)
            .collect()
    }

    /// The evidence of each kind of release before canaries are scored: in some rounds every member is the
    /// same canary, so that only noise can differ between them.
    fn before_scores(&self, running: &mut Running) -> Result<Vec<CanaryEvidence>, LabError> {
        let canaries: Vec<Canary> = (0..HONEST).map(|number| Canary { number, included: true }).collect();
        let rounds =
            (0..COMPARED).map(|_| self.round(canaries.clone(), running)).collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::with_capacity(self.kinds.len());
        for &released in &self.kinds {
            let noise: Vec<Vec<Vec<i64>>> = rounds.iter().map(|round| self.noise(round, released)).collect();
            let subject = AuditSubject::Release(released);
            all.push(self.evidence_of(subject, self.planned.moved(released), self.seen(released, &noise)));
        }
        Ok(all)
    }

    /// Collects the tests of `noise[round][member]`.
    fn seen(&self, released: Released, noise: &[Vec<Vec<i64>>]) -> NoiseSeen {
        let mut seen = NoiseSeen::default();
        let (_, deviation) = self.planned.deviation(released);
        for member in 0..HONEST {
            let rounds: Vec<Vec<i64>> = noise.iter().map(|round| round[member].clone()).collect();
            seen.comparisons.push(Comparison::from_successive(&rounds));
            seen.constants.push(Constant::in_releases(&rounds));
            // Sketches and counts are limited to their integers' range, so their squares fall short of the
            // claim. One round alone is taken: if rounds reuse noise, their squares are not independent.
            if released.is_sum() {
                let first: Vec<f64> = rounds[0].iter().map(|value| *value as f64).collect();
                seen.squares.push(Squares::over_variance(&first, deviation));
            }
        }
        for next in 1..HONEST {
            let mut comparison = Comparison::default();
            noise.iter().for_each(|round| comparison.add(&round[next - 1], &round[next]));
            seen.comparisons.push(comparison);
        }
        seen
    }

    fn evidence_of(&self, subject: AuditSubject, moved: f64, noise: NoiseSeen) -> CanaryEvidence {
        let claimed = self.planned.claimed(subject);
        CanaryEvidence { subject, claimed, moved, scores: Vec::new(), included: Vec::new(), noise }
    }

    /// The scores of a round's canaries by releases of one kind. The attacker knows what the other members
    /// contributed before noise, so it sees the canary's part with the noise that the release has.
    fn scores(&self, round: &Round, released: Released) -> Vec<f64> {
        let noise = self.noise(round, released);
        let sums: Vec<i64> =
            (0..noise[0].len()).map(|at| noise.iter().map(|member| member[at]).sum()).collect();
        let scored = round.canaries.iter().zip(&noise).take(scored(released));
        let mut scores = Vec::new();
        for (canary, noise) in scored {
            // A sum has the noise of all honest members; a sketch or a count shows one member with its own
            // noise alone.
            let carried = if released.is_sum() { &sums } else { noise };
            scores.push(self.score(*canary, carried, released));
        }
        scores
    }

    /// The log-likelihood ratio of the release with the canary over without it, under the claimed Gaussian
    /// noise.
    fn score(&self, canary: Canary, noise: &[i64], released: Released) -> f64 {
        let [absent, present] = [false, true].map(|included| {
            self.planned.part(&self.planned.planted(Canary { included, ..canary }).protected, released)
        });
        let protected = if canary.included { &present } else { &absent };
        let seen = protected.iter().zip(noise).map(|(protected, noise)| (protected + noise) as f64);
        let ratios = seen.zip(present.iter().zip(&absent)).map(|(seen, (present, absent))| {
            (present - absent) as f64 * (seen - (present + absent) as f64 / 2.0)
        });
        let (deviation, _) = self.planned.deviation(released);
        ratios.sum::<f64>() / deviation.powi(2)
    }

    /// The round behind masks must yield the model that the plain sums yield.
    fn check(&self, contributions: &[Contribution], sums: &[Vec<i64>], seed: u64) -> Result<(), LabError> {
        let planned = self.planned;
        let mut all = contributions.to_vec();
        all.push(corrupt(&contributions[0]));
        let start = planned.start.values().to_vec();
        let mut masked = Masked::new(MEMBERS, planned.settings.clone(), start, seed)?;
        let opened = masked.round(all)?.model;
        let start = planned.model();
        let blocks = planned.settings.blocks.iter().zip(start.blocks().values());
        let expected: Vec<Vec<f32>> =
            blocks.zip(sums).map(|((block, start), sum)| applied(block, start, sum)).collect();
        if opened.values() == expected { Ok(()) } else { Err(LabError::OtherSum) }
    }
}

impl AuditedMechanism for AuditedRounds<'_> {
    fn evidence(&self, canaries: usize, seed: u64) -> Result<Vec<CanaryEvidence>, LabError> {
        let mut running = self.start(seed)?;
        let mut all = self.before_scores(&mut running)?;
        let mut whole = self.evidence_of(AuditSubject::Round, furthest(&all), NoiseSeen::default());
        let most = self.kinds.iter().map(|released| scored(*released)).max().unwrap_or(1);
        let coins = coins(canaries.div_ceil(most) * HONEST, seed);
        for (number, coins) in coins.chunks(HONEST).enumerate() {
            let mut canaries = Vec::with_capacity(HONEST);
            for (member, &included) in coins.iter().enumerate() {
                canaries.push(Canary { number: number * HONEST + member, included });
            }
            let round = self.round(canaries, &mut running)?;
            if number == 0 && self.broken.is_none() {
                self.check(&round.contributions, &sums(&round.contributions), seed)?;
            }
            let mut together = 0.0;
            for (evidence, released) in all.iter_mut().zip(&self.kinds) {
                let scores = self.scores(&round, *released);
                // Log-likelihood ratios of independent noise add up. Member 0 is the one canary that every
                // kind scores.
                together += scores[0];
                evidence.included.extend(&coins[..scores.len()]);
                evidence.scores.extend(scores);
            }
            whole.scores.push(together);
            whole.included.push(coins[0]);
        }
        // With private training the contributions are not all of the round's charge, and a claim on
        // everything would be too large to refute.
        if self.broken.is_none() && self.planned.is_whole() {
            all.push(whole);
        }
        Ok(all)
    }
}

/// The furthest that a canary moves releases of any kind.
fn furthest(all: &[CanaryEvidence]) -> f64 {
    all.iter().map(|evidence| evidence.moved).fold(0.0, f64::max)
}

/// Replaces the last value by the known one.
fn copy_last<T: Copy>(values: &mut [T], known: &[T]) {
    if let (Some(value), Some(known)) = (values.last_mut(), known.last()) {
        *value = *known;
    }
}

/// How many members' canaries are scored in a round. Canaries in routing, in consistency weights and in projected regions
/// are not orthogonal: three of them would not be independent guesses, so one is guessed by an attacker that knows
/// the others.
fn scored(released: Released) -> usize {
    match released {
        Released::RouterSum | Released::RoutingHistogram | Released::RegionSum => 1,
        _ => HONEST,
    }
}

/// The corrupt member's contribution: zeros. Its sketches are copied, because no sum depends on them here.
fn corrupt(honest: &Contribution) -> Contribution {
    let integers = honest.integers.map(|block| vec![0; block.len()]);
    Contribution { integers, sketches: honest.sketches.clone() }
}

fn applied(block: &PlannedBlock, start: &[f32], sum: &[i64]) -> Vec<f32> {
    let mut parameters = start.to_vec();
    let total = CohortTotal { weight: MEMBERS as u64, max_weight: 1, noise_steps: block.noise_steps };
    // A block whose sum is out of range stays as it is, as in the protocol, so the error is no failure.
    let _ = block.scale.apply(block.shape.kind, &mut parameters, sum, total);
    parameters
}

/// The sum of each block over members.
fn sums(contributions: &[Contribution]) -> Vec<Vec<i64>> {
    let first = contributions.first().into_iter();
    let lengths = first.flat_map(|first| first.integers.values().iter().map(Vec::len));
    let mut sums: Vec<Vec<i64>> = lengths.map(|length| vec![0; length]).collect();
    for contribution in contributions {
        for (sum, block) in sums.iter_mut().zip(contribution.integers.values()) {
            sum.iter_mut().zip(block).for_each(|(sum, value)| *sum += i64::from(*value));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use cloister_params::limits::PrivacyUnit;

    use super::*;

    #[test]
    fn a_sum_other_than_what_opens_behind_masks_is_noticed() {
        let planned = AuditPlan::new(PrivacyUnit::Member, false).expect("it fits");
        let rounds = AuditedRounds::sound(&planned);
        let mut running = rounds.start(1).expect("a folder for ledgers");
        let canaries = (0..HONEST).map(|number| Canary { number, included: true }).collect();
        let contributions = rounds.round(canaries, &mut running).expect("prepared").contributions;
        let mut sums = sums(&contributions);
        rounds.check(&contributions, &sums, 1).expect("the plain sum is what opens");
        sums[0][7] += 1 << 12;
        assert!(matches!(rounds.check(&contributions, &sums, 1), Err(LabError::OtherSum)));
    }
}
