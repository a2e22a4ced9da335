//! T5's relative positions (Raffel et al. 2020, section 2.1): a bias on attention scores that depends on the
//! distance.

use tch::{Device, Tensor};

use crate::device::uploaded;
use crate::families::config::switch::SwitchConfig;

/// The bias on the scores of `longest` positions, `[1, heads, longest, longest]`; −∞ where a decoder would
/// look ahead.
pub(crate) fn bias(config: &SwitchConfig, relative: &Tensor, longest: i64, looks_ahead: bool) -> Tensor {
    let distances = (0..longest).flat_map(|place| (0..longest).map(move |other| other - place));
    let buckets: Vec<i64> = distances
        .map(|distance| bucket(distance, config.buckets as i64, config.distance as i64, looks_ahead))
        .collect();
    let buckets = uploaded(&Tensor::from_slice(&buckets), relative.device());
    let added =
        relative.index_select(0, &buckets).view([longest, longest, -1]).permute([2, 0, 1]).unsqueeze(0);
    match looks_ahead {
        true => added.to_kind(tch::Kind::Float),
        false => added.to_kind(tch::Kind::Float) + ahead(longest, relative.device()),
    }
}

/// −∞ above the diagonal.
fn ahead(longest: i64, device: Device) -> Tensor {
    Tensor::full([longest, longest], f64::NEG_INFINITY, (tch::Kind::Float, device)).triu(1)
}

/// The bucket of a distance. Near distances have buckets of their own, and far ones share buckets whose width
/// grows logarithmically. Computed in f32, as in transformers, so that far distances fall into the same
/// buckets.
fn bucket(distance: i64, buckets: i64, most: i64, looks_ahead: bool) -> i64 {
    // In the encoder, half of the buckets are for tokens that follow. The decoder uses all for what is
    // before.
    let (half, offset, distance) = match looks_ahead {
        true => (buckets / 2, if distance > 0 { buckets / 2 } else { 0 }, distance.abs()),
        false => (buckets, 0, (-distance).max(0)),
    };
    let exact = half / 2;
    if distance < exact {
        return offset + distance;
    }
    let share = (distance as f32 / exact as f32).ln() / (most as f32 / exact as f32).ln();
    offset + (exact + (share * (half - exact) as f32) as i64).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_buckets_of_their_own_and_far_ones_share() {
        let ahead: Vec<i64> = (0..5).map(|distance| bucket(distance, 32, 128, true)).collect();
        assert_eq!(ahead, [0, 17, 18, 19, 20]);
        assert_eq!(bucket(-3, 32, 128, false), 3);
        assert_eq!(bucket(3, 32, 128, false), 0);
        assert_eq!(bucket(-127, 32, 128, false), 31);
        assert_eq!(bucket(-1000, 32, 128, false), 31);
    }
}
