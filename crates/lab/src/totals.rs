//! Totals of statistics behind masks, with noise and a charge for it if the configuration says so.

use std::collections::BTreeMap;

use cloister_experts::classifier::config::HIDDEN;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::fixed::Scale;
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::per_block::PerBlock;
use cloister_params::plan::PlannedBlock;
use cloister_privacy::accountant::Mechanism;
use cloister_privacy::concentrated::SummedNoise;
use cloister_privacy::discrete_gaussian::sample;
use cloister_privacy::ledger::{Charge, LedgerError};
use cloister_privacy::release::{HONEST_NOISES, Release, Released};
use cloister_protocol::contribution::Contribution;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::accounts::Accounts;
use crate::charges::SeedCharges;
use crate::config::{Config, HeadNoise};
use crate::error::LabError;
use crate::masked::{Masked, settings};
use crate::seeds::{Purpose, seed_for};
use crate::statistics::Statistics;

/// The total of the members' statistics.
#[derive(Clone, PartialEq, Debug)]
pub struct Total {
    /// The total, with the standard deviation of its noise.
    pub statistics: Statistics,
    /// ε of the round by a member's ledger, at the configuration's δ; none without noise.
    pub epsilon: Option<f64>,
    /// What the round releases of each member, for both units.
    pub charges: SeedCharges,
}

/// The fewest steps that one unit changes a sum by. With fewer, rounding would cost more accuracy than the noise does.
const UNIT_STEPS: f64 = 65_536.0;

/// The total of the members' statistics, by one round whose only block they are. `None` for no member.
///
/// Each member's vector is divided by the mean number of texts, so that the mean over members is the mean
/// over texts. That number, and the largest member's share, are taken as known: real members would have to
/// declare them. `round` is the round after which the head is fitted; 0 is before training.
///
/// # Errors
/// [`LabError::Plan`], [`LabError::NoSum`], [`LabError::Ledger`], or [`LabError::FixedPoint`] for features that are not
/// finite.
pub fn total_statistics(
    config: &Config,
    members: &[Statistics],
    run_seed: u64,
    round: usize,
) -> Result<Option<Total>, LabError> {
    let Some(first) = members.first() else {
        return Ok(None);
    };
    let sum = Sum::for_members(config, members);
    let settings = settings(config, vec![sum.planned], true, run_seed);
    let length = first.values().len();
    let consortium = seed_for(run_seed, Purpose::HeadConsortium { round });
    let mut masked = Masked::new(members.len(), settings, vec![vec![0.0; length]], consortium)?;
    let noise_seed = seed_for(run_seed, Purpose::HeadNoise { round });
    let mut random = ChaCha20Rng::seed_from_u64(noise_seed);
    let mut contributions = Vec::with_capacity(members.len());
    // Charged before any noise is drawn: a charge that fails releases nothing.
    let epsilon = sum.charge(members.len())?;
    for statistics in members {
        contributions.push(sum.contribution(statistics, &mut random)?);
    }
    let model = masked.round(contributions)?.model;
    let mean = &model[sum.planned.shape.id];
    let texts = sum.mean_texts * members.len() as f64;
    let total = mean.iter().map(|value| (f64::from(*value) * texts) as f32).collect();
    let total = Statistics::from_values(total, first.classes(), first.width());
    let (noise, charges) = (sum.deviation(members.len()), sum.charges()?);
    Ok(total.map(|total| Total { statistics: total.noised_by(noise), epsilon, charges }))
}

/// How the members' statistics are summed.
struct Sum {
    planned: PlannedBlock,
    mean_texts: f64,
    noise: Option<HeadNoise>,
    /// The largest L2 norm of one text's statistics, divided by the mean number of texts.
    text_norm: f64,
}

