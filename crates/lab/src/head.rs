//! Heads from sums: linear classifiers on frozen features that need nothing of the members but [`Statistics`].

use crate::config::HeadKind;
use crate::error::LabError;
use crate::linear::{dot, solve};
use crate::statistics::Statistics;

/// A linear classifier.
#[derive(Clone, PartialEq, Debug)]
pub struct LinearHead {
    /// A row of `width` values for each class.
    weights: Vec<Vec<f64>>,
    biases: Vec<f64>,
}

impl LinearHead {
    /// Fits a head; `None` for [`HeadKind::None`].
    ///
    /// # Errors
    /// [`LabError::Singular`] when the covariance cannot be inverted.
    pub fn fit(kind: HeadKind, statistics: &Statistics, shrinkage: f64) -> Result<Option<Self>, LabError> {
        Ok(match kind {
            HeadKind::None => None,
            HeadKind::ClassMean => Some(Self::class_mean(statistics)),
            HeadKind::Lda => Some(Self::lda(statistics, shrinkage)?),
        })
    }

    /// The nearest class mean: `mu·x − |mu|²/2`.
    pub fn class_mean(statistics: &Statistics) -> Self {
        let means: Vec<Vec<f64>> = (0..statistics.classes()).map(|class| statistics.mean(class)).collect();
        let biases = means.iter().map(|mean| -0.5 * dot(mean, mean)).collect();
        Self { weights: means, biases }
    }

    /// Fisher's linear discriminants with a shared covariance `S`: `mu·S⁻¹·x − mu·S⁻¹·mu/2 + ln(share)`. A share of
    /// the mean variance is added to every variance (ridge shrinkage). A class without texts is never chosen.
    ///
    /// # Errors
    /// [`LabError::Singular`].
    pub fn lda(statistics: &Statistics, shrinkage: f64) -> Result<Self, LabError> {
        let width = statistics.width();
        let mut covariance = statistics.covariance();
        let trace: f64 = (0..width).map(|at| covariance[at * width + at]).sum();
        let ridge = shrinkage * trace / width as f64;
        (0..width).for_each(|at| covariance[at * width + at] += ridge);
        let means: Vec<Vec<f64>> = (0..statistics.classes()).map(|class| statistics.mean(class)).collect();
        let weights = solve(covariance, width, &means).ok_or(LabError::Singular { shrinkage })?;
        let biases = (0..statistics.classes())
            .map(|class| {
                let share = statistics.count(class) / statistics.texts();
                share.max(1e-9).ln() - 0.5 * dot(&means[class], &weights[class])
            })
            .collect();
        Ok(Self { weights, biases })
    }

    /// Logits of each row of features, a value for each class.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let width = self.weights.first().map_or(1, Vec::len);
        let of = |row: &[f32]| {
            let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            let logit = |(weights, bias): (&Vec<f64>, &f64)| (dot(weights, &row) + bias) as f32;
            self.weights.iter().zip(&self.biases).map(logit).collect::<Vec<f32>>()
        };
        features.chunks_exact(width).flat_map(of).collect()
    }
}

/// How many rows of logits are largest at their label.
pub(crate) fn correct(logits: &[f32], labels: &[usize], classes: usize) -> usize {
    let largest = |row: &[f32]| (0..classes).max_by(|&one, &other| row[one].total_cmp(&row[other]));
    logits.chunks_exact(classes).zip(labels).filter(|(row, label)| largest(row) == Some(**label)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes whose means differ along the first axis and whose noise lies along the diagonal.
    fn texts() -> (Vec<f32>, Vec<usize>) {
        let mut features = Vec::new();
        let mut labels = Vec::new();
        for text in 0..200 {
            let noise = ((text * 37 % 101) as f32 - 50.0) / 10.0;
            let small = ((text * 53 % 89) as f32 - 44.0) / 200.0;
            let label = text % 2;
            features.extend([label as f32 + noise, noise + small]);
            labels.push(label);
        }
        (features, labels)
    }

    #[test]
    fn discriminants_look_past_correlated_noise_and_means_do_not() {
        let (features, labels) = texts();
        let statistics = Statistics::of(&features, &labels, 2, 2);
        let share = |head: LinearHead| correct(&head.logits(&features), &labels, 2);
        let lda = share(LinearHead::lda(&statistics, 1e-6).expect("positive definite"));
        let means = share(LinearHead::class_mean(&statistics));
        assert!(lda >= 198 && means < 150, "{lda} {means}");
    }

    #[test]
    fn degenerate_features_are_refused_and_shrinkage_mends_them() {
        let statistics = Statistics::of(&[1.0, 1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0], &[0, 0, 1, 1], 2, 2);
        assert!(matches!(LinearHead::lda(&statistics, 0.0), Err(LabError::Singular { .. })));
        assert!(LinearHead::lda(&statistics, 0.1).is_ok());
    }
}
