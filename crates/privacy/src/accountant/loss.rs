//! Privacy loss distributions on a grid, rounded so that every hockey-stick divergence is at least the true
//! one.
//!
//! Source: Doroshenko, Ghazi, Kamath, Kumar and Manurangsi, "Connect the Dots: Tighter Discrete
//! Approximations of Privacy Loss Distributions" (2022), algorithm 1. The mass of each cell between two grid
//! points goes to these two, so that both distributions of the pair keep their mass; mass above the grid goes
//! to an infinite loss. Masses are computed as logarithms, as those of small noise are below any
//! floating-point number. What rounding in floating point may have changed is added: to a mass, and to the
//! share of it that goes to the upper point.

use super::normal::{Mass, ln_above, mass};

/// Which of two neighbouring data sets has one record more. The two directions have different losses if
/// records are sampled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// The outcome is drawn with the record, and compared with the distribution without it.
    Remove,
    /// The outcome is drawn without the record, and compared with the distribution with it.
    Add,
}

/// How finely and how far losses are resolved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct LossGrid {
    /// The distance between two losses.
    pub(super) step: f64,
    /// The probability that may lie beyond the grid's end. It counts as an infinite loss.
    pub(super) beyond: f64,
    /// The most points of one distribution.
    pub(super) points: usize,
}

impl LossGrid {
    /// Up to how many standard deviations a normal distribution of this mass must be resolved: its tail
    /// beyond `x` is less than `exp(-x²/2)/2` of it.
    fn reach(self, mass: f64) -> f64 {
        (2.0 * (mass / self.beyond).ln()).max(0.0).sqrt()
    }
}

/// The distribution of the privacy loss: mass `exp(ln_mass[i])` at `(first + i)·step`, and `infinity` at an
/// infinite loss.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LossDistribution {
    pub(super) step: f64,
    pub(super) first: i64,
    pub(super) ln_mass: Vec<f64>,
    pub(super) infinity: f64,
}

/// The masses of a grid's points while cells are added to them.
struct Cells {
    step: f64,
    first: i64,
    mass: Vec<f64>,
    infinity: f64,
}

/// A cell's probability under both distributions of the pair.
#[derive(Clone, Copy)]
struct Cell {
    /// Under the distribution from which the outcome is drawn.
    drawn: Mass,
    /// Under the distribution with which it is compared.
    compared: Mass,
}

impl Cells {
    /// `None` if the grid has too many points, or no finite end.
    fn new(grid: LossGrid, low: f64, high: f64) -> Option<Self> {
        let (first, last) = ((low / grid.step).floor(), (high / grid.step).ceil().max(low / grid.step + 1.0));
        // Indices must be exact as floats, or a grid point would not be a multiple of the step.
        let exact = first.abs().max(last.abs()) < 2f64.powi(52) && last - first < grid.points as f64;
        let cells = if exact { (last - first).ceil() as usize } else { return None };
        Some(Self { step: grid.step, first: first as i64, mass: vec![0.0; cells + 1], infinity: 0.0 })
    }

    fn loss(&self, index: usize) -> f64 {
        (self.first + index as i64) as f64 * self.step
    }

    /// Splits the mass of the cell from grid point `index` on. `loss_error` is by how much its losses may lie
    /// outside it.
    fn put(&mut self, index: usize, cell: Cell, loss_error: f64) {
        let (drawn, compared) = (cell.drawn, cell.compared);
        let total = drawn.at_most();
        let width = -(-self.step).exp_m1();
        // The parts `a` and `b` of the two points keep both masses: `a + b` is that drawn, and
        // `(a + b·exp(-step))·exp(-loss)` that compared. This is `b/(a + b)`.
        let upper = -(self.loss(index) + compared.ln - drawn.ln).exp_m1() / width;
        // More mass at the larger loss costs more, so that all errors go there.
        let upper = upper + (drawn.error + compared.error + loss_error) / width;
        // NaN, of which nothing is known, is rounded up.
        let upper = if upper.is_nan() { 1.0 } else { upper.clamp(0.0, 1.0) };
        self.mass[index] += total * (1.0 - upper);
        self.mass[index + 1] += total * upper;
    }

