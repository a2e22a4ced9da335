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
        let frequencies: Vec<f32> = frequencies(config).into_iter().map(|value| value as f32).collect();
        let places = Tensor::arange(positions, (Kind::Float, Device::Cpu));
        let angles = uploaded(&places.outer(&Tensor::from_slice(&frequencies)), device);
        let magnitude = match config.scaling {
            RopeScaling::Yarn { magnitude, .. } => magnitude,
            _ => 1.0,
        };
        Self {
            cosines: (angles.cos() * magnitude).to_kind(kind),
            sines: (angles.sin() * magnitude).to_kind(kind),
            interleaved: config.interleaved,
        }
    }

    /// Rotates `[texts, heads, positions, width]`. Interleaved pairs come out as halves, which changes no product of
    /// queries and keys, as both are permuted alike.
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

/// Radians a position, for each pair that is rotated.
fn frequencies(config: &RopeConfig) -> Vec<f64> {
    let width = config.width as f64;
    let plain = (0..config.width / 2).map(|pair| config.theta.powf(-2.0 * pair as f64 / width));
    match config.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
        RopeScaling::Yarn { factor, original_positions, beta_fast, beta_slow, .. } => {
            // The pair that turns this often over the original model's positions.
            let pair =
                |turns: f64| width * (original_positions / (turns * TAU)).ln() / (2.0 * config.theta.ln());
            let low = pair(beta_fast).floor().max(0.0);
            let high = pair(beta_slow).ceil().min(width - 1.0);
            let span = if low == high { 0.001 } else { high - low };
            let stretched = |(index, frequency): (usize, f64)| {
                let share = ((index as f64 - low) / span).clamp(0.0, 1.0);
                frequency / factor * share + frequency * (1.0 - share)
            };
            plain.enumerate().map(stretched).collect()
        }
    }
}
