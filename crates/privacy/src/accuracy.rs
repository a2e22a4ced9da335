//! What noise costs in accuracy, where the lab has measured it: two runs that differ in nothing but noise.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use cloister_params::id::Digest;

/// Why nothing is said where nobody named two runs.
const NOT_NAMED: &str = "no runs of the lab with and without this noise were named";

/// What noise costs in accuracy.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum AccuracyCost {
    /// As two runs of the lab have it.
    Measured {
        /// The data.
        dataset: String,
        /// Accuracy with noise.
        with_noise: RunAccuracy,
        /// Accuracy without.
        without_noise: RunAccuracy,
        /// By how much the mean accuracy is lower with noise, as a share of the texts; below 0 where it is higher.
        cost: f64,
    },
    /// It is not known.
    NotMeasured {
        /// Why.
        reason: &'static str,
    },
}

/// What a run of the lab measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunAccuracy {
    /// Mean over seeds of the share of texts that nobody trained on that are classified right.
    pub accuracy: f64,
    /// Its standard deviation over seeds.
    pub deviation: f64,
    /// How many seeds.
    pub seeds: usize,
    /// ε of private training for each text; none without.
    pub epsilon_of_training: Option<f64>,
    /// SHA-256 of the run's manifest.
    pub manifest: Digest,
}

/// Two runs that say nothing about noise.
#[derive(Debug, Error)]
pub enum RunsError {
    /// Not a manifest of the lab.
    #[error("it is no manifest of `cloister lab run`: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The runs differ in something else.
    #[error(
        "the runs with and without noise differ in {what}, {with_noise} and {without_noise}: their difference is not that of noise"
    )]
    Differ {
        /// In what.
        what: &'static str,
        /// With noise.
        with_noise: String,
        /// Without.
        without_noise: String,
    },
    /// They are in the wrong order, or both the same.
    #[error("private training is in {0}: name a run with it and one without it")]
    Noise(&'static str),
}

/// What is read of a manifest.
#[derive(Deserialize)]
struct Manifest {
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    dataset: String,
    strategy: String,
    division: String,
    members: u64,
    rounds: u64,
    seeds: Vec<u64>,
    accuracy: Accuracy,
    epsilon_of_training: Option<f64>,
}

#[derive(Deserialize)]
struct Accuracy {
    mean: f64,
    std: f64,
}

impl AccuracyCost {
    /// Where nobody named two runs.
    pub fn not_named() -> Self {
        Self::NotMeasured { reason: NOT_NAMED }
    }

    /// From the manifests of two runs of the lab, with noise and without.
    ///
    /// # Errors
    /// Files that are no manifests, or runs that differ in more than noise.
    pub fn from_runs(with_noise: &[u8], without_noise: &[u8]) -> Result<Self, RunsError> {
        let read = |bytes| serde_json::from_slice::<Manifest>(bytes).map(|manifest| manifest.summary);
        let (noised, plain) = (read(with_noise)?, read(without_noise)?);
        noised.compare(&plain)?;
        let cost = plain.accuracy.mean - noised.accuracy.mean;
        let dataset = noised.dataset.clone();
        let (with_noise, without_noise) = (noised.measured(with_noise), plain.measured(without_noise));
        Ok(Self::Measured { dataset, with_noise, without_noise, cost })
    }
}

impl Summary {
    fn compare(&self, other: &Self) -> Result<(), RunsError> {
        match (self.epsilon_of_training, other.epsilon_of_training) {
            (Some(_), None) => {}
            (None, _) => return Err(RunsError::Noise("neither, or in the one named as without noise")),
            (Some(_), Some(_)) => return Err(RunsError::Noise("both")),
        }
        let differ = self.terms().into_iter().zip(other.terms()).find(|(one, other)| one != other);
        match differ {
            Some(((what, with_noise), (_, without_noise))) => {
                Err(RunsError::Differ { what, with_noise, without_noise })
            }
            None => Ok(()),
        }
    }

    /// Everything that must be the same.
    fn terms(&self) -> [(&'static str, String); 6] {
        [
            ("data", self.dataset.clone()),
            ("strategy", self.strategy.clone()),
            ("division", self.division.clone()),
            ("members", self.members.to_string()),
            ("rounds", self.rounds.to_string()),
            ("seeds", format!("{:?}", self.seeds)),
        ]
    }

    fn measured(&self, manifest: &[u8]) -> RunAccuracy {
        RunAccuracy {
            accuracy: self.accuracy.mean,
            deviation: self.accuracy.std,
            seeds: self.seeds.len(),
            epsilon_of_training: self.epsilon_of_training,
            manifest: Digest(Sha256::digest(manifest).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest(accuracy: f64, epsilon: Option<f64>) -> Value {
        json!({ "cloister": "0.1.0", "summary": {
            "dataset": "AG News", "strategy": "FedAvg", "division": "iid", "members": 5, "rounds": 4, "seeds": [0, 1],
            "accuracy": { "mean": accuracy, "std": 0.01 }, "secure": false, "epsilon_of_training": epsilon,
        }})
    }

    fn cost(with: &Value, without: &Value) -> Result<AccuracyCost, RunsError> {
        AccuracyCost::from_runs(with.to_string().as_bytes(), without.to_string().as_bytes())
    }

    /// PRIV-09
    #[test]
    fn the_cost_is_the_difference_of_two_runs_that_differ_in_noise_alone() {
        let (noised, plain) = (manifest(0.75, Some(3.5)), manifest(0.875, None));
        let Ok(AccuracyCost::Measured { cost: found, with_noise, dataset, .. }) = cost(&noised, &plain)
        else {
            panic!("measured");
        };
        assert_eq!((found, with_noise.epsilon_of_training, with_noise.seeds), (0.125, Some(3.5), 2));
        assert_eq!(dataset, "AG News");
        assert!(matches!(cost(&plain, &noised), Err(RunsError::Noise(_))), "the wrong way round");
        assert!(matches!(cost(&noised, &noised), Err(RunsError::Noise("both"))));
        let mut other = plain;
        other["summary"]["members"] = 6.into();
        assert!(matches!(cost(&noised, &other), Err(RunsError::Differ { what: "members", .. })));
        assert!(matches!(AccuracyCost::from_runs(b"{}", b"{}"), Err(RunsError::Manifest(_))));
    }
}
