//! The fixed-point domain: how an update becomes integers of a ring, and how a sum of them becomes a mean.
//!
//! Masks only cancel in a ring of integers. Everything here is exact or rounded the same way on every
//! machine, because every party computes the model from the opened sums, and its digest must be the same
//! everywhere (`ROUND-21`).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::block::BlockKind;
use crate::router::RouterUpdate;
use crate::rule;

/// Why an update did not become integers, or a sum did not become parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FixedPointError {
    /// An update holds NaN or an infinity, which no clip can mend.
    #[error(
        "coordinate {index} of the update is not a finite number: local training diverged; check the \
         learning rate and the data"
    )]
    NotFinite {
        /// Index of the coordinate in its block.
        index: usize,
    },
    /// A sum of consistency weights that honest members cannot have made.
    #[error(
        "a router's sum of consistency weights is {got} steps; honest members make {low} to {high}, so \
         that a member of the cohort lied about its weight"
    )]
    ConsistencyWeight {
        /// The opened sum, in steps.
        got: i64,
        /// The least sum that honest members can make.
        low: i64,
        /// The largest sum that honest members can make.
        high: i64,
    },
}

/// The width of the ring that masked words live in: 16, 24 or 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RingWidth(u8);

impl RingWidth {
    /// A ring of `bits`; `None` if this is not one of the supported widths.
    pub fn new(bits: u8) -> Option<Self> {
        matches!(bits, 16 | 24 | 32).then_some(Self(bits))
    }

    /// Bits of a word.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Bytes of a packed word.
    pub fn bytes(self) -> usize {
        usize::from(self.0 / 8)
    }

    /// Whether the width is one that [`RingWidth::new`] accepts. A decoded one may not be.
    pub fn is_supported(self) -> bool {
        Self::new(self.0).is_some()
    }

    /// Writes each word's low bits, little-endian (`MASK-06`).
    pub fn pack(self, words: &[u32]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(words.len() * self.bytes());
        for word in words {
            packed.extend_from_slice(&word.to_le_bytes()[..self.bytes()]);
        }
        packed
    }

    /// Reads packed words. An incomplete word at the end is left out; the caller checks the length before.
    pub fn unpack(self, packed: &[u8]) -> Vec<u32> {
        packed.chunks_exact(self.bytes()).map(le_word).collect()
    }

    /// Adds packed words to running sums mod 2³². Every narrower ring's size divides 2³², so that the low
    /// bits of the sums are right in each ring, and nothing needs to be reduced in between.
    pub fn add_packed(self, sums: &mut [u32], packed: &[u8]) {
        for (sum, chunk) in sums.iter_mut().zip(packed.chunks_exact(self.bytes())) {
            *sum = sum.wrapping_add(le_word(chunk));
        }
    }

    /// The low bits of a word: the ring element that it stands for.
    pub fn reduce(self, word: u32) -> u32 {
        word & (u32::MAX >> (32 - u32::from(self.0)))
    }

    /// The signed integer that a ring element stands for, between −2^(w−1) and 2^(w−1)−1.
    pub fn lift(self, word: u32) -> i64 {
        // The arithmetic shift back copies the ring's top bit, the sign, into all unused bits.
        let unused = 32 - u32::from(self.0);
        i64::from((word << unused).cast_signed() >> unused)
    }
}

fn le_word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// 2 to this power, built from the bits of a float. `exp2` of a mathematical library may round differently on
/// another machine, and what is computed with this number enters digests that every party compares
/// (`ROUND-21`).
pub const fn power_of_two(exponent: i8) -> f64 {
    // An `i8` stays far within the exponents of normal floats, which a fraction of 0 makes powers of two.
    const BIAS: u64 = 1023;
    const FRACTION_BITS: u32 = 52;
    f64::from_bits(BIAS.wrapping_add_signed(exponent as i64) << FRACTION_BITS)
}

/// How one block's reals become integers. The plan sets it for each block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scale {
    /// A quantisation step is 2 to this power, in the unit of the update; from −64 to 32 (`PLAN-19`).
    pub step_log2: i8,
    /// The L2 clip of the block's update, in steps; also the largest size of one integer. Below 2³¹
    /// (`PLAN-06`), and at least 1, or 4 for a router (`PLAN-19`).
    pub clip_steps: u32,
}

/// An update as integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quantised {
    /// One integer for each coordinate, of at most `clip_steps` in size.
    pub integers: Vec<i32>,
    /// Whether the update's norm was above the clip, so that it was scaled down.
    pub clipped: bool,
}

impl Scale {
    /// The size of a step, in the unit of the update.
    pub fn step(self) -> f64 {
        power_of_two(self.step_log2)
    }

