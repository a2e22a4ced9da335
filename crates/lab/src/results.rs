//! The results of a run, and their files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Config, Division};
use crate::error::LabError;
use crate::private;

/// Measurements after a round. Round 0 is before any training, with the head from sums alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeasuredRound {
    /// The round, from 0.
    pub round: usize,
    /// Share of the texts that nobody trained on that are classified right; of members with models of their own the
    /// mean. None before training where there is no head from sums.
    pub accuracy: Option<f64>,
    /// Mean loss of the members at the end of their training, in nats a text.
    pub loss: Option<f64>,
    /// Experts whose cohort was not everyone.
    pub aligned: Option<usize>,
    /// Of each member, how many experts' cohorts were without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Vec<usize>>,
    /// Members, from 1, that the head was summed without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_without: Option<Vec<usize>>,
    /// Of each member, its consensus with another member, from 0 to 1: the mean over the others and over experts that
    /// have one for it. Behind masks it is what the coordinator reads off noised sketches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<Vec<Option<f64>>>,
}

impl MeasuredRound {
    /// Before training.
    pub(crate) fn before(accuracy: Option<f64>) -> Self {
        Self {
            round: 0,
            accuracy,
            loss: None,
            aligned: None,
            left_out: None,
            head_without: None,
            consensus: None,
        }
    }
}

/// The results of one seed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// Digest of everything that decides the result except the seed. A file with another digest is measured
    /// again.
    pub run: String,
    /// How many texts each member has of each class, by their right labels; of questions, of each topic.
    pub labels: Vec<Vec<usize>>,
    /// After each round.
    pub rounds: Vec<MeasuredRound>,
    /// ε of the head from sums, where it carries noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon_of_head: Option<f64>,
}

/// The outcome of one seed, before it is labelled with seed and digest.
pub(crate) struct SeedOutcome {
    /// How many texts each member has of each class; of questions, of each topic.
    pub(crate) labels: Vec<Vec<usize>>,
    pub(crate) rounds: Vec<MeasuredRound>,
    /// ε of the head from sums, where it carries noise.
    pub(crate) epsilon_of_head: Option<f64>,
}

impl SeedResult {
    fn last(&self) -> f64 {
        self.rounds.last().and_then(|round| round.accuracy).unwrap_or(0.0)
    }
}

/// A whole run.
#[derive(Clone, PartialEq, Debug)]
pub struct RunSummary {
    /// One for each seed.
    pub measured: Vec<SeedResult>,
    /// The last round's accuracy, mean over seeds.
    pub mean: f64,
    /// Its standard deviation over seeds (with n − 1); 0 for one seed.
    pub std: f64,
}

impl RunSummary {
    pub(crate) fn new(measured: Vec<SeedResult>) -> Self {
        let count = measured.len() as f64;
        let mean = measured.iter().map(SeedResult::last).sum::<f64>() / count;
        let squares: f64 = measured.iter().map(|seed| (seed.last() - mean).powi(2)).sum();
        let std = if measured.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
        Self { measured, mean, std }
    }

    /// Accuracy after each round that was measured, the mean over seeds.
    pub fn by_round(&self) -> Vec<(usize, f64)> {
        let rounds = self.measured.iter().map(|seed| seed.rounds.len()).min().unwrap_or(0);
        let mut means = Vec::new();
        for round in 0..rounds {
            let accuracies = self.measured.iter().map(|seed| seed.rounds[round].accuracy);
            // The sum is none if any is: before training there may be no head to measure.
            if let Some(sum) = accuracies.sum::<Option<f64>>() {
                means.push((round, sum / self.measured.len() as f64));
            }
        }
        means
    }

    /// Consensus of two members after each round, the mean over members and seeds; empty of strategies without scores.
    pub fn consensus_by_round(&self) -> Vec<(usize, f64)> {
        let rounds = self.measured.iter().map(|seed| seed.rounds.len()).max().unwrap_or(0);
        let mut means = Vec::new();
        for round in 0..rounds {
            let measured = self.measured.iter().filter_map(|seed| seed.rounds.get(round));
            let consensus = measured.filter_map(|round| round.consensus.as_deref());
            let known: Vec<f64> = consensus.flatten().flatten().copied().collect();
            if !known.is_empty() {
                means.push((round, mean(&known)));
            }
        }
        means
    }

    /// Experts whose cohort was not everyone, the mean over seeds and rounds; none for strategies without
    /// cohorts.
    pub fn aligned(&self) -> Option<f64> {
        let rounds = self.measured.iter().flat_map(|seed| &seed.rounds);
        let aligned: Vec<f64> =
            rounds.filter_map(|round| round.aligned).map(|experts| experts as f64).collect();
        (!aligned.is_empty()).then(|| mean(&aligned))
    }