    fn done(self) -> LossDistribution {
        let ln_mass = self.mass.into_iter().map(f64::ln).collect();
        LossDistribution { step: self.step, first: self.first, ln_mass, infinity: self.infinity }
    }
}

impl LossDistribution {
    /// `ln E[exp(tilt·loss)]` over the finite losses.
    pub(super) fn ln_moment(&self, tilt: f64) -> f64 {
        self.tilted(tilt).0
    }

    /// `ln E[exp(tilt·loss)]`, and the variance of the loss under the tilted distribution.
    pub(super) fn tilted(&self, tilt: f64) -> (f64, f64) {
        let (base, rate) = (self.loss(0) * tilt, self.step * tilt);
        let exponents = || self.ln_mass.iter().enumerate().map(|(i, ln)| ln + base + rate * i as f64);
        let most = exponents().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for (index, exponent) in exponents().enumerate() {
            // What is smaller changes no digit of the sum.
            if exponent > most - 50.0 {
                let weight = (exponent - most).exp();
                sum += weight;
                first += weight * index as f64;
                second += weight * (index as f64).powi(2);
            }
        }
        let mean = first / sum;
        (most + f64::ln(sum), (second / sum - mean * mean).max(0.0) * self.step * self.step)
    }

    /// The loss of a grid point.
    pub(super) fn loss(&self, index: usize) -> f64 {
        (self.first + index as i64) as f64 * self.step
    }

    /// The largest finite loss.
    pub(super) fn highest(&self) -> f64 {
        self.loss(self.ln_mass.len() - 1)
    }
}

/// The Gaussian mechanism with sensitivity 1 on a Poisson sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct SampledGaussian {
    pub(super) sigma: f64,
    pub(super) q: f64,
}

impl SampledGaussian {
    /// The loss distribution; `None` if it needs more points than the grid may have.
    pub(super) fn losses(self, direction: Direction, grid: LossGrid) -> Option<LossDistribution> {
        // The component that the record moves has the mass `q` only, so that less of its tail matters.
        let (reach, moved) = (grid.reach(1.0) * self.sigma, 1.0 + grid.reach(self.q) * self.sigma);
        let ends = [self.log_ratio(-reach), self.log_ratio(moved.max(reach))];
        let (low, high) = match direction {
            Direction::Remove => (ends[0], ends[1]),
            Direction::Add => (-ends[1], -ends[0]),
        };
        let mut cells = Cells::new(grid, low, high)?;
        let count = cells.mass.len() - 1;
        // The loss of adding a record is minus that of removing it at the same outcome.
        let sign = if direction == Direction::Remove { 1.0 } else { -1.0 };
        let mut from = self.outcome(sign * cells.loss(0));
        self.put_below(&mut cells, direction, from);
        for index in 0..count {
            let to = self.outcome(sign * cells.loss(index + 1));
            // The outcome at a loss is rounded, which moves the loss of the cell's end by no more than this.
            let loss_error = 16.0 * f64::EPSILON * (1.0 + cells.loss(index).abs() + self.sigma.powi(-2));
            cells.put(index, self.cell(direction, from, to), loss_error);
            from = to;
        }
        self.put_beyond(&mut cells, direction, from);
        Some(cells.done())
    }

    /// Losses below the grid count as its lowest loss.
    fn put_below(self, cells: &mut Cells, direction: Direction, lowest: f64) {
        let end = if direction == Direction::Remove { f64::NEG_INFINITY } else { f64::INFINITY };
        let below = self.cell(direction, lowest, end).drawn;
        cells.mass[0] += below.at_most();
    }

