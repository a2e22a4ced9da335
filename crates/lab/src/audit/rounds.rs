//! Rounds of the product as a mechanism: what members prepare, and the sums of it.
//!
//! Four members, as few as tolerate a corrupt one. Three are honest, which is how many noises are counted; the fourth
//! contributes zeros without noise. Each honest member is a canary in each round, so that a run with `m` canaries has
//! `m/3` rounds. Clipping, rounding, sketching and noise are the client's own ([`cloister_client::prepare`]).
//! The first round of each run goes through the protocol's own state machines, and what is opened there must be what
//! the plain sum of the prepared integers makes; later rounds are summed in plain.

use cloister_alignment::score::ExpertSketch;
use cloister_client::prepare;
use cloister_experts::ModelConfig;
use cloister_params::fixed::CohortTotal;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{PlannedBlock, RoundSettings};
use cloister_privacy::accountant::Account;
use cloister_privacy::ledger::LedgerError;
use cloister_privacy::release::{HONEST_NOISES, account, releases};
use cloister_protocol::model::Model;
use cloister_protocol::round::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::canary::{Canary, zeros};
use super::fault::Fault;
use super::mechanism::Mechanism;
use crate::accounts::Permits;
use crate::error::LabError;
use crate::federation::plan;
use crate::masked::Masked;
use crate::noise::{Clips, Target, settings};

/// Members whose noise is counted, each of them a canary.
const HONEST: usize = HONEST_NOISES as usize;
/// With one that is corrupt.
const MEMBERS: usize = HONEST + 1;

/// Rounds of a small model.
#[derive(Debug)]
pub struct Rounds {
    unit: PrivacyUnit,
    fault: Fault,
    model: ModelConfig,
    settings: RoundSettings,
}

impl Rounds {
    /// Rounds that cost `target` each, with this fault.
    ///
    /// # Errors
    /// [`LabError::Config`] for a target whose noise does not fit.
    pub fn new(target: Target, fault: Fault) -> Result<Self, LabError> {
        let classes = vec!["one".to_owned(), "other".to_owned()];
        let model = ModelConfig { moe_layers: 1, experts: 3, rank: 1, ..ModelConfig::new(classes) };
        let clips = Clips { update_log2: 0, region_milli: 1000 };
        let settings = settings(&model, MEMBERS, clips, Some(target))?;
        Ok(Self { unit: target.unit, fault, model, settings })
    }

    fn round(
        &self,
        canaries: &[(Canary, bool)],
        permits: &mut Permits,
        random: &mut ChaCha20Rng,
    ) -> Result<Vec<Contribution>, LabError> {
        let mut contributions = Vec::with_capacity(MEMBERS);
        for (member, (canary, included)) in canaries.iter().enumerate() {
            let settings = self.fault.settings(&self.settings, member);
            let plan = plan(&settings, &zeros(&self.model), 1);
            let result = canary.result(*included, &self.model, &self.settings)?;
            let permit = permits.next(&plan)?;
            contributions.push(prepare(&plan, &self.start(), &result, permit, random)?.0);
        }
        Ok(contributions)
    }

    fn start(&self) -> Model {
        Model::new(zeros(&self.model).into_values())
    }

    /// How much likelier the release is with the canary than without, as a logarithm, were the noise what it is said to be.
    fn likelihood_ratio(&self, canary: Canary, sums: &[Vec<i64>], own: &Contribution) -> f64 {
        let of_block = |(block, sum): (&PlannedBlock, &Vec<i64>)| {
            let at = canary.coordinate(&block.shape);
            let clip = f64::from(block.scale.clip_steps);
            let expected = [true, false].map(|included| canary.length(included) * clip);
            let variance = f64::from(block.noise_steps).powi(2) * HONEST as f64;
            let announced = own.sketches.get(&block.shape.id);
            let sketched = announced.map_or(0.0, |announced| self.of_sketches(canary, block, announced));
            log_ratio(sum[at] as f64, expected) / variance + sketched
        };
        self.settings.blocks.iter().zip(sums).map(of_block).sum()
    }

    fn of_sketches(&self, canary: Canary, block: &PlannedBlock, announced: &ExpertSketch) -> f64 {
        let [present, absent] = canary.sketches(block, &self.settings);
        let of = |announced: &[i16], present: &[i16], absent: &[i16]| -> f64 {
            let pairs = present.iter().zip(absent).map(|(one, other)| [f64::from(*one), f64::from(*other)]);
            pairs.zip(announced).map(|(expected, seen)| log_ratio(f64::from(*seen), expected)).sum()
        };
        let counts = [present.tokens, absent.tokens].map(f64::from);
        let sketch = &self.settings.sketch;
        let coordinates = of(&announced.region, &present.region, &absent.region)
            + of(&announced.update, &present.update, &absent.update);
        coordinates / f64::from(sketch.noise_steps).powi(2)
            + log_ratio(f64::from(announced.tokens), counts) / f64::from(sketch.count_noise).powi(2)
    }