    /// The JSON object that a run prints at its end.
    pub fn to_json(&self, config: &Config) -> Value {
        let partition = &config.partition;
        json!({
            "dataset": config.dataset,
            "strategy": config.strategy.kind.name(),
            "head": config.head.kind,
            "division": partition.division,
            "alpha": (partition.division == Division::Dirichlet).then_some(partition.alpha),
            "members": partition.members,
            "rounds": self.measured.first().map_or(0, |seed| seed.rounds.len().saturating_sub(1)),
            "seeds": partition.seeds,
            "aligned_experts": self.aligned(),
            "accuracy": { "mean": self.mean, "std": self.std },
            "secure": config.secure,
            "epsilon_of_head": self.epsilon_of_head(),
            "epsilon_of_training": self.epsilon_of_training(config),
        })
    }

    /// The ε of DP-SGD alone, at the configuration's δ, for the texts of the member that has the fewest:
    /// there each text is in the largest share of the batches. None without private training. It does not
    /// include routing, sketches and counts, which strategies may release as well.
    pub fn epsilon_of_training(&self, config: &Config) -> Option<f64> {
        let members = self.measured.iter().flat_map(|seed| &seed.labels);
        let fewest = members.map(|labels| labels.iter().sum()).min()?;
        private::epsilon(&config.strategy.training, fewest)
    }

    /// The largest ε over seeds of the head from sums alone, by the members' ledgers; none where it carries no noise.
    pub fn epsilon_of_head(&self) -> Option<f64> {
        self.measured.iter().filter_map(|seed| seed.epsilon_of_head).max_by(f64::total_cmp)
    }

    /// A line for each seed and round.
    pub fn to_csv(&self) -> String {
        let mut lines =
            vec!["seed,round,accuracy,loss,aligned_experts,left_out,head_without,consensus".to_owned()];
        for seed in &self.measured {
            lines.extend(seed.rounds.iter().map(|round| round.to_csv(seed.seed)));
        }
        lines.join("\n") + "\n"
    }
}

impl MeasuredRound {
    /// The round as a line. Fields that were not measured are empty; a member without a consensus has a
    /// hyphen.
    fn to_csv(&self, seed: u64) -> String {
        let mut consensus = Vec::new();
        for member in self.consensus.iter().flatten() {
            consensus.push(member.map_or("-".to_owned(), |consensus| format!("{consensus:.3}")));
        }
        let fields = [
            seed.to_string(),
            self.round.to_string(),
            number(self.accuracy),
            number(self.loss),
            self.aligned.map_or(String::new(), |experts| experts.to_string()),
            spaced(self.left_out.as_deref()),
            spaced(self.head_without.as_deref()),
            consensus.join(" "),
        ];
        fields.join(",")
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.4}"))
}

/// Numbers with spaces between them.
fn spaced(numbers: Option<&[usize]>) -> String {
    numbers.unwrap_or_default().iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The result of an earlier run with this seed, if it was the same run. A file that cannot be read is
/// measured again.
pub(crate) fn resume(path: &Path, run: &str) -> Option<SeedResult> {
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text).ok().filter(|result: &SeedResult| result.run == run)
}

/// Writes an object as JSON, with a line end.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LabError> {
    let text = serde_json::to_string_pretty(value).expect("results are plain data") + "\n";
    fs::write(path, text).map_err(LabError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(seed: u64, accuracy: f64) -> SeedResult {
        let (left_out, consensus) = (Some(vec![0, 3]), Some(vec![Some(accuracy / 2.0), None]));
        let head_without = Some(vec![2]);
        let after = MeasuredRound {
            round: 1,
            left_out,
            head_without,
            consensus,
            ..MeasuredRound::before(Some(accuracy))
        };
        let rounds = vec![MeasuredRound::before(None), after];
        SeedResult { seed, run: "r".to_owned(), labels: vec![vec![1]], rounds, epsilon_of_head: None }
    }

    #[test]
    fn the_summary_is_of_the_last_round() {
        let summary = RunSummary::new(vec![measured(0, 0.8), measured(1, 0.9)]);
        assert!((summary.mean - 0.85).abs() < 1e-12 && (summary.std - 0.070_710_678).abs() < 1e-6);
        assert_eq!(RunSummary::new(vec![measured(0, 0.8)]).std, 0.0);
        let by_round = summary.by_round();
        assert!(by_round.len() == 1 && by_round[0].0 == 1 && (by_round[0].1 - 0.85).abs() < 1e-12);
        assert_eq!(summary.aligned(), None);
        let csv = summary.to_csv();
        assert_eq!(
            csv.lines().skip(1).take(2).collect::<Vec<_>>(),
            ["0,0,,,,,,", "0,1,0.8000,,,0 3,2,0.400 -"]
        );
        let consensus = summary.consensus_by_round();
        assert!(consensus.len() == 1 && consensus[0].0 == 1 && (consensus[0].1 - 0.425).abs() < 1e-12);
    }
}
