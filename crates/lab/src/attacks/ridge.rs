//! Ridge regression with few observations of many coordinates. It is solved in the observations' space, where
//! the matrix has a row for each observation: a model's update has thousands of coordinates.

use crate::error::LabError;
use crate::linear::solve;

/// Ridges that are tried, as shares of the observations' mean squared distance from their mean: from almost
/// none, for observations without noise, to one that leaves little but the mean.
const RIDGES: [f64; 4] = [0.01, 0.3, 10.0, 1000.0];

/// A linear map from observations to targets.
pub(crate) struct Ridge {
    centre: Vec<f32>,
    centred: Vec<Vec<f32>>,
    /// A vector over the observations for each target.
    duals: Vec<Vec<f64>>,
    means: Vec<f64>,
}

impl Ridge {
    /// Fits a row of targets to each observation, with the ridge that predicts each observation best from all
    /// others.
    pub(crate) fn fit(observations: &[Vec<f32>], targets: &[Vec<f64>]) -> Result<Self, LabError> {
        let count = observations.len();
        let centre = mean(observations);
        let centred: Vec<Vec<f32>> =
            observations.iter().map(|observation| less(observation, &centre)).collect();
        let gram = gram(&centred);
        let width = targets.first().map_or(0, Vec::len);
        let (mut means, mut columns) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for target in 0..width {
            let mean = targets.iter().map(|row| row[target]).sum::<f64>() / count as f64;
            columns.push(targets.iter().map(|row| row[target] - mean).collect());
            means.push(mean);
        }
        let fits = RIDGES.iter().map(|share| Duals::fit(&gram, count, &columns, *share));
        let fits = fits.collect::<Result<Vec<_>, LabError>>()?;
        // Chosen on the attacker's own trainings alone, without the attacked ones.
        let best = fits.into_iter().min_by(|one, other| one.error.total_cmp(&other.error));
        let duals = best.map_or_else(Vec::new, |best| best.duals);
        Ok(Self { centre, centred, duals, means })
    }

    /// The targets of an observation.
    pub(crate) fn predict(&self, observation: &[f32]) -> Vec<f64> {
        let centred = less(observation, &self.centre);
        let alike: Vec<f64> = self.centred.iter().map(|other| dot(&centred, other)).collect();
        let targets = self.duals.iter().zip(&self.means);
        targets.map(|(dual, mean)| mean + crate::linear::dot(dual, &alike)).collect()
    }
}

/// The inner products of all pairs, `[observations, observations]` row by row.
fn gram(observations: &[Vec<f32>]) -> Vec<f64> {
    let count = observations.len();
    let mut gram = vec![0.0; count * count];
    for (row, one) in observations.iter().enumerate() {
        for (column, other) in observations[..=row].iter().enumerate() {
            let product = dot(one, other);
            gram[row * count + column] = product;
            gram[column * count + row] = product;
        }
    }
    gram
}

/// A fit with one ridge.
struct Duals {
    duals: Vec<Vec<f64>>,
    /// Sum of the squared errors of each observation's targets, as predicted from all others.
    error: f64,
}

impl Duals {
    fn fit(gram: &[f64], count: usize, columns: &[Vec<f64>], share: f64) -> Result<Self, LabError> {
        let trace: f64 = (0..count).map(|at| gram[at * count + at]).sum();
        // If all observations are equal, every ridge predicts the mean.
        let ridge = if trace > 0.0 { share * trace / count as f64 } else { 1.0 };
        let mut matrix = gram.to_vec();
        (0..count).for_each(|at| matrix[at * count + at] += ridge);
        // Unit vectors as further right-hand sides: their solutions are the inverse.
        let mut right = columns.to_vec();
        for at in 0..count {
            let mut unit = vec![0.0; count];
            unit[at] = 1.0;
            right.push(unit);
        }
        let mut duals = solve(matrix, count, &right).ok_or(LabError::Singular { shrinkage: share })?;
        let inverse = duals.split_off(columns.len());
        // Leave-one-out without a fit for each: the residual is the dual over the inverse's diagonal.
        let mut error = 0.0;
        for dual in &duals {
            error +=
                dual.iter().enumerate().map(|(at, value)| (value / inverse[at][at]).powi(2)).sum::<f64>();
        }
        Ok(Self { duals, error })
    }
}

fn mean(observations: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f64; observations.first().map_or(0, Vec::len)];
    for observation in observations {
        sum.iter_mut().zip(observation).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sum.into_iter().map(|sum| (sum / observations.len() as f64) as f32).collect()
}

fn less(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other).map(|(one, other)| one - other).collect()
}

/// The inner product. With eight running sums the compiler can use vector instructions; it must not reorder a
/// sum of floats by itself.
pub(crate) fn dot(one: &[f32], other: &[f32]) -> f64 {
    let (ones, one_rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (a, b) in ones.iter().zip(others) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = one_rest.iter().zip(other_rest).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_map_is_found_and_noise_predicts_the_mean() {
        let value = |at: usize| ((at * 37 % 101) as f32 - 50.0) / 50.0;
        let observations: Vec<Vec<f32>> = (0..60)
            .map(|row| (0..5).map(|column| value(row * 7 + column * 13 + row * column)).collect())
            .collect();
        let target = |row: &Vec<f32>| vec![1.0 + 2.0 * f64::from(row[1]) - f64::from(row[4])];
        let targets: Vec<Vec<f64>> = observations.iter().map(target).collect();
        let ridge = Ridge::fit(&observations[..40], &targets[..40]).expect("definite");
        for (observation, expected) in observations[40..].iter().zip(&targets[40..]) {
            assert!((ridge.predict(observation)[0] - expected[0]).abs() < 0.3);
        }
        let constant = vec![vec![1.0; 3]; 10];
        let targets: Vec<Vec<f64>> = (0..10).map(|at| vec![f64::from(at)]).collect();
        let ridge = Ridge::fit(&constant, &targets).expect("definite");
        assert!((ridge.predict(&constant[0])[0] - 4.5).abs() < 1e-9);
    }
}
