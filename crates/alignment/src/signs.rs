//! Sign sketches: one bit for each coordinate (`ALIGN-14`, `ALIGN-15`).
//!
//! The first half of the coordinates are signs of the projected update. In the second half the sign of the
//! projected update is multiplied by that of the projected region. Two members' products of signs have the mean
//! `D·(1 + A)/2`, where `D` is the angular similarity `1 - 2·angle/π` of their updates and `A` that of their regions:
//! a soft form of the gate that [`score`](crate::score) has.

use cloister_params::plan::SketchValues;

use crate::score::{Consensus, ExpertSketch, UNIT};

/// The signs of a projected update and of a projected region, which has half as many coordinates (`ALIGN-14`).
/// `zero` says of each 0, in order, whether it counts as plus: a fair coin of the member, because members without an
/// update would otherwise agree with one another.
pub fn signs(update: &[i64], region: &[i64], mut zero: impl FnMut() -> bool) -> Vec<u8> {
    let mut bits = vec![0u8; update.len() / 8];
    let half = update.len() - region.len();
    for (at, value) in update.iter().enumerate() {
        let mut is_plus = counts_as_plus(*value, &mut zero);
        if at >= half {
            is_plus = is_plus == counts_as_plus(region[at - half], &mut zero);
        }
        bits[at / 8] |= u8::from(is_plus) << (at % 8);
    }
    bits
}

fn counts_as_plus(value: i64, zero: &mut impl FnMut() -> bool) -> bool {
    if value == 0 { zero() } else { value > 0 }
}

/// A member's region of an expert less the mean of `counted`, which are its regions of experts of the layer with enough
/// tokens, times their number, so that nothing is rounded (`ALIGN-14`). Of fewer than two, nothing is subtracted.
///
/// Hidden states have a large part in common, so that without this the signs of all members' regions would be alike.
pub fn centred(region: &[i64], counted: &[&[i64]]) -> Vec<i64> {
    if counted.len() < 2 {
        return region.to_vec();
    }
    let mut difference: Vec<i64> = region.iter().map(|value| value * counted.len() as i64).collect();
    for region in counted {
        difference.iter_mut().zip(*region).for_each(|(difference, value)| *difference -= value);
    }
    difference
}