impl Sum {
    /// Features have norm 1 in each layer, so the statistics of one text have a norm of at most `sqrt(1 + L +
    /// L·(L + 1)/2)` for `L` layers: 1 for its count, `L` for its class sum, and the upper triangle of its
    /// outer product. The largest member's share of the texts, rounded up, bounds how often that counts.
    /// Without noise, steps are as fine as the ring allows: their rounding must stay small against the
    /// shrinkage.
    fn for_members(config: &Config, members: &[Statistics]) -> Self {
        let layers = members[0].width().div_ceil(HIDDEN) as f64;
        let texts: Vec<f64> = members.iter().map(Statistics::texts).collect();
        let mean_texts = texts.iter().sum::<f64>() / texts.len() as f64;
        let largest = texts.iter().copied().fold(0.0, f64::max) / mean_texts;
        let text = (1.0 + layers + layers * (layers + 1.0) / 2.0).sqrt();
        let clip = largest.ceil() * text;
        let (noise, length) = (config.head.noise, members[0].values().len() as u64);
        let unit = noise.map(|noise| match noise.unit {
            PrivacyUnit::Member => clip,
            PrivacyUnit::Record => text / mean_texts,
        });
        let finest = clip / f64::from(i32::MAX / members.len() as i32);
        let step = unit.map_or(finest, |unit| finest.max(unit / UNIT_STEPS));
        // Rounded up, because a finer step would not fit the ring.
        let step_log2 = step.log2().ceil() as i8;
        let scale = Scale { step_log2, clip_steps: (clip * f64::from(-step_log2).exp2()) as u32 };
        let shape = BlockShape { id: BlockId(0), kind: BlockKind::Shared, length };
        let planned = PlannedBlock { shape, scale, noise_steps: 0 };
        let mut sum = Self { planned, mean_texts, noise, text_norm: text / mean_texts };
        if let Some(noise) = noise {
            // Each member adds a part of the noise; the parts of three honest members together have the
            // multiplier.
            let together = noise.noise_multiplier * sum.sensitivity(noise.unit);
            sum.planned.noise_steps = (together / f64::from(HONEST_NOISES).sqrt()).ceil() as u32;
        }
        sum
    }

    /// The most by which one unit changes the sum, in L2 norm, in steps.
    fn sensitivity(&self, unit: PrivacyUnit) -> f64 {
        let PlannedBlock { shape, scale, .. } = self.planned;
        match unit {
            PrivacyUnit::Member => scale.largest_norm(BlockKind::Shared),
            // With a text more or less each coordinate is rounded by less than one step, in either direction
            // (`MASK-07`).
            PrivacyUnit::Record => self.text_norm / scale.step() + 2.0 * (shape.length as f64).sqrt(),
        }
    }

    fn contribution(
        &self,
        statistics: &Statistics,
        random: &mut ChaCha20Rng,
    ) -> Result<Contribution, LabError> {
        let PlannedBlock { shape, scale, noise_steps } = self.planned;
        let vector: Vec<f32> =
            statistics.values().iter().map(|value| value / self.mean_texts as f32).collect();
        let mut integers = scale.quantise(shape.kind, &vector)?.integers;
        if noise_steps > 0 {
            integers.iter_mut().for_each(|value| *value += sample(noise_steps, random) as i32);
        }
        Ok(Contribution { integers: PerBlock::in_table_order(vec![integers]), sketches: BTreeMap::new() })
    }

    /// What a member's ledger is charged: its own noise and that of `HONEST_NOISES − 1` others (`PRIV-02`).
    fn release(&self, unit: PrivacyUnit) -> Result<Release, LedgerError> {
        let sensitivity = self.sensitivity(unit);
        let (length, sigma) = (self.planned.shape.length, self.planned.noise_steps);
        let noise = SummedNoise { sigma, parties: HONEST_NOISES, length };
        Ok(Release {
            released: Released::SharedSum,
            count: 1,
            coordinates: length,
            sensitivity,
            noise_per_member: sigma,
            honest_noises: HONEST_NOISES,
            mechanism: Mechanism::from_noise(noise, sensitivity)?,
        })
    }

    /// What the round releases of each member, for both units. A sum without noise is unbounded.
    fn charges(&self) -> Result<SeedCharges, LedgerError> {
        let (member, record) = (self.release(PrivacyUnit::Member)?, self.release(PrivacyUnit::Record)?);
        Ok(SeedCharges { member: vec![member.into()], record: vec![record.into()] })
    }

    /// Charges every member's ledger before anything with noise leaves. Returns the ε of one of them, because
    /// all are charged the same. Without noise nothing is promised, and nothing is charged.
    fn charge(&self, members: usize) -> Result<Option<f64>, LabError> {
        let Some(noise) = self.noise else {
            return Ok(None);
        };
        let mut accounts = Accounts::counting(members, noise.unit)?;
        let (epoch, model, releases) =
            (Digest::default(), Digest::default(), vec![self.release(noise.unit)?]);
        for member in 0..members {
            let charge = Charge { epoch, round: Round(1), model, releases: releases.clone(), at: None };
            // Redeemed at once: `prepare`, which usually takes the permit, knows no statistics.
            accounts.charge(member, charge)?.redeem();
        }
        accounts.epsilon(0, noise.delta).map(Some)
    }

    /// Standard deviation of the noise on each value of the total. Every member's noise counts here, corrupt
    /// or not: it is there for the head to cope with.
    fn deviation(&self, members: usize) -> f64 {
        let PlannedBlock { scale, noise_steps, .. } = self.planned;
        (members as f64).sqrt() * f64::from(noise_steps) * scale.step() * self.mean_texts
    }
}
