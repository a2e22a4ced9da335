//! The statistics of a member's texts that a head needs: class counts, class sums and second moments of
//! frozen features. All of them are sums, so secure aggregation gives their exact totals, whatever the
//! division of labels is.
//!
//! # Leakage
//! The totals are published: how many texts of each class all members have together, the classes' mean
//! features, and one matrix of second moments. [`crate::totals`] adds noise and charges for it.

use cloister_experts::classifier::embedding::second_moments;

/// Sums over texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Statistics {
    classes: usize,
    width: usize,
    /// Counts of the classes, then the sum of the features of each class, then the upper triangle of the sum of the
    /// features' outer products, row by row.
    values: Vec<f32>,
    /// Standard deviation of the noise on each value.
    noise: f64,
}

impl Statistics {
    /// Statistics of texts with these features (`width` values a text) and classes.
    ///
    /// # Panics
    /// If there are not as many rows of features as labels, or a label is no class.
    pub fn from_texts(features: &[f32], labels: &[usize], classes: usize, width: usize) -> Self {
        assert_eq!(features.len(), labels.len() * width, "one row of features for each text");
        let mut values = vec![0.0; classes * (1 + width)];
        for (row, &label) in features.chunks_exact(width).zip(labels) {
            values[label] += 1.0;
            let sum = &mut values[classes + label * width..][..width];
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let moments = second_moments(features, width);
        // The matrix is symmetric, and the lower half would double what is masked, sent and noised.
        values.extend((0..width).flat_map(|row| &moments[row * width + row..(row + 1) * width]));
        Self { classes, width, values, noise: 0.0 }
    }

    /// Statistics from a vector of [`Statistics::values`], or a sum of such vectors. `None` if its length
    /// does not fit.
    pub fn from_values(values: Vec<f32>, classes: usize, width: usize) -> Option<Self> {
        (values.len() == Self::length(classes, width)).then_some(Self { classes, width, values, noise: 0.0 })
    }

    /// The same statistics, with the standard deviation of the noise that their values have. Nothing is drawn
    /// here.
    pub fn noised_by(self, noise: f64) -> Self {
        Self { noise, ..self }
    }

    /// Standard deviation of the noise on each value; 0 without noise.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// Values of a vector of statistics.
    pub fn length(classes: usize, width: usize) -> usize {
        classes * (1 + width) + width * (width + 1) / 2
    }

    /// Counts, class sums and the upper triangle of second moments.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The total of several members' statistics of one shape; `None` for no member.
    pub fn total(all: &[Self]) -> Option<Self> {
        let first = all.first()?;
        // In 64 bits, so that the total is rounded only once.
        let mut sums = vec![0.0; first.values.len()];
        for member in all {
            sums.iter_mut().zip(&member.values).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let values = sums.into_iter().map(|sum| sum as f32).collect();
        // Variances of independent noises add up.
        let noise = all.iter().map(|member| member.noise.powi(2)).sum::<f64>().sqrt();
        Some(Self { classes: first.classes, width: first.width, values, noise })
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Values of a text's features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Texts of a class.
    pub fn count(&self, class: usize) -> f64 {
        f64::from(self.values[class])
    }

    /// All texts.
    pub fn texts(&self) -> f64 {
        (0..self.classes).map(|class| self.count(class)).sum()
    }

    /// Mean features of a class; zeros if it has no texts.
    pub fn mean(&self, class: usize) -> Vec<f64> {
        let sums = &self.values[self.classes + class * self.width..][..self.width];
        let count = self.count(class).max(1.0);
        sums.iter().map(|sum| f64::from(*sum) / count).collect()
    }

    /// The covariance within the classes, `[width, width]` row by row: the mean outer product of features,
    /// minus the outer products of the class means. With noise it need not be definite.
    pub fn covariance(&self) -> Vec<f64> {
        let (width, texts) = (self.width, self.texts().max(1.0));
        let mut matrix = vec![0.0; width * width];
        let mut upper = self.values[self.classes * (1 + width)..].iter();
        for row in 0..width {
            for column in row..width {
                let value = upper.next().map_or(0.0, |sum| f64::from(*sum) / texts);
                matrix[row * width + column] = value;
                matrix[column * width + row] = value;
            }
        }
        for class in 0..self.classes {
            let (mean, share) = (self.mean(class), self.count(class) / texts);
            for row in 0..width {
                let factor = share * mean[row];
                let values = &mut matrix[row * width..][..width];
                values.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= factor * mean);
            }
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-5
    }

    #[test]
    fn sums_of_parts_are_the_whole_s_statistics() {
        let features: Vec<f32> = (0..40).map(|at| ((at * 7 % 11) as f32 - 5.0) / 5.0).collect();
        let labels: Vec<usize> = (0..10).map(|text| text % 3).collect();
        let whole = Statistics::from_texts(&features, &labels, 3, 4);
        let parts = [0..2, 2..7, 7..10]
            .map(|part| Statistics::from_texts(&features[part.start * 4..part.end * 4], &labels[part], 3, 4));
        let total = Statistics::total(&parts).expect("three parts");
        assert!(total.values().iter().zip(whole.values()).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!((whole.count(0), whole.texts()), (4.0, 10.0));
    }

    #[test]
    fn the_covariance_is_within_the_classes() {
        // Two classes far apart that vary along one axis each.
        let features = [1.0, 0.0, 3.0, 0.0, -5.0, 2.0, -5.0, 4.0];
        let statistics = Statistics::from_texts(&features, &[0, 0, 1, 1], 2, 2);
        assert_eq!(statistics.mean(0), [2.0, 0.0]);
        let covariance = statistics.covariance();
        let expected = [0.5, 0.0, 0.0, 0.5];
        assert!(
            covariance.iter().zip(expected).all(|(got, expected)| near(*got, expected)),
            "{covariance:?}"
        );
    }

    #[test]
    fn vectors_of_another_length_are_no_statistics() {
        assert_eq!(Statistics::from_values(vec![0.0; 8], 2, 2), None);
        assert_eq!(Statistics::length(2, 2), 9);
    }
}
