//! Privacy loss distributions on a grid, rounded so that every hockey-stick divergence is at least the true one.
//!
//! Source: Doroshenko, Ghazi, Kamath, Kumar and Manurangsi, "Connect the Dots: Tighter Discrete Approximations of
//! Privacy Loss Distributions" (2022), algorithm 1. The mass of each cell between two grid points goes to these two,
//! so that both distributions of the pair keep their mass; mass above the grid goes to an infinite loss.

use super::normal::{above, mass};

/// Standard deviations of noise that the grid reaches; what is beyond has a probability of less than 10⁻²³.
const REACH: f64 = 10.0;

/// Which of two neighbouring data sets has the record more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// The outcome is drawn with the record, and compared with the distribution without it.
    Remove,
    /// The other way round.
    Add,
}

/// The distribution of the privacy loss: `mass[i]` at `(first + i)·step`, and `infinity` at an infinite loss.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LossDistribution {
    pub(super) step: f64,
    pub(super) first: i64,
    pub(super) mass: Vec<f64>,
    pub(super) infinity: f64,
}

impl LossDistribution {
    fn new(step: f64, low: f64, high: f64) -> Self {
        let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
        let cells = usize::try_from(last - first).unwrap_or(0);
        Self { step, first, mass: vec![0.0; cells + 1], infinity: 0.0 }
    }

    /// Splits the mass `p` that lies in the cell from grid point `index` on, and under the other distribution is `q`.
    fn put(&mut self, index: usize, p: f64, q: f64) {
        let loss = (self.first + index as i64) as f64 * self.step;
        let upper = (p - q * loss.exp()) / -(-self.step).exp_m1();
        let upper = upper.clamp(0.0, p);
        self.mass[index] += p - upper;
        self.mass[index + 1] += upper;
    }

    /// `ln E[exp(tilt·loss)]` over the finite losses.
    pub(super) fn ln_moment(&self, tilt: f64) -> f64 {
        let exponent = |index: usize| tilt * self.loss(index);
        let most = exponent(0).max(exponent(self.mass.len() - 1));
        let sum: f64 = self.mass.iter().enumerate().map(|(i, mass)| mass * (exponent(i) - most).exp()).sum();
        most + sum.ln()
    }

    /// The loss of a grid point.
    pub(super) fn loss(&self, index: usize) -> f64 {
        (self.first + index as i64) as f64 * self.step
    }
}

/// The Gaussian mechanism with sensitivity 1 on a Poisson sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct SampledGaussian {
    pub(super) sigma: f64,
    pub(super) q: f64,
}

impl SampledGaussian {
    /// Its loss distribution on a grid of the given step.
    pub(super) fn losses(self, direction: Direction, step: f64) -> LossDistribution {
        let ends = [self.log_ratio(-REACH * self.sigma), self.log_ratio(1.0 + REACH * self.sigma)];
        let (low, high) = match direction {
            Direction::Remove => (ends[0], ends[1]),
            Direction::Add => (-ends[1], -ends[0]),
        };
        let mut losses = LossDistribution::new(step, low, high);
        let cells = losses.mass.len() - 1;
        let point = |index: usize| {
            let loss = losses.loss(index);
            if direction == Direction::Remove { self.outcome(loss) } else { self.outcome(-loss) }
        };
        let points: Vec<f64> = (0..=cells).map(point).collect();
        for index in 0..cells {
            let (with, without) = self.masses(points[index], points[index + 1]);
            let (p, q) = if direction == Direction::Remove { (with, without) } else { (without, with) };
            losses.put(index, p, q);
        }
        self.put_tails(&mut losses, direction, points[0], points[cells]);
        losses
    }

    /// What lies below the grid counts as its lowest loss, what lies above as infinite.
    fn put_tails(self, losses: &mut LossDistribution, direction: Direction, lowest: f64, highest: f64) {
        let infinite = f64::INFINITY;
        let (below, beyond) = match direction {
            Direction::Remove => (self.masses(-infinite, lowest).0, self.masses(highest, infinite).0),
            Direction::Add => (self.masses(lowest, infinite).1, self.masses(-infinite, highest).1),
        };
        losses.mass[0] += below;
        losses.infinity += beyond;
    }

