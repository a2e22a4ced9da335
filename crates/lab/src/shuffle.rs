//! Orders that follow a seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// At most `limit` items, the same for every seed of a run; 0 keeps all.
pub(crate) fn limited<T: Clone>(items: Vec<T>, limit: usize) -> Vec<T> {
    if limit == 0 {
        return items;
    }
    // A constant seed: if each run seed had its own texts, the spread over seeds would mix two causes.
    let order = shuffled((0..items.len()).collect(), 0);
    order.into_iter().take(limit).map(|item| items[item].clone()).collect()
}

/// Fisher–Yates shuffle by the seed.
pub(crate) fn shuffled(mut items: Vec<usize>, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        // The remainder's bias is at most `items / 2⁶⁴`, and published figures depend on these very orders.
        items.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
    items
}