    /// The round behind masks must yield the model that the plain sums yield.
    fn check(&self, contributions: &[Contribution], sums: &[Vec<i64>], seed: u64) -> Result<(), LabError> {
        let mut all = contributions.to_vec();
        all.push(self.corrupt(&contributions[0]));
        let mut masked = Masked::new(MEMBERS, self.settings.clone(), zeros(&self.model).into_values(), seed)?;
        let opened = masked.round(all)?.model;
        let expected: Vec<Vec<f32>> =
            self.settings.blocks.iter().zip(sums).map(|(block, sum)| self.applied(block, sum)).collect();
        if opened == expected { Ok(()) } else { Err(LabError::OtherSum) }
    }

    /// What the corrupt member contributes: zeros. Its sketches are as good as any.
    fn corrupt(&self, honest: &Contribution) -> Contribution {
        let integers = honest.integers.iter().map(|block| vec![0; block.len()]).collect();
        Contribution { integers, sketches: honest.sketches.clone() }
    }

    fn applied(&self, block: &PlannedBlock, sum: &[i64]) -> Vec<f32> {
        let mut parameters = vec![0.0; sum.len()];
        let total = CohortTotal { weight: MEMBERS as u64, max_weight: 1, noise_steps: block.noise_steps };
        // As the protocol has it, a block whose sum is out of range stays as it is.
        let _ = block.scale.apply(block.shape.kind, &mut parameters, sum, total);
        parameters
    }
}

impl Mechanism for Rounds {
    fn claimed(&self) -> Result<Account, LabError> {
        let all = releases(&self.settings, self.unit).map_err(LedgerError::from)?;
        Ok(account(all.iter().filter(|release| self.fault.charges(release.released))))
    }

    fn scores(&mut self, included: &[bool], seed: u64) -> Result<Vec<f64>, LabError> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut permits = Permits::counting(self.unit)?;
        let mut scores = Vec::with_capacity(included.len());
        for (round, bits) in included.chunks(HONEST).enumerate() {
            let canary = |(member, bit): (usize, &bool)| {
                (Canary { number: round * HONEST + member, unit: self.unit }, *bit)
            };
            // A last round of fewer canaries still has every honest member's noise.
            let padded = bits.iter().chain(std::iter::repeat(&false)).take(HONEST);
            let canaries: Vec<(Canary, bool)> = padded.enumerate().map(canary).collect();
            let contributions = self.round(&canaries, &mut permits, &mut random)?;
            let sums = sums(&contributions);
            if round == 0 {
                self.check(&contributions, &sums, seed)?;
            }
            let own = canaries.iter().zip(&contributions).take(bits.len());
            scores.extend(own.map(|((canary, _), own)| self.likelihood_ratio(*canary, &sums, own)));
        }
        Ok(scores)
    }
}

/// The sum of each block over members.
pub(super) fn sums(contributions: &[Contribution]) -> Vec<Vec<i64>> {
    let blocks = contributions.first().map_or(0, |own| own.integers.len());
    let of = |block: usize| {
        let mut sum = vec![0i64; contributions[0].integers[block].len()];
        for own in contributions {
            sum.iter_mut().zip(&own.integers[block]).for_each(|(sum, value)| *sum += i64::from(*value));
        }
        sum
    };
    (0..blocks).map(of).collect()
}

/// The logarithm of the ratio of two normal densities of variance 1 around the expected values.
fn log_ratio(seen: f64, [present, absent]: [f64; 2]) -> f64 {
    (present - absent) * (seen - f64::midpoint(present, absent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_other_than_what_opens_behind_masks_is_noticed() {
        let rounds =
            Rounds::new(Target { unit: PrivacyUnit::Member, rho: 1.0 }, Fault::None).expect("it fits");
        let mut permits = Permits::counting(PrivacyUnit::Member).expect("a folder for ledgers");
        let canary = |number| (Canary { number, unit: PrivacyUnit::Member }, true);
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let contributions =
            rounds.round(&[canary(0), canary(1), canary(2)], &mut permits, &mut random).expect("prepared");
        let mut sums = sums(&contributions);
        rounds.check(&contributions, &sums, 1).expect("the plain sum is what opens");
        sums[0][7] += 1 << 12;
        assert!(matches!(rounds.check(&contributions, &sums, 1), Err(LabError::OtherSum)));
    }
}
