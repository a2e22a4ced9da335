//! What noise costs in accuracy, if the lab has measured it by two runs that differ in nothing but noise.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
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
        /// The setting in which they differ.
        what: String,
        /// Its value in the run with noise.
        with_noise: String,
        /// Its value in the run without noise.
        without_noise: String,
    },
    /// The runs are in the wrong order, or noise is in both or in neither.
    #[error("{0}; give one run with private training and one without it")]
    Noise(&'static str),
}

/// The settings of a run that are noise, with all that are below them. Runs may differ in them.
const NOISE: [&str; 3] = ["strategy.private", "scoring.noise_steps", "head.noise"];

/// The part of a manifest that is read.
#[derive(Deserialize)]
struct Manifest {
    summary: Summary,
    /// Every setting of the run, defaults included.
    settings: serde_json::Map<String, Value>,
    /// The files of texts, with their digests.
    data: Value,
    /// The program that trains; absent or null for the lab's own training.
    #[serde(default)]
    trainer: Value,
}

#[derive(Deserialize)]
struct Summary {
    dataset: String,
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
        let [noised, plain]: [Manifest; 2] =
            [serde_json::from_slice(with_noise)?, serde_json::from_slice(without_noise)?];
        // Compared before anything is subtracted: a difference in data or rounds would pass for noise's cost.
        noised.compare(&plain)?;
        let (noised, plain) = (noised.summary, plain.summary);
        let cost = plain.accuracy.mean - noised.accuracy.mean;
        let dataset = noised.dataset.clone();
        let (with_noise, without_noise) = (noised.measured(with_noise), plain.measured(without_noise));
        Ok(Self::Measured { dataset, with_noise, without_noise, cost })
    }
}

impl Manifest {
    /// Checks that the other run is the same but for noise.
    fn compare(&self, other: &Self) -> Result<(), RunsError> {
        match (self.summary.epsilon_of_training, other.summary.epsilon_of_training) {
            (Some(_), None) => {}
            (None, _) => {
                return Err(RunsError::Noise("the run given as the one with noise has no private training"));
            }
            (Some(_), Some(_)) => return Err(RunsError::Noise("both runs have private training")),
        }
        let (one, other) = (self.terms(), other.terms());
        let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for what in names {
            let [with_noise, without_noise] =
                [&one, &other].map(|terms| terms.get(what).map_or("nothing", String::as_str).to_owned());
            if with_noise != without_noise {
                return Err(RunsError::Differ { what: what.clone(), with_noise, without_noise });
            }
        }
        Ok(())
    }

    /// Everything that must be the same in both runs. Seeds are among it: they decide which texts are held out and how
    /// the others are divided, which moves accuracy too.
    fn terms(&self) -> BTreeMap<String, String> {
        let mut terms = BTreeMap::new();
        for (name, value) in &self.settings {
            collect(name.clone(), value, &mut terms);
        }
        terms.insert("the files of texts".to_owned(), self.data.to_string());
        terms.insert("the training program".to_owned(), self.trainer.to_string());
        terms
    }
}

/// Collects the settings of a part of a configuration by their whole names, except for noise.
fn collect(name: String, value: &Value, terms: &mut BTreeMap<String, String>) {
    if NOISE.contains(&name.as_str()) {
        return;
    }
    match value {
        Value::Object(parts) => {
            for (part, value) in parts {
                collect(format!("{name}.{part}"), value, terms);
            }
        }
        value => {
            terms.insert(name, value.to_string());
        }
    }
}

impl Summary {
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
    use serde_json::json;

    use super::*;

    /// A manifest with this value of a setting, given by its JSON pointer.
    fn changed(accuracy: f64, epsilon: Option<f64>, (pointer, value): (&str, Value)) -> Value {
        let private = epsilon.map(|_| json!({ "noise_multiplier": 1.0 }));
        let mut settings = json!({
            "dataset": "AG News", "secure": false, "partition": { "division": "dirichlet", "alpha": 0.1, "members": 5 },
            "head": { "kind": "none" }, "scoring": { "noise_steps": 80 },
            "strategy": { "name": "FedAvg", "num_rounds": 4, "private": private },
        });
        *settings.pointer_mut(pointer).expect("a setting") = value;
        json!({
            "cloister": "0.1.0", "settings": settings, "device": "Cpu", "trainer": null,
            "data": [{ "file": "texts", "sha256": "00" }],
            "summary": {
                "dataset": "AG News", "seeds": [0, 1], "accuracy": { "mean": accuracy, "std": 0.01 },
                "epsilon_of_training": epsilon,
            },
        })
    }

    fn manifest(accuracy: f64, epsilon: Option<f64>) -> Value {
        changed(accuracy, epsilon, ("/dataset", "AG News".into()))
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
        let differ = |other: &Value| match cost(&noised, other) {
            Err(RunsError::Differ { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        for (pointer, value, name) in [
            ("/partition/members", json!(6), "partition.members"),
            ("/partition/alpha", json!(0.2), "partition.alpha"),
            ("/head/kind", json!("lda"), "head.kind"),
            ("/secure", json!(true), "secure"),
            ("/strategy/num_rounds", json!(9), "strategy.num_rounds"),
        ] {
            assert_eq!(differ(&changed(0.875, None, (pointer, value))), name);
        }
        let mut other = plain;
        other["data"][0]["sha256"] = "01".into();
        assert_eq!(differ(&other), "the files of texts");
        let noise = changed(0.875, None, ("/scoring/noise_steps", json!(0)));
        assert!(cost(&noised, &noise).is_ok(), "control: noise may differ");
        assert!(matches!(AccuracyCost::from_runs(b"{}", b"{}"), Err(RunsError::Manifest(_))));
    }
}
