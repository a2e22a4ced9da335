//! The results of a run, and their files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::charges::SeedCharges;
use crate::config::{Config, Division, HeadKind};
use crate::epsilons::{RELEASED_DELTA, RunEpsilons, in_csv};
use crate::error::LabError;
use crate::estimate::{AccuracyEstimate, mean};
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
    /// Bytes of masked blocks that all members uploaded; none in the clear, and of runs from before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_bytes: Option<u64>,
    /// Bytes of sketches and token counts that all members announced; none in the clear, and of runs from before this
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_bytes: Option<u64>,
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
            masked_bytes: None,
            announced_bytes: None,
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
    /// How many texts or questions accuracy was measured on; none in files from before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_on: Option<usize>,
    /// Of each member, the accuracy of its model after the last round on the measured texts, weighted by the member's
    /// mix of labels. None of runs without training, of questions, and in files from before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_by_mix: Option<Vec<f64>>,
    /// What members released behind masks in all rounds; none in the clear, and in files from before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charges: Option<SeedCharges>,
}

/// The outcome of one seed, before it is labelled with seed and digest.
pub(crate) struct SeedOutcome {
    /// How many texts each member has of each class; of questions, of each topic.
    pub(crate) labels: Vec<Vec<usize>>,
    pub(crate) rounds: Vec<MeasuredRound>,
    /// ε of the head from sums, where it carries noise.
    pub(crate) epsilon_of_head: Option<f64>,
    /// How many texts or questions accuracy was measured on.
    pub(crate) measured_on: usize,
    /// Of each member, accuracy by its mix of labels after the last round.
    pub(crate) accuracy_by_mix: Option<Vec<f64>>,
    /// What members released behind masks.
    pub(crate) charges: Option<SeedCharges>,
}

impl SeedOutcome {
    /// The result of this seed, of the run with this digest.
    pub(crate) fn labelled(self, seed: u64, run: &str) -> SeedResult {
        SeedResult {
            seed,
            run: run.to_owned(),
            labels: self.labels,
            rounds: self.rounds,
            epsilon_of_head: self.epsilon_of_head,
            measured_on: Some(self.measured_on),
            accuracy_by_mix: self.accuracy_by_mix,
            charges: self.charges,
        }
    }
}

impl SeedResult {
    /// Accuracy after the last round; 0 where nothing was measured.
    pub(crate) fn last(&self) -> f64 {
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
}

impl RunSummary {
    pub(crate) fn new(measured: Vec<SeedResult>) -> Self {
        let mean = mean(&measured.iter().map(SeedResult::last).collect::<Vec<f64>>());
        Self { measured, mean }
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
            "accuracy": self.estimate(),
            "secure": config.secure,
            "epsilon_of_head": self.epsilon_of_head(),
            "epsilon_of_training": self.epsilon_of_training(config),
            "epsilons": self.epsilons(config, RELEASED_DELTA),
            "notes": self.notes_on_head(config),
        })
    }

    /// The ε of DP-SGD alone, at the configuration's δ, for the texts of the member that has the fewest: there each text
    /// is in the largest share of the batches. None without private training.
    pub fn epsilon_of_training(&self, config: &Config) -> Option<f64> {
        let members = self.measured.iter().flat_map(|seed| &seed.labels);
        let fewest = members.map(|labels| labels.iter().sum()).min()?;
        private::epsilon(&config.strategy.training, fewest)
    }

    /// The largest ε over seeds of the head from sums alone, by the members' ledgers; none where it carries no noise.
    pub fn epsilon_of_head(&self) -> Option<f64> {
        self.measured.iter().filter_map(|seed| seed.epsilon_of_head).max_by(f64::total_cmp)
    }

    /// Every ε of the run, those of releases behind masks at `delta`.
    pub fn epsilons(&self, config: &Config, delta: f64) -> RunEpsilons {
        let mut charges: Vec<&SeedCharges> = Vec::new();
        for seed in &self.measured {
            // Most seeds release alike, and an account may take a while.
            charges.extend(seed.charges.as_ref().filter(|other| !charges.contains(other)));
        }
        let (training, head) = (self.epsilon_of_training(config), self.epsilon_of_head());
        RunEpsilons::new(config, training, head, &charges, delta)
    }

    /// Accuracy after the last round, with intervals.
    pub fn estimate(&self) -> AccuracyEstimate {
        let accuracies: Vec<f64> = self.measured.iter().map(SeedResult::last).collect();
        // The fewest: an interval of more texts than a seed has would be too narrow.
        let measured_on = self.measured.iter().map(|seed| seed.measured_on).min().flatten();
        AccuracyEstimate::new(&accuracies, measured_on)
    }

    /// What a reader has to know where training starts on top of a head from sums: a plain sentence, and another where
    /// training changed no seed's accuracy. Empty where nothing is trained, or training starts without such a head.
    pub fn notes_on_head(&self, config: &Config) -> Vec<String> {
        let firsts = self.measured.iter().map(|seed| seed.rounds.first().and_then(|round| round.accuracy));
        let Some(firsts) = firsts.collect::<Option<Vec<f64>>>() else {
            return Vec::new();
        };
        let is_on_head = config.head.kind != HeadKind::None || config.strategy.training.head_every.is_some();
        if !is_on_head || !config.strategy.trains() || firsts.is_empty() {
            return Vec::new();
        }
        let before = 100.0 * mean(&firsts);
        let mut notes = vec![format!(
            "Training starts on top of a head that was fitted from sums; this head alone classifies {before:.2} % \
             correctly."
        )];
        if self.measured.iter().zip(&firsts).all(|(seed, before)| seed.last() == *before) {
            notes.push(
                "Training changed nothing: in every seed, the accuracy after training equals that of the head \
                 alone."
                    .to_owned(),
            );
        }
        notes
    }

    /// A line for each seed and round. Each ε is that of the whole run, at the δ of [`RELEASED_DELTA`] behind masks.
    pub fn to_csv(&self, config: &Config) -> String {
        let epsilons = self.epsilons(config, RELEASED_DELTA).columns();
        let mut lines = vec![COLUMNS.to_owned() + &epsilons.map(|(name, _)| format!(",{name}")).concat()];
        let of_run = epsilons.map(|(_, epsilon)| format!(",{}", in_csv(epsilon))).concat();
        for seed in &self.measured {
            lines.extend(seed.rounds.iter().map(|round| round.to_csv(seed.seed) + &of_run));
        }
        lines.join("\n") + "\n"
    }
}

