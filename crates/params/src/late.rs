//! Sizes of late sketches: which blocks have one, and how large an honest one can be.
//!
//! A late sketch is 48 sums over an upload. Members send it after all uploads are sealed, so that a false
//! upload is detected (`protocols/late-sketches.md`).

use crate::block::BlockKind;
use crate::planned_block::PlannedBlock;

/// Rows of a late sketch. Each misses a lie of half the ring with probability one half, and all of them miss
/// it with 2⁻⁴⁸.
pub const LATE_ROWS: usize = 48;

/// A block has a late sketch if it is at least this many times as long as the sketch. The rows over a shorter
/// block would tell too much of each coordinate.
const LENGTHS_PER_ROW: u64 = 100;

/// Whether members sketch this block if the plan has late sketches at all (`LATE-01`).
pub fn is_sketched(block: &PlannedBlock) -> bool {
    most_sketches(block) > 0
}

/// How many late sketches a member without a privacy budget sends of a block while its parameters stay the
/// same (`LATE-10`). Together they have at most a hundredth as many rows as the block has coordinates.
pub fn most_sketches(block: &PlannedBlock) -> u64 {
    match block.shape.kind {
        // Regions hardly change from round to round, so that the rows of several rounds would add up.
        BlockKind::Regions { .. } => 0,
        _ => block.shape.length / (LENGTHS_PER_ROW * LATE_ROWS as u64),
    }
}

/// The largest sum of squares of an honest member's late sketch, in steps (`LATE-04`).
///
/// A row over a vector `x` is sub-Gaussian with variance proxy `|x|^2 / 2`. By the chi-square bound the sum
/// over 48 rows exceeds `4 * 48 * |x|^2 / 2` with a probability below `exp(-24 * (3 - ln 4))`, about 2^-56.
pub fn norm_bound(block: &PlannedBlock, weight: u8) -> u128 {
    let norm = u128::from(weight) * upload_norm(block);
    2 * LATE_ROWS as u128 * norm * norm
}

/// The largest L2 norm of an honest upload before its weight, in steps: the clip, rounding, twice the
/// expected norm of its noise, and for a router its consistency weight.
fn upload_norm(block: &PlannedBlock) -> u128 {
    let clip = u128::from(block.scale.clip_steps);
    // At least the square root: a bound that is too small would name honest members.
    let root = u128::from(block.shape.length.isqrt() + 1);
    let weight = if matches!(block.shape.kind, BlockKind::Router { .. }) { clip } else { 0 };
    clip + weight + (1 + 2 * u128::from(block.noise_steps)) * root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockShape;
    use crate::fixed::Scale;
    use crate::id::BlockId;

    fn block(length: u64, noise_steps: u32) -> PlannedBlock {
        let shape = BlockShape { id: BlockId(0), kind: BlockKind::Shared, length };
        PlannedBlock { shape, scale: Scale { step_log2: -10, clip_steps: 1000 }, noise_steps }
    }

    /// LATE-01
    #[test]
    fn short_blocks_have_none() {
        assert!(!is_sketched(&block(4799, 0)) && is_sketched(&block(4800, 0)));
    }

    /// LATE-10
    #[test]
    fn rows_of_the_same_parameters_are_at_most_a_hundredth_of_the_coordinates() {
        for length in [4799, 4800, 9599, 9600, 1 << 32] {
            let rows = most_sketches(&block(length, 0)) * LATE_ROWS as u64;
            assert!(rows <= length / 100 && rows + LATE_ROWS as u64 > length / 100, "{length}: {rows}");
        }
    }

    /// LATE-04
    #[test]
    fn the_bound_grows_with_clip_noise_and_weight() {
        assert_eq!(norm_bound(&block(4800, 0), 1), 96 * 1070 * 1070);
        assert_eq!(norm_bound(&block(4800, 2), 3), 96 * 9 * 1350 * 1350);
    }
}
