//! Late sketches: projections of uploads that nobody could know before all uploads were sealed (`LATE-02`).
//!
//! An entry of a row is 0 with probability one half, and 1 or −1 with a quarter each. Why not ±1 alone: half
//! the ring, added to an even number of coordinates, would cancel in every row. With zeros, each row shows
//! such a lie with probability one half.

use cloister_params::fixed::RingWidth;
use cloister_params::id::Digest;
use cloister_params::late::LATE_ROWS;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The projection of one block in one round.
///
/// Coordinate `i` takes words `2i` and `2i + 1` of the ChaCha20 stream under the seed (64-bit words, stream
/// 0): row `r` is 0 if bit `r` of the first is 0, else plus if bit `r` of the second is 1, else minus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LateProjection {
    seed: Digest,
}

impl LateProjection {
    /// The projection under a seed, which follows from the cohort's opened seeds of the block.
    pub fn new(seed: Digest) -> Self {
        Self { seed }
    }

    /// All rows over the words of a vector, as words of the ring.
    ///
    /// # Timing
    /// It does not depend on the words, which may be secret. The projection is public.
    pub fn rows(self, ring: RingWidth, words: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut stream = ChaCha20Rng::from_seed(self.seed.0);
        let mut sums = [0u32; LATE_ROWS];
        for word in words {
            // All rows share two random words for each coordinate: one pass over a long vector is enough.
            let (present, plus) = (stream.next_u64(), stream.next_u64());
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(word.wrapping_mul(entry(present, plus, row)));
            }
        }
        sums.into_iter().map(|sum| ring.reduce(sum)).collect()
    }

    /// One row over the words of a vector, as a word of the ring: the row about which members answer when
    /// their sketches do not add up to the sum.
    pub fn row(self, row: usize, ring: RingWidth, words: impl IntoIterator<Item = u32>) -> u32 {
        let mut stream = ChaCha20Rng::from_seed(self.seed.0);
        let sum = words.into_iter().fold(0u32, |sum, word| {
            let (present, plus) = (stream.next_u64(), stream.next_u64());
            sum.wrapping_add(word.wrapping_mul(entry(present, plus, row)))
        });
        ring.reduce(sum)
    }
}

/// The entry of a row: 0, 1 or −1 mod 2³², without a branch.
fn entry(present: u64, plus: u64, row: usize) -> u32 {
    let (present, plus) = ((present >> row & 1) as u32, (plus >> row & 1) as u32);
    present.wrapping_mul(plus.wrapping_mul(2).wrapping_sub(1))
}

/// The sum of the squares of rows. Each row counts as the signed integer that it stands for.
pub fn squared_norm(ring: RingWidth, rows: &[u32]) -> u128 {
    // 48 squares of up to 2⁶² do not fit 64 bits.
    rows.iter().map(|row| u128::from(ring.lift(*row).unsigned_abs()).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(bits: u8) -> RingWidth {
        RingWidth::new(bits).expect("supported")
    }

    proptest! {
        /// LATE-02
        #[test]
        fn rows_are_linear_and_one_by_one_the_same(
            pairs in prop::collection::vec(any::<(u32, u32)>(), 0..200),
            seed in any::<[u8; 32]>(),
            bits in prop::sample::select(vec![16u8, 24, 32]),
        ) {
            let (ring, projection) = (ring(bits), LateProjection::new(Digest(seed)));
            let first = projection.rows(ring, pairs.iter().map(|pair| pair.0));
            let second = projection.rows(ring, pairs.iter().map(|pair| pair.1));
            let both = projection.rows(ring, pairs.iter().map(|pair| pair.0.wrapping_add(pair.1)));
            for row in 0..LATE_ROWS {
                prop_assert_eq!(ring.reduce(first[row].wrapping_add(second[row])), both[row]);
                prop_assert_eq!(projection.row(row, ring, pairs.iter().map(|pair| pair.0)), first[row]);
            }
        }
    }

    /// LATE-02
    #[test]
    fn entries_are_half_zeros_and_balanced() {
        let mut counts = [0usize; 3];
        for at in 0..400 {
            let unit = (0..400).map(|i| u32::from(i == at));
            for row in LateProjection::new(Digest([5; 32])).rows(ring(32), unit) {
                counts[row.wrapping_add(1) as usize] += 1;
            }
        }
        let [minus, zero, plus] = counts;
        assert_eq!(minus + zero + plus, 400 * LATE_ROWS);
        for (got, expected) in [(minus, 4800i64), (zero, 9600), (plus, 4800)] {
            assert!((got as i64 - expected).abs() < 400, "{counts:?}");
        }
    }

    /// LATE-04
    #[test]
    fn half_the_ring_in_two_coordinates_shows() {
        let half = 1u32 << 31;
        let lie = (0..5000).map(|i| if i == 17 || i == 4000 { half } else { 0 });
        let rows = LateProjection::new(Digest([6; 32])).rows(ring(32), lie);
        let hit = rows.iter().filter(|row| **row == half).count();
        assert!((8..40).contains(&hit), "{hit}");
        assert!(squared_norm(ring(32), &rows) >= 1 << 62);
    }
}