    /// The L2 clip, in the unit of the update.
    pub fn clip(self) -> f64 {
        f64::from(self.clip_steps) * self.step()
    }

    /// The largest L2 norm, in steps, of the integers that [`Scale::quantise`] makes of a block (`PRIV-04`):
    /// the clip, because rounding keeps to it. A router's consistency weight, of at most the clip as well,
    /// comes on top.
    pub fn largest_norm(self, kind: BlockKind) -> f64 {
        let clip = f64::from(self.clip_steps);
        if matches!(kind, BlockKind::Router { .. }) { std::f64::consts::SQRT_2 * clip } else { clip }
    }

    /// The largest L2 distance, in steps, of the integers that [`Scale::quantise`] makes of two updates of a
    /// block (`PRIV-04`).
    ///
    /// Two updates within the clip are at most twice the clip apart. The consistency weights of a router are
    /// apart by no more than their range. Distributions and counts have no coordinate below 0, so that the scalar
    /// product of two is at least 0 and the square of their distance is at most the sum of their squares.
    pub fn largest_change(self, kind: BlockKind) -> f64 {
        let clip = f64::from(self.clip_steps);
        match kind {
            BlockKind::Expert { .. } | BlockKind::Shared | BlockKind::Regions { .. } => 2.0 * clip,
            BlockKind::Router { .. } => (2.0 * clip).hypot(clip - f64::from(self.weight_steps(0.0))),
            BlockKind::Routing { .. } | BlockKind::Evaluation => std::f64::consts::SQRT_2 * clip,
        }
    }

    /// The least noise of each member on an evaluation of this scale, in steps (`PLAN-21`).
    pub fn least_evaluation_noise(self) -> u32 {
        self.clip_steps.div_ceil(64).max(1)
    }

    /// A consistency weight in steps, clamped to its range of ¼ to 1.
    fn weight_steps(self, weight: f32) -> i32 {
        (f64::from(weight).clamp(0.25, 1.0) * f64::from(self.clip_steps)).round_ties_even() as i32
    }

    /// Clips a block's update to the L2 norm of the plan and rounds it to steps, ties to even, so that the
    /// integers keep to the clip as well (`MASK-07`).
    ///
    /// A router's consistency weight ([`RouterUpdate`]) does not count in the norm, and a weight of 1 becomes
    /// `clip_steps`. The integers of distributions and counts are not negative.
    ///
    /// # Errors
    /// A coordinate that is not finite.
    pub fn quantise(self, kind: BlockKind, update: &[f32]) -> Result<Quantised, FixedPointError> {
        // Before the clip: a norm that is NaN is not above it, and nothing would be clipped.
        if let Some(index) = update.iter().position(|value| !value.is_finite()) {
            return Err(FixedPointError::NotFinite { index });
        }
        let router = match kind {
            BlockKind::Router { .. } => RouterUpdate::split(update),
            _ => None,
        };
        let clipped_part = router.map_or(update, |router| router.parameters);
        // Squares of 32-bit floats cannot overflow a 64-bit sum. They are added in order (`MASK-07`), because
        // another order can round to another norm.
        let norm = clipped_part.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        let shrink = if norm > self.clip() { self.clip() / norm } else { 1.0 };
        let limit = f64::from(self.clip_steps);
        let least = if kind.is_signed() { -limit } else { 0.0 };
        let mut integers = Vec::with_capacity(update.len());
        let mut rounded_away = Vec::with_capacity(clipped_part.len());
        for value in clipped_part {
            // Steps are powers of two, so that only the multiplication rounds.
            let exact = f64::from(*value) * shrink / self.step();
            // Only rounding errors can take a coordinate above the clip. Distributions and counts have none below 0.
            let integer = exact.round_ties_even().clamp(least, limit) as i32;
            integers.push(integer);
            rounded_away.push(f64::from(integer.unsigned_abs()) > exact.abs());
        }
        keep_within(&mut integers, self.clip_steps, &rounded_away);
        if let Some(router) = router {
            integers = RouterUpdate::join(integers, self.weight_steps(router.consistency_weight));
        }
        Ok(Quantised { integers, clipped: shrink < 1.0 })
    }