/// The columns of `results.csv` before those of ε.
const COLUMNS: &str =
    "seed,round,accuracy,loss,aligned_experts,left_out,head_without,consensus,masked_bytes,announced_bytes";

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
            whole(self.masked_bytes),
            whole(self.announced_bytes),
        ];
        fields.join(",")
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.4}"))
}

fn whole(value: Option<u64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Numbers with spaces between them.
fn spaced(numbers: Option<&[usize]>) -> String {
    numbers.unwrap_or_default().iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

/// The result of an earlier run with this seed, if it was the same run. A file that cannot be read is measured again.
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
            masked_bytes: Some(7),
            ..MeasuredRound::before(Some(accuracy))
        };
        let rounds = vec![MeasuredRound::before(None), after];
        let outcome = SeedOutcome {
            labels: vec![vec![1]],
            rounds,
            epsilon_of_head: None,
            measured_on: 10,
            accuracy_by_mix: None,
            charges: None,
        };
        outcome.labelled(seed, "r")
    }

    #[test]
    fn the_summary_is_of_the_last_round() {
        let summary = RunSummary::new(vec![measured(0, 0.8), measured(1, 0.9)]);
        assert!((summary.mean - 0.85).abs() < 1e-12);
        assert!((summary.estimate().std - 0.070_710_678).abs() < 1e-6);
        assert_eq!(RunSummary::new(vec![measured(0, 0.8)]).estimate().std, 0.0);
        let by_round = summary.by_round();
        assert!(by_round.len() == 1 && by_round[0].0 == 1 && (by_round[0].1 - 0.85).abs() < 1e-12);
        assert_eq!(summary.aligned(), None);
        let text = "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n";
        let csv = summary.to_csv(&Config::parse(text, "the test", &[]).expect("a configuration"));
        assert_eq!(
            csv.lines().skip(1).take(2).collect::<Vec<_>>(),
            ["0,0,,,,,,,,,,,,,,,,", "0,1,0.8000,,,0 3,2,0.400 -,7,,,,,,,,,"]
        );
        let consensus = summary.consensus_by_round();
        assert!(consensus.len() == 1 && consensus[0].0 == 1 && (consensus[0].1 - 0.425).abs() < 1e-12);
    }

    #[test]
    fn training_on_top_of_a_head_is_named_and_so_is_training_that_changed_nothing() {
        let text = "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n[strategy]\nname = \"FedAvg\"\n";
        let with = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
            Config::parse(text, "the test", &settings).expect("a configuration")
        };
        let starting = |seed, before, after| {
            let mut result = measured(seed, after);
            result.rounds[0].accuracy = Some(before);
            result
        };
        let same = RunSummary::new(vec![starting(0, 0.7, 0.7), starting(1, 0.8, 0.8)]);
        let notes = same.notes_on_head(&with(&[]));
        assert!(
            notes.len() == 2 && notes[0].contains("75.00 %") && notes[1].contains("nothing"),
            "{notes:?}"
        );
        let better = RunSummary::new(vec![starting(0, 0.7, 0.7), starting(1, 0.8, 0.9)]);
        assert_eq!(better.notes_on_head(&with(&[])).len(), 1);
        assert!(same.notes_on_head(&with(&["strategy.name=Head"])).is_empty(), "nothing is trained");
        assert!(same.notes_on_head(&with(&["head.kind=none"])).is_empty(), "there is no head from sums");
    }
}