    /// Losses above the grid count as infinite.
    fn put_beyond(self, cells: &mut Cells, direction: Direction, highest: f64) {
        let end = if direction == Direction::Remove { f64::INFINITY } else { f64::NEG_INFINITY };
        let beyond = self.cell(direction, highest, end).drawn;
        cells.infinity += beyond.at_most();
    }

    /// The outcomes between two, in either order.
    fn cell(self, direction: Direction, a: f64, b: f64) -> Cell {
        let (low, high) = (a.min(b), a.max(b));
        let without = mass(low / self.sigma, high / self.sigma);
        let moved = mass((low - 1.0) / self.sigma, (high - 1.0) / self.sigma);
        let with = without.mixed(moved, self.q);
        match direction {
            Direction::Remove => Cell { drawn: with, compared: without },
            Direction::Add => Cell { drawn: without, compared: with },
        }
    }

    /// `ln` of the density with the record over the density without it, at an outcome.
    fn log_ratio(self, outcome: f64) -> f64 {
        let exponent = (2.0 * outcome - 1.0) / (2.0 * self.sigma * self.sigma);
        // `exp` of a large exponent overflows: the exponent is factored out of the sum there.
        if exponent > 1.0 {
            exponent + (self.q + (1.0 - self.q) * (-exponent).exp()).ln()
        } else if self.q == 1.0 {
            exponent
        } else {
            (self.q * exponent.exp_m1()).ln_1p()
        }
    }

    /// The outcome at which [`Self::log_ratio`] is `ratio`; minus infinity if every outcome has a larger
    /// ratio.
    fn outcome(self, ratio: f64) -> f64 {
        if self.q == 1.0 {
            return self.sigma * self.sigma * ratio + 0.5;
        }
        // The ratio is ln(1 + q·(exp(exponent) - 1)).
        let exponent = if ratio > 1.0 {
            ratio + ((-(1.0 - self.q) * (-ratio).exp()).ln_1p() - self.q.ln())
        } else {
            // The ratio is above `ln(1 - q)` everywhere: smaller ones lie beyond every outcome.
            let odds = ratio.exp_m1() / self.q;
            if odds <= -1.0 { f64::NEG_INFINITY } else { odds.ln_1p() }
        };
        self.sigma * self.sigma * exponent + 0.5
    }
}

/// One integer with discrete Gaussian noise, which one unit changes by at most `sensitivity`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct NoisedInteger {
    pub(super) sigma: f64,
    pub(super) sensitivity: f64,
}

