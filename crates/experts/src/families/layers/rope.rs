//! Rotary positions.

use std::f64::consts::TAU;

use tch::{Device, Kind, Tensor};

use crate::device::uploaded;
use crate::families::config::{RopeConfig, RopeScaling};

/// Cosines and sines of the first positions, `[positions, width / 2]` each.
pub(crate) struct Rotation {
    cosines: Tensor,
    sines: Tensor,
    interleaved: bool,
}

impl Rotation {
    /// For the positions `0..positions`.
    pub(crate) fn new(config: &RopeConfig, positions: i64, kind: Kind, device: Device) -> Self {
        // Computed in f64 and rounded once. Angles are f32, as in transformers.
        let frequencies: Vec<f32> = frequencies(config).into_iter().map(|value| value as f32).collect();
        let places = Tensor::arange(positions, (Kind::Float, Device::Cpu));
        let angles = uploaded(&places.outer(&Tensor::from_slice(&frequencies)), device);
        let magnitude = match config.scaling {
            RopeScaling::Yarn { magnitude, .. } => magnitude,
            _ => 1.0,
        };
        Self {
            // Queries and keys are both rotated, so scores grow by the square of the magnitude.
            cosines: (angles.cos() * magnitude).to_kind(kind),
            sines: (angles.sin() * magnitude).to_kind(kind),
            interleaved: config.interleaved,
        }
    }

    /// Rotates `[texts, heads, positions, width]`. Interleaved pairs come out as halves. This changes no
    /// product of queries and keys, because both are permuted alike.
    pub(crate) fn apply(&self, heads: &Tensor) -> Tensor {
        let width = heads.size()[3];
        let (first, second) = match self.interleaved {
            true => (heads.slice(-1, 0, width, 2), heads.slice(-1, 1, width, 2)),
            false => (heads.narrow(-1, 0, width / 2), heads.narrow(-1, width / 2, width / 2)),
        };
        let (cosines, sines) = (&self.cosines, &self.sines);
        Tensor::cat(&[&first * cosines - &second * sines, second * cosines + first * sines], -1)
    }
}

/// The angle between neighbouring positions in radians, for each pair of coordinates that is rotated.
fn frequencies(config: &RopeConfig) -> Vec<f64> {
    let width = config.width as f64;
    let plain = (0..config.width / 2).map(|pair| config.theta.powf(-2.0 * pair as f64 / width));
    match config.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
        RopeScaling::Yarn { factor, original_positions, beta_fast, beta_slow, truncated, .. } => {
            let low = pair_with_turns(config, original_positions, beta_fast);
            let high = pair_with_turns(config, original_positions, beta_slow);
            let (low, high) = if truncated { (low.floor(), high.ceil()) } else { (low, high) };
            // There are only width / 2 pairs, but this is the bound of transformers, and it changes the
            // slope.
            let (low, high) = (low.max(0.0), high.min(width - 1.0));
            // transformers has 0.001 here too, so that nothing is divided by 0.
            let span = if low == high { 0.001 } else { high - low };
            let mut stretched = Vec::with_capacity(config.width / 2);
            for (index, frequency) in plain.enumerate() {
                let share = ((index as f64 - low) / span).clamp(0.0, 1.0);
                stretched.push(frequency / factor * share + frequency * (1.0 - share));
            }
            stretched
        }
        RopeScaling::Llama3 { factor, original_positions, low, high } => {
            let mut stretched = Vec::with_capacity(config.width / 2);
            for frequency in plain {
                // How often the wavelength fits into the original model's positions.
                let turns = original_positions * frequency / TAU;
                // The clamp is the two outer cases of transformers: below `low` stretched in full, above
                // `high` not at all.
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                stretched.push(frequency / factor * (1.0 - share) + frequency * share);
            }
            stretched
        }
    }
}

/// The pair, as a real number, that turns this often over the original model's positions.
fn pair_with_turns(config: &RopeConfig, original_positions: f64, turns: f64) -> f64 {
    config.width as f64 * (original_positions / (turns * TAU)).ln() / (2.0 * config.theta.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of `ROPE_INIT_FUNCTIONS` of transformers 5.23, base 500,000 and width 16.
    #[test]
    fn stretched_frequencies_are_those_of_transformers() {
        let llama = RopeScaling::Llama3 { factor: 8.0, original_positions: 8192.0, low: 1.0, high: 4.0 };
        let yarn = |truncated| RopeScaling::Yarn {
            factor: 4.0,
            original_positions: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncated,
            magnitude: 1.0,
            score_magnitude: 1.0,
        };
        let expected = [
            (
                llama,
                [
                    1.0,
                    0.193_922_76,
                    0.037_606_03,
                    0.007_292_665,
                    0.000_524_846,
                    3.428_102e-5,
                    6.647_87e-6,
                    1.289_173e-6,
                ],
            ),
            (
                yarn(false),
                [
                    1.0,
                    0.193_922_76,
                    0.035_437_73,
                    0.004_283_528,
                    0.000_353_553_4,
                    6.856_205e-5,
                    1.329_574e-5,
                    2.578_346e-6,
                ],
            ),
            (
                yarn(true),
                [
                    1.0,
                    0.193_922_76,
                    0.028_204_52,
                    0.003_646_332,
                    0.000_353_553_4,
                    6.856_205e-5,
                    1.329_574e-5,
                    2.578_346e-6,
                ],
            ),
        ];
        for (scaling, expected) in expected {
            let config = RopeConfig { theta: 500_000.0, width: 16, interleaved: false, scaling };
            for (got, expected) in frequencies(&config).into_iter().zip(expected) {
                assert!((got / expected - 1.0).abs() < 1e-5, "{:?}: {got} for {expected}", config.scaling);
            }
        }
    }
}