/// The same of vectors, before they are projected: each region less the mean of those that are `counted`. An empty
/// region, of an expert that no token used, stays empty and is not counted, and neither is one that is not finite.
pub fn centred_means(regions: &[&[f32]], counted: &[bool]) -> Vec<Vec<f32>> {
    let mut sums = vec![0.0; regions.iter().map(|region| region.len()).max().unwrap_or(0)];
    let mut count = 0usize;
    for (region, _) in regions.iter().zip(counted).filter(|(region, counted)| **counted && is_finite(region))
    {
        count += 1;
        sums.iter_mut().zip(*region).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    if count < 2 {
        return regions.iter().map(|region| region.to_vec()).collect();
    }
    let share = 1.0 / count as f64;
    let mut all = Vec::with_capacity(regions.len());
    for region in regions {
        all.push(
            region.iter().zip(&sums).map(|(value, sum)| (f64::from(*value) - sum * share) as f32).collect(),
        );
    }
    all
}

fn is_finite(region: &[f32]) -> bool {
    !region.is_empty() && region.iter().all(|value| value.is_finite())
}

/// `c_i = sum over j of max(0, <z_i, z_j> - isqrt(m))`, in units of 2⁻¹⁴ of `m`, over the other members with enough
/// tokens (`ALIGN-15`). A sketch of pairs has no signs, and no consensus.
///
/// Disagreement counts as 0, as in the gate of pairs: otherwise one member could take away what another has by
/// announcing the opposite of its bits. An agreement of one standard deviation, which unrelated members have by chance,
/// counts as 0 too: otherwise the positive halves of chance would add up.
pub fn sign_consensus(sketches: &[&ExpertSketch], minimum_tokens: u32, size: u16) -> Consensus {
    let mut members: Vec<Option<&[u8]>> = Vec::with_capacity(sketches.len());
    for sketch in sketches {
        members.push(match &sketch.values {
            SketchValues::Signs(bits) if sketch.tokens >= minimum_tokens => Some(bits),
            _ => None,
        });
    }
    let size = i64::from(size);
    let mut per_member = Vec::with_capacity(members.len());
    for (member, bits) in members.iter().enumerate() {
        per_member.push(bits.map(|bits| {
            let others = members.iter().enumerate().filter(|(other, _)| *other != member);
            let beyond = others.filter_map(|(_, other)| Some(product(bits, (*other)?, size) - size.isqrt()));
            // Sizes are powers of two, so that nothing is rounded.
            (beyond.map(|beyond| beyond.max(0)).sum::<i64>() * UNIT / size) as u32
        }));
    }
    Consensus { per_member, threshold: 0 }
}

/// The scalar product of two sign sketches of this size.
fn product(one: &[u8], other: &[u8], size: i64) -> i64 {
    let differing: u32 = one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum();
    size - 2 * i64::from(differing)
}

/// Coordinate `at` of a sign sketch, 1 or −1; plus beyond its end.
pub fn sign(bits: &[u8], at: usize) -> i64 {
    let is_minus = bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 0);
    if is_minus { -1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use cloister_params::id::{BlockId, Digest};
    use cloister_params::plan::SketchPlan;
    use proptest::prelude::*;

    use super::*;
    use crate::sketch::{SketchSubject, direction, widened};

    const SIZE: u16 = 64;

    fn announced(bits: Vec<u8>, tokens: u32) -> ExpertSketch {
        ExpertSketch { values: SketchValues::Signs(bits), tokens }
    }

    /// ALIGN-14
    #[test]
    fn each_coordinate_has_a_bit_and_regions_turn_the_second_half() {
        let update = [1, -1, 0, 5, 5, -5, 5, -5, -1, -1, -1, -1, -1, -1, -1, -1];
        let region = [1, 1, 0, -1, -1, 1, 1, -1];
        assert_eq!(signs(&update, &region, || true), [0b0101_1101, 0b1001_1000]);
        assert_eq!(signs(&update, &region, || false), [0b0101_1001, 0b1001_1100], "zeros are minus");
        assert_eq!(signs(&update, &[7; 8], || true), [0b0101_1101, 0]);
    }

    /// ALIGN-14
    #[test]
    fn zeros_are_coins_in_the_order_of_coordinates() {
        let mut coins = [true, false, false, true].into_iter();
        let update = [0, 3, -3, 3, 3, 3, 3, 3, 3, 0, 3, 3, 3, 3, 3, 3];
        let region = [5, 0, 0, 5, 5, 5, 5, 5];
        let bits = signs(&update, &region, || coins.next().expect("four zeros"));
        // The update's first and tenth coordinate, and the region's second and third: plus, minus, minus, plus.
        assert_eq!(bits, [0b1111_1011, 0b1111_1111]);
        assert_eq!(coins.next(), None);
    }

    /// ALIGN-14
    #[test]
    fn centring_removes_what_a_members_regions_have_in_common() {
        let regions: [&[i64]; 3] = [&[7, 1, 0], &[7, -2, 3], &[7, 1, 0]];
        let less_mean = regions.map(|region| centred(region, &regions));
        assert_eq!(less_mean, [[0, 3, -3], [0, -6, 6], [0, 3, -3]]);
        assert_eq!(centred(regions[0], &regions[..1]), regions[0], "one region is no mean");
        let means: [&[f32]; 4] = [&[7.0, 1.0], &[7.0, -2.0], &[], &[9.0, 0.0]];
        let less_mean = centred_means(&means, &[true, true, true, false]);
        assert_eq!(less_mean, [vec![0.0, 1.5], vec![0.0, -1.5], vec![], vec![2.0, 0.5]]);
        assert_eq!(centred_means(&means, &[true, false, true, false]), means, "one region is no mean");
        let broken: [&[f32]; 3] = [&[7.0, 1.0], &[f32::NAN, 1.0], &[5.0, 3.0]];
        let less_mean = centred_means(&broken, &[true; 3]);
        assert_eq!((&less_mean[0][..], &less_mean[2][..]), (&[1.0, -1.0][..], &[-1.0, 1.0][..]));
    }

    /// ALIGN-15
    #[test]
    fn opposite_members_and_those_with_few_tokens_have_no_consensus() {
        let here = vec![0b1010_1010; usize::from(SIZE) / 8];
        let against = vec![0b0101_0101; usize::from(SIZE) / 8];
        let all = [
            announced(here.clone(), 9),
            announced(here.clone(), 9),
            announced(here.clone(), 9),
            announced(against, 9),
            announced(here, 4),
        ];
        let scored = sign_consensus(&all.iter().collect::<Vec<_>>(), 5, SIZE).per_member;
        // Two others that agree; the one that does not takes nothing away.
        let both = Some(2 * (64 - 8) * UNIT as u32 / 64);
        assert_eq!(scored, [both, both, both, Some(0), None]);
    }

    fn vector(seed: usize) -> Vec<f32> {
        (0..800).map(|at| ((at * 37 + seed * 7919) % 1013) as f32 / 506.0 - 1.0).collect()
    }

    fn mixed(one: &[f32], other: &[f32], share: f32) -> Vec<f32> {
        one.iter().zip(other).map(|(a, b)| a + share * b).collect()
    }

    fn product(one: &[f32], other: &[f32]) -> f64 {
        one.iter().zip(other).map(|(x, y)| f64::from(x * y)).sum()
    }

    fn angular_similarity(one: &[f32], other: &[f32]) -> f64 {
        let cosine = product(one, other) / (product(one, one) * product(other, other)).sqrt();
        1.0 - 2.0 * cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI
    }

    fn bits(seed: u8, update: &[f32], region: &[f32]) -> Vec<u8> {
        let plan = SketchPlan {
            seed: Digest([seed; 32]),
            coordinates: 256,
            noise_steps: 0,
            region_clip_milli: 1,
            count_noise: 0,
        };
        let projected = direction(&plan, SketchSubject::Update(BlockId(3)), update);
        let halved = SketchPlan { coordinates: 128, ..plan };
        signs(&widened(&projected), &widened(&direction(&halved, SketchSubject::Region, region)), || true)
    }

    /// ALIGN-14: the mean of products of signs is the angular similarity of updates, times ½ of 1 and that of regions.
    #[test]
    fn products_of_signs_estimate_angles() {
        let (update, region) = (vector(1), vector(2));
        let (near_update, near_region) = (mixed(&update, &vector(3), 0.5), mixed(&region, &vector(4), 0.8));
        let mut sum = 0i64;
        for seed in 0..20 {
            let (one, other) = (bits(seed, &update, &region), bits(seed, &near_update, &near_region));
            sum += (0..256).map(|at| sign(&one, at) * sign(&other, at)).sum::<i64>();
        }
        let regions = angular_similarity(&region, &near_region);
        let expected = angular_similarity(&update, &near_update) * (1.0 + regions) / 2.0;
        let estimate = sum as f64 / 5120.0;
        // Five standard deviations of a mean of 5,120 signs.
        assert!((estimate - expected).abs() < 0.07, "{estimate} is not {expected}");
    }

    proptest! {
        /// ALIGN-15: by members' products, coordinate by coordinate.
        #[test]
        fn consensus_is_the_sum_of_positive_products(
            members in prop::collection::vec((prop::collection::vec(any::<u8>(), 8), 3u32..8), 0..12)
        ) {
            let all: Vec<ExpertSketch> =
                members.iter().map(|(bits, tokens)| announced(bits.clone(), *tokens)).collect();
            let scored = sign_consensus(&all.iter().collect::<Vec<_>>(), 5, SIZE).per_member;
            for (at, (bits, tokens)) in members.iter().enumerate() {
                let others = members.iter().enumerate().filter(|(other, (_, tokens))| *other != at && *tokens >= 5);
                let products = others.map(|(_, (other, _))| {
                    (0..64).map(|place| sign(bits, place) * sign(other, place)).sum::<i64>()
                });
                let sum: i64 = products.map(|product| (product - 8).max(0)).sum();
                let expected = (*tokens >= 5).then_some((sum * UNIT / 64) as u32);
                prop_assert_eq!(scored[at], expected);
            }
        }

        /// ALIGN-15: whatever one member announces, the others keep what they give one another.
        #[test]
        fn one_member_takes_no_consensus_away(
            members in prop::collection::vec(prop::collection::vec(any::<u8>(), 8), 1..9),
            liar in prop::collection::vec(any::<u8>(), 8),
        ) {
            let honest: Vec<ExpertSketch> = members.iter().map(|bits| announced(bits.clone(), 9)).collect();
            let liar = announced(liar, 9);
            let without = sign_consensus(&honest.iter().collect::<Vec<_>>(), 5, SIZE).per_member;
            let all: Vec<&ExpertSketch> = honest.iter().chain([&liar]).collect();
            let with = sign_consensus(&all, 5, SIZE).per_member;
            prop_assert!(without.iter().zip(&with).all(|(without, with)| with >= without));
        }
    }
}
