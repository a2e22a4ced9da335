//! What noise costs in accuracy, if the lab has measured it by two runs that differ in nothing but noise.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use cloister_params::id::Digest;

/// The reason if nobody named two runs.
const NOT_NAMED: &str = "no two runs of the lab, with and without this noise, were given";

/// What noise costs in accuracy, as the privacy statement reports it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum AccuracyCost {
    /// Two runs of the lab measured it.
    Measured {
        /// The name of the data set.
        dataset: String,
        /// Accuracy with noise.
        with_noise: RunAccuracy,
        /// Accuracy without noise.
        without_noise: RunAccuracy,
        /// By how much noise lowers the mean accuracy, as a share of the texts from −1 to 1. Below 0,
        /// accuracy is higher with noise.
        cost: f64,
    },
    /// It is not known.
    NotMeasured {
        /// Why it is not known.
        reason: &'static str,
    },
}

/// The accuracy that a run of the lab measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunAccuracy {
    /// The share of held-out texts, on which nobody trained, that the model classified correctly: the mean
    /// over seeds, from 0 to 1.
    pub accuracy: f64,
    /// The standard deviation of that share over seeds.
    pub deviation: f64,
    /// The number of seeds.
    pub seeds: usize,
    /// ε of private training for one text; `None` without private training.
    pub epsilon_of_training: Option<f64>,
    /// SHA-256 of the run's manifest.
    pub manifest: Digest,
}

/// Why two runs do not show what noise costs.
#[derive(Debug, Error)]
pub enum RunsError {
    /// Not a manifest of the lab.
    #[error("the file is not a manifest of `cloister lab run`: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The runs differ in something else.
    #[error(
        "the runs with and without noise differ in {what} ({with_noise} and {without_noise}), so that \
         their accuracies differ for another reason than noise; give two runs that differ in noise alone"
    )]
    Differ {
        /// The property in which they differ.
        what: &'static str,
        /// Its value in the run with noise.
        with_noise: String,
        /// Its value in the run without noise.
        without_noise: String,
    },
    /// The runs are in the wrong order, or noise is in both or in neither.
    #[error("{0}; give one run with private training and one without it")]
    Noise(&'static str),
}

/// The part of a manifest that is read.
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
    /// What is reported if nobody named two runs.
    pub fn not_named() -> Self {
        Self::NotMeasured { reason: NOT_NAMED }
    }

    /// The cost from the manifests (JSON) of two runs of the lab.
    ///
    /// # Errors
    /// Files that are not manifests, or runs that differ in more than noise.
    pub fn from_runs(with_noise: &[u8], without_noise: &[u8]) -> Result<Self, RunsError> {
        let (noised, plain) = (Summary::read(with_noise)?, Summary::read(without_noise)?);
        // Compared before anything is subtracted: a difference in data or rounds would pass for noise's cost.
        noised.compare(&plain)?;
        let cost = plain.accuracy.mean - noised.accuracy.mean;
        let dataset = noised.dataset.clone();
        let (with_noise, without_noise) = (noised.measured(with_noise), plain.measured(without_noise));
        Ok(Self::Measured { dataset, with_noise, without_noise, cost })
    }
}

impl Summary {
    fn read(manifest: &[u8]) -> Result<Self, RunsError> {
        Ok(serde_json::from_slice::<Manifest>(manifest)?.summary)
    }

    /// Checks that the other run is the same but for noise.
    fn compare(&self, other: &Self) -> Result<(), RunsError> {
        match (self.epsilon_of_training, other.epsilon_of_training) {
            (Some(_), None) => {}
            (None, _) => {
                return Err(RunsError::Noise("the run given as the one with noise has no private training"));
            }
            (Some(_), Some(_)) => return Err(RunsError::Noise("both runs have private training")),
        }
        let differ = self.terms().into_iter().zip(other.terms()).find(|(one, other)| one != other);
        match differ {
            Some(((what, with_noise), (_, without_noise))) => {
                Err(RunsError::Differ { what, with_noise, without_noise })
            }
            None => Ok(()),
        }
    }

    /// Everything that must be the same in both runs.
    fn terms(&self) -> [(&'static str, String); 6] {
        [
            ("data", self.dataset.clone()),
            ("strategy", self.strategy.clone()),
            ("division", self.division.clone()),
            ("members", self.members.to_string()),
            ("rounds", self.rounds.to_string()),
            // Seeds decide which texts are held out and how the others are divided, which moves accuracy too.
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
        assert!(matches!(cost(&noised, &noised), Err(RunsError::Noise("both runs have private training"))));
        let mut other = plain;
        other["summary"]["members"] = 6.into();
        assert!(matches!(cost(&noised, &other), Err(RunsError::Differ { what: "members", .. })));
        assert!(matches!(AccuracyCost::from_runs(b"{}", b"{}"), Err(RunsError::Manifest(_))));
    }
}