    /// Applies an opened sum to the parameters of its block (`ROUND-21`). Every party that does this gets the
    /// same bits, because it is one IEEE 754 multiplication, division and addition for each coordinate, and
    /// Rust never fuses them.
    ///
    /// # Errors
    /// A router's sum of consistency weights that weights between ¼ and 1 cannot make, noise included.
    pub fn apply(
        self,
        kind: BlockKind,
        parameters: &mut [f32],
        sum: &[i64],
        total: CohortTotal,
    ) -> Result<(), FixedPointError> {
        match kind {
            BlockKind::Expert { .. } | BlockKind::Shared => {
                self.add_mean(parameters, sum, total.weight as f64);
            }
            BlockKind::Router { .. } => {
                let Some(router) = RouterUpdate::split(sum) else { return Ok(()) };
                let divisor = self.consistency_total(router.consistency_weight, total)?;
                self.add_mean(parameters, router.parameters, divisor);
            }
            BlockKind::Routing { .. } => publish_distribution(parameters, sum),
            BlockKind::Evaluation => self.publish_counts(parameters, sum),
            BlockKind::Regions { .. } => self.publish_mean(parameters, sum, total.weight as f64),
        }
        Ok(())
    }

    fn add_mean(self, parameters: &mut [f32], sum: &[i64], divisor: f64) {
        for (parameter, total) in parameters.iter_mut().zip(sum) {
            *parameter = (f64::from(*parameter) + *total as f64 * self.step() / divisor) as f32;
        }
    }

    fn publish_mean(self, mean: &mut [f32], sum: &[i64], divisor: f64) {
        for (value, total) in mean.iter_mut().zip(sum) {
            *value = (*total as f64 * self.step() / divisor) as f32;
        }
    }

    /// Makes a noised sum of counts counts: negative ones become 0.
    fn publish_counts(self, counts: &mut [f32], sum: &[i64]) {
        for (count, total) in counts.iter_mut().zip(sum) {
            *count = ((*total).max(0) as f64 * self.step()) as f32;
        }
    }

    /// The sum of weighted consistency weights: rejected outside the range that it has with its noise, and
    /// clamped to the range that it has without noise (`ALIGN-12`). Without the clamp, noise could make the
    /// divisor small and the router's step larger than any member's.
    fn consistency_total(self, opened: i64, total: CohortTotal) -> Result<f64, FixedPointError> {
        let weight = total.weight.cast_signed();
        // Rounded down, so that a member's weight of ¼, which it rounds to the nearest step, is not below.
        let [least, most] = [self.clip_steps / 4, self.clip_steps].map(|steps| i64::from(steps) * weight);
        let (low, high) = (least - total.noise_reach(), most + total.noise_reach());
        if !rule::in_force("ALIGN-12") {
            return Ok(opened as f64 / f64::from(self.clip_steps));
        }
        if !(low..=high).contains(&opened) {
            return Err(FixedPointError::ConsistencyWeight { got: opened, low, high });
        }
        Ok(opened.clamp(least, most) as f64 / f64::from(self.clip_steps))
    }
}

/// Moves coordinates one step toward zero, in order, until their L2 norm is at most `clip` steps: first those
/// that were rounded away from zero. Before rounding, a clipped vector is within the clip. So the first pass
/// is enough, but for the rounding errors of 64-bit floats, for which the second pass takes any coordinate.
fn keep_within(integers: &mut [i32], clip: u32, rounded_away: &[bool]) {
    // 2³² squares of up to 2⁶² do not fit 64 bits.
    let most = u128::from(clip).pow(2);
    let mut squares: u128 = integers.iter().map(|integer| u128::from(integer.unsigned_abs()).pow(2)).sum();
    for any in [false, true] {
        for (integer, rounded_away) in integers.iter_mut().zip(rounded_away) {
            if squares <= most {
                return;
            }
            if *integer != 0 && (any || *rounded_away) {
                // n² - (n - 1)²
                squares -= 2 * u128::from(integer.unsigned_abs()) - 1;
                *integer -= integer.signum();
            }
        }
    }
}

/// What applying a sum needs to know of its cohort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CohortTotal {
    /// The sum of the cohort's weights, at least 1.
    pub weight: u64,
    /// The largest weight that the plan allows, 1 to 15.
    pub max_weight: u8,
    /// Standard deviation of each member's noise, in steps.
    pub noise_steps: u32,
}

impl CohortTotal {
    /// Six standard deviations of the sum's noise, or a little more, because `sum of w² <= w_max · sum of w`.
    fn noise_reach(self) -> i64 {
        let squares = u64::from(self.max_weight) * self.weight;
        let root = squares.isqrt() + u64::from(squares.isqrt().pow(2) < squares);
        6 * i64::from(self.noise_steps) * root.cast_signed()
    }
}

/// Makes a noised sum of distributions a distribution: negative entries become 0, and the others are scaled
/// to sum to 1. A sum without a positive entry changes nothing.
fn publish_distribution(distribution: &mut [f32], sum: &[i64]) {
    let total: i64 = sum.iter().map(|entry| (*entry).max(0)).sum();
    if total > 0 {
        for (entry, count) in distribution.iter_mut().zip(sum) {
            *entry = ((*count).max(0) as f64 / total as f64) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
