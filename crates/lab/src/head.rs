//! Heads from sums: linear classifiers on frozen features, for which members give nothing but [`Statistics`].

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

    /// Fisher's linear discriminants with a shared covariance `S`: `mu·S⁻¹·x − mu·S⁻¹·mu/2 + ln(share)`. A
    /// share of the mean variance is added to every variance (ridge shrinkage). If the statistics carry
    /// noise, a bound on how far it can reduce the covariance's eigenvalues is added, too, so that it stays
    /// definite (as AdaSSP does for linear regression; Wang, "Revisiting differentially private linear
    /// regression", 2018). A class without texts is hardly ever chosen.
    ///
    /// # Errors
    /// [`LabError::Singular`].
    pub fn lda(statistics: &Statistics, shrinkage: f64) -> Result<Self, LabError> {
        let width = statistics.width();
        let mut covariance = statistics.covariance();
        let trace: f64 = (0..width).map(|at| covariance[at * width + at]).sum();
        // Noise can make the trace negative, and a negative ridge would undo what the second term is for.
        let ridge = shrinkage * (trace / width as f64).max(0.0) + noise_norm(statistics);
        (0..width).for_each(|at| covariance[at * width + at] += ridge);
        let means: Vec<Vec<f64>> = (0..statistics.classes()).map(|class| statistics.mean(class)).collect();
        let weights = solve(covariance, width, &means).ok_or(LabError::Singular { shrinkage })?;
        let biases = (0..statistics.classes())
            .map(|class| {
                let share = statistics.count(class) / statistics.texts().max(1.0);
                // A class without texts, or with a negative noised count, has a finite bias of about −21.
                share.max(1e-9).ln() - 0.5 * dot(&means[class], &weights[class])
            })
            .collect();
        Ok(Self { weights, biases })
    }

    /// Weights, row by row, then biases: the block of a model's own head, which sees the features before they were
    /// multiplied by `scale`.
    pub fn to_values(&self, scale: f64) -> Vec<f32> {
        // Biases do not depend on the scale of the features.
        let weights = self.weights.iter().flatten().map(|weight| weight * scale);
        weights.chain(self.biases.iter().copied()).map(|value| value as f32).collect()
    }

    /// Logits of each row of features, a value for each class.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let width = self.weights.first().map_or(1, Vec::len);
        let mut logits = Vec::with_capacity(features.len() / width * self.biases.len());
        for row in features.chunks_exact(width) {
            let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            for (weights, bias) in self.weights.iter().zip(&self.biases) {
                logits.push((dot(weights, &row) + bias) as f32);
            }
        }
        logits
    }
}

/// How far noise of standard deviation `s` can reduce the covariance, as a spectral norm for `w` features,
/// `C` classes and `n` texts: `2·s·√w/n` through the second moments (semicircle law), and through the class
/// means, whose errors are Gaussian vectors of norm `√w + √C` together, `2·s·√C·(√w + √C)/n` and `s²·(√w +
/// √C)²/(n·n_c)` for the smallest class.
fn noise_norm(statistics: &Statistics) -> f64 {
    let (noise, texts) = (statistics.noise(), statistics.texts().max(1.0));
    let [width, classes] = [statistics.width(), statistics.classes()].map(|count| (count as f64).sqrt());
    let counts = (0..statistics.classes()).map(|class| statistics.count(class));
    let smallest = counts.fold(texts, f64::min).max(1.0);
    let (moments, means) = (2.0 * width, width + classes);
    noise / texts * (moments + 2.0 * classes * means + noise * means.powi(2) / smallest)
}

/// How many rows of logits are largest at their label.
pub(crate) fn correct(logits: &[f32], labels: &[usize], classes: usize) -> usize {
    logits.chunks_exact(classes).zip(labels).filter(|(row, label)| largest(row) == Some(**label)).count()
}

/// The index of the largest value; of equal ones the last.
fn largest(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&one, &other| row[one].total_cmp(&row[other]))
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
        let statistics = Statistics::from_texts(&features, &labels, 2, 2);
        let share = |head: LinearHead| correct(&head.logits(&features), &labels, 2);
        let lda = share(LinearHead::lda(&statistics, 1e-6).expect("positive definite"));
        let means = share(LinearHead::class_mean(&statistics));
        assert!(lda >= 198 && means < 150, "{lda} {means}");
    }

    #[test]
    fn noise_that_is_told_does_not_make_the_covariance_indefinite() {
        let (features, labels) = texts();
        let exact = Statistics::from_texts(&features, &labels, 2, 2);
        let wave = |at: usize| if at.is_multiple_of(2) { -40.0 } else { 40.0 };
        let values = exact.values().iter().enumerate().map(|(at, value)| value + wave(at)).collect();
        let noised = Statistics::from_values(values, 2, 2).expect("the same shape");
        assert!(matches!(LinearHead::lda(&noised, 0.0), Err(LabError::Singular { .. })));
        assert!(LinearHead::lda(&noised.noised_by(40.0), 0.0).is_ok());
        assert_eq!(noise_norm(&exact), 0.0);
    }

    #[test]
    fn degenerate_features_are_refused_and_shrinkage_mends_them() {
        let statistics =
            Statistics::from_texts(&[1.0, 1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0], &[0, 0, 1, 1], 2, 2);
        assert!(matches!(LinearHead::lda(&statistics, 0.0), Err(LabError::Singular { .. })));
        assert!(LinearHead::lda(&statistics, 0.1).is_ok());
    }
}
