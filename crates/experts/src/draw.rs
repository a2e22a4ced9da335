//! Seeded draws. Uniform draws use exact arithmetic only, so that every machine gets the same bits.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What values are drawn for; each purpose has streams of its own under one seed. The numbers are part of the
/// streams' names: another number gives every task another initial model.
#[derive(Clone, Copy)]
pub(crate) enum DrawPurpose {
    /// Initial weights of a router.
    Router = 1,
    /// Frozen half of an expert's adapter on the map up.
    AdapterUp = 2,
    /// Frozen half of an expert's adapter on the map down.
    AdapterDown = 3,
    /// Order of the notes in an epoch.
    Order = 4,
    /// Which member gets a note.
    Partition = 5,
    /// Which notes are held out.
    HoldOut = 6,
    /// Text of a synthetic note.
    Text = 7,
    /// First halves of an adapter's low-rank additions.
    Adapter = 8,
    /// Candidates beside a canary, and its rank among equal ones.
    Candidates = 9,
}

/// A stream of random values, fixed by a seed, a purpose and an index.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// Streams that differ in purpose or index are independent of each other.
    pub(crate) fn new(seed: u64, purpose: DrawPurpose, index: usize) -> Self {
        // Streams of one seed, and not seeds that are computed from it: ChaCha's streams never overlap.
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        // An index below 2³² does not reach another purpose's streams.
        generator.set_stream((purpose as u64) << 32 | index as u64);
        Self(generator)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        // As many bits as an f64 has, so the product is exact and never rounds up to 1.
        (self.0.next_u64() >> 11) as f64 * UNIT
    }

    /// Whether an event of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform over `0..count`; `count` must not be 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        // `unit` is at most 1 − 2⁻⁵³, so the product, even rounded, stays below `count`.
        (self.unit() * count as f64) as usize
    }

    /// One of the items, of which there must be some.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// An index, with probability proportional to its weight.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return index;
            }
        }
        // Rounding may leave a rest of 0 or a little more.
        weights.len() - 1
    }

    /// `count` values, uniform between −bound and bound, both included.
    pub(crate) fn symmetric(&mut self, count: usize, bound: f32) -> Vec<f32> {
        (0..count).map(|_| (2.0 * self.unit() - 1.0) as f32 * bound).collect()
    }

    /// Fisher–Yates shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Standard normal, by Box and Muller. Its last bits depend on the machine's `ln` and `cos`, so what
    /// members must have equal is never drawn with it.
    pub(crate) fn normal(&mut self) -> f64 {
        // `1 − unit` is never 0, which has no logarithm; `unit` may be.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Gamma with this shape and scale 1, by Marsaglia and Tsang; shapes below 1 through the boost `U^(1/shape)`.
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = (1.0 - self.unit()).powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_indices_have_streams_of_their_own() {
        let first = |purpose, index| Draw::new(7, purpose, index).unit();
        assert_eq!(first(DrawPurpose::Order, 1), first(DrawPurpose::Order, 1));
        assert_ne!(first(DrawPurpose::Order, 1), first(DrawPurpose::Order, 2));
        assert_ne!(first(DrawPurpose::Order, 1), first(DrawPurpose::Text, 1));
    }

    #[test]
    fn gamma_has_its_mean_for_small_and_large_shapes() {
        let mut draw = Draw::new(1, DrawPurpose::Partition, 0);
        for shape in [0.3, 1.0, 4.0] {
            let mean = (0..20_000).map(|_| draw.gamma(shape)).sum::<f64>() / 20_000.0;
            assert!((mean - shape).abs() < 0.05 * shape.max(1.0), "shape {shape} has the mean {mean}");
        }
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut draw = Draw::new(2, DrawPurpose::Text, 0);
        assert!((0..1000).all(|_| draw.weighted(&[0.0, 1.0, 0.0]) == 1));
    }
}