impl NoisedInteger {
    /// The loss distribution; `None` if it needs more points than the grid may have.
    ///
    /// The pair is symmetric, so that both directions have the same losses. A smaller change has smaller
    /// divergences, because the density is log-concave.
    pub(super) fn losses(self, grid: LossGrid) -> Option<LossDistribution> {
        // An integer moves by whole steps, so that the bound's fraction cannot occur.
        let (sigma, change) = (self.sigma, self.sensitivity.floor());
        let reach = (grid.reach(1.0) * sigma).ceil();
        if 2.0 * reach >= grid.points as f64 {
            return None;
        }
        let loss = |x: f64| change * (change - 2.0 * x) / (2.0 * sigma * sigma);
        let integers = -reach as i64..=reach as i64;
        let ln_densities: Vec<(f64, f64)> =
            integers.map(|x| x as f64).map(|x| (x, -x * x / (2.0 * sigma * sigma))).collect();
        let ln_total = ln_densities.iter().map(|(_, ln)| ln.exp()).sum::<f64>().ln();
        let mut cells = Cells::new(grid, loss(reach), loss(-reach))?;
        let last = cells.mass.len() - 2;
        for (x, ln_density) in ln_densities {
            let (loss, ln) = (loss(x), ln_density - ln_total);
            // Rounding may put the first or last loss just outside the cells.
            let index = (((loss / grid.step).floor() as i64 - cells.first).max(0) as usize).min(last);
            let cell = Cell { drawn: Mass { ln, error: 0.0 }, compared: Mass { ln: ln - loss, error: 0.0 } };
            cells.put(index, cell, 16.0 * f64::EPSILON * (1.0 + loss.abs() + ln.abs()));
        }
        // A sum over the integers beyond the grid is below the integral from its end.
        cells.infinity += 2.0 * ln_above(grid.reach(1.0)).exp();
        Some(cells.done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTIONS: [Direction; 2] = [Direction::Add, Direction::Remove];

    fn grid(step: f64) -> LossGrid {
        LossGrid { step, beyond: 1e-22, points: 1 << 20 }
    }

    fn delta(losses: &LossDistribution, epsilon: f64) -> f64 {
        let parts = losses.ln_mass.iter().enumerate().map(|(index, ln_mass)| {
            let loss = losses.loss(index);
            if loss > epsilon { ln_mass.exp() * -(epsilon - loss).exp_m1() } else { 0.0 }
        });
        losses.infinity + parts.sum::<f64>()
    }

    fn total(losses: &LossDistribution) -> f64 {
        losses.ln_mass.iter().map(|ln| ln.exp()).sum::<f64>() + losses.infinity
    }

    #[test]
    fn no_divergence_is_below_the_true_one() {
        // Balle and Wang 2018, theorem 8.
        let exact = |sigma: f64, epsilon: f64| {
            let above = |x: f64| ln_above(x).exp();
            above(epsilon * sigma - 0.5 / sigma) - epsilon.exp() * above(epsilon * sigma + 0.5 / sigma)
        };
        for sigma in [0.5, 1.0, 4.0] {
            for direction in DIRECTIONS {
                let losses = SampledGaussian { sigma, q: 1.0 }.losses(direction, grid(1e-3)).expect("fits");
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
    fn both_directions_keep_all_mass_however_small_the_noise() {
        for (sigma, q) in [(0.8, 0.05), (0.03, 0.5), (0.003, 0.5), (0.01, 1.0), (2.0, 1e-5)] {
            for direction in DIRECTIONS {
                let sampled = SampledGaussian { sigma, q };
                let step = if sigma < 0.1 { 1.0 } else { 1e-3 };
                let losses = sampled.losses(direction, grid(step)).expect("fits");
                assert!((total(&losses) - 1.0).abs() < 1e-10, "{sampled:?}: {}", total(&losses));
                assert!(losses.ln_moment(0.5).is_finite());
            }
        }
        let integer = NoisedInteger { sigma: 3.0, sensitivity: 1.0 }.losses(grid(1e-3)).expect("fits");
        assert!((total(&integer) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn outcomes_and_ratios_invert() {
        for (sigma, q) in [(0.03, 0.5), (1.0, 0.01), (3.0, 1.0), (1.0, 1e-5)] {
            let sampled = SampledGaussian { sigma, q };
            for outcome in [-2.0 * sigma, 0.3, 1.0, 1.0 + 5.0 * sigma] {
                let back = sampled.outcome(sampled.log_ratio(outcome));
                // Where the ratio hardly depends on the outcome, neither does it matter.
                let ratios = [outcome, back].map(|outcome| sampled.log_ratio(outcome));
                assert!(
                    (ratios[0] - ratios[1]).abs() <= 1e-13 * (1.0 + ratios[0].abs()),
                    "{sampled:?} {outcome} {back}"
                );
            }
        }
    }

    #[test]
    fn a_grid_without_room_gives_none() {
        let few = LossGrid { points: 100, ..grid(1e-3) };
        assert_eq!(SampledGaussian { sigma: 1.0, q: 0.5 }.losses(Direction::Add, few), None);
        assert_eq!(NoisedInteger { sigma: 1e9, sensitivity: 1.0 }.losses(grid(1e-3)), None);
    }
}
