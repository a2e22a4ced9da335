//! Uniform draws from a generator without bias.

use rand_core::Rng;

/// Uniform over `0..count`; `count` must not be 0.
pub(super) fn below(random: &mut impl Rng, count: u64) -> u64 {
    // What is above the last multiple of `count` is drawn again, or small values would be likelier.
    let limit = u64::MAX - u64::MAX % count;
    loop {
        let value = random.next_u64();
        if value < limit {
            return value % count;
        }
    }
}

/// Fisher–Yates shuffle.
pub(super) fn shuffle<T>(random: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last as u64 + 1) as usize);
    }
}