    /// The mass between two outcomes, in either order, with the record and without it.
    fn masses(self, a: f64, b: f64) -> (f64, f64) {
        let (low, high) = (a.min(b), a.max(b));
        let at = |mean: f64| mass((low - mean) / self.sigma, (high - mean) / self.sigma);
        let without = at(0.0);
        ((1.0 - self.q) * without + self.q * at(1.0), without)
    }

    /// `ln` of the density with the record over the density without it, at an outcome.
    fn log_ratio(self, outcome: f64) -> f64 {
        let exponent = (2.0 * outcome - 1.0) / (2.0 * self.sigma * self.sigma);
        if exponent > 0.0 {
            exponent + (self.q + (1.0 - self.q) * (-exponent).exp()).ln()
        } else {
            (self.q * exponent.exp_m1()).ln_1p()
        }
    }

    /// The outcome at which [`Self::log_ratio`] is `ratio`; minus infinity where it is below every one.
    fn outcome(self, ratio: f64) -> f64 {
        let inside = -(-ratio).exp_m1() + self.q * (-ratio).exp();
        if inside <= 0.0 {
            return f64::NEG_INFINITY;
        }
        self.sigma * self.sigma * (ratio + (inside / self.q).ln()) + 0.5
    }
}

/// One integer of the given sensitivity with discrete Gaussian noise.
///
/// The pair is symmetric, so that both directions have the same losses.
pub(super) fn discrete_gaussian(sigma: f64, sensitivity: f64, step: f64) -> LossDistribution {
    let reach = (REACH * sigma).ceil() + sensitivity;
    let loss = |x: f64| sensitivity * (sensitivity - 2.0 * x) / (2.0 * sigma * sigma);
    let density = |x: f64| (-x * x / (2.0 * sigma * sigma)).exp();
    let integers = || (-reach as i64..=reach as i64).map(|x| x as f64);
    let total: f64 = integers().map(density).sum();
    let mut losses = LossDistribution::new(step, loss(reach), loss(-reach));
    let last = losses.mass.len() - 2;
    for x in integers() {
        let p = density(x) / total;
        let index = ((loss(x) / step).floor() as i64 - losses.first) as usize;
        losses.put(index.min(last), p, p * (-loss(x)).exp());
    }
    losses.infinity += 2.0 * above(REACH);
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(losses: &LossDistribution, epsilon: f64) -> f64 {
        let parts = losses.mass.iter().enumerate().map(|(index, mass)| {
            let loss = losses.loss(index);
            if loss > epsilon { mass * -(epsilon - loss).exp_m1() } else { 0.0 }
        });
        losses.infinity + parts.sum::<f64>()
    }

    #[test]
    fn no_divergence_is_below_the_true_one() {
        // Balle and Wang 2018, theorem 8.
        let exact = |sigma: f64, epsilon: f64| {
            above(epsilon * sigma - 0.5 / sigma) - epsilon.exp() * above(epsilon * sigma + 0.5 / sigma)
        };
        for sigma in [0.5, 1.0, 4.0] {
            for direction in [Direction::Add, Direction::Remove] {
                let losses = SampledGaussian { sigma, q: 1.0 }.losses(direction, 1e-3);
                for epsilon in [0.0, 0.1234, 1.0, 2.5] {
                    let (got, least) = (delta(&losses, epsilon), exact(sigma, epsilon));
                    assert!(
                        got >= least * (1.0 - 1e-12) && got < least * 1.001 + 1e-15,
                        "{sigma} {epsilon}: {got} {least}"
                    );
                }
            }
        }
    }

    #[test]
    fn both_directions_keep_all_mass() {
        for direction in [Direction::Add, Direction::Remove] {
            let losses = SampledGaussian { sigma: 0.8, q: 0.05 }.losses(direction, 1e-3);
            let total: f64 = losses.mass.iter().sum::<f64>() + losses.infinity;
            assert!((total - 1.0).abs() < 1e-12, "{total}");
        }
        let losses = discrete_gaussian(3.0, 1.0, 1e-3);
        assert!((losses.mass.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
