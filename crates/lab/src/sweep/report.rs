//! The results of a sweep: a row for each row and value, paired differences, and single runs.

use std::path::Path;

use serde::Serialize;

use super::{SweepPoint, SweepSettings, stopwatch};
use crate::epsilons::{RunEpsilons, spelled};
use crate::estimate::{AccuracyEstimate, RESAMPLES, ShareInterval, bootstrap, mean};
use crate::ladder::RowResult;
use crate::results::{MeasuredRound, SeedResult};

/// Accuracy of members on their own mixes of labels.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MixAccuracy {
    /// The mean over members and seeds.
    pub mean: f64,
    /// That of the member with the least, the mean over seeds.
    pub least: f64,
    /// That of the member with the most, the mean over seeds.
    pub most: f64,
}

/// The result of a row at a value.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SweepRow {
    /// The row's name.
    pub row: String,
    /// The swept value; none for baselines.
    pub value: Option<f64>,
    /// The swept key; none for baselines.
    pub key: Option<String>,
    /// The ε that the value was solved for, if it was.
    pub target_epsilon: Option<f64>,
    /// The strategy.
    pub strategy: String,
    /// The ε that the curve is drawn over.
    #[serde(serialize_with = "spelled")]
    pub epsilon: Option<f64>,
    /// Every ε.
    pub epsilons: RunEpsilons,
    /// Accuracy after the last round.
    pub accuracy: AccuracyEstimate,
    /// The last models on the members' own mixes of labels. Texts are those that all members are measured on, because
    /// members hold no test texts; a class without such texts is left out of the mix.
    pub by_mix: Option<MixAccuracy>,
    /// Whether no other swept row and value has an ε at most as large and an accuracy at least as high, one of them
    /// strictly. Only finite ε count, and baselines do not.
    pub is_on_front: bool,
    /// What a reader has to know of heads from sums.
    pub notes: Vec<String>,
    /// The run of each seed.
    pub runs: Vec<SweepRun>,
}

/// The run of one seed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct SweepRun {
    /// The seed.
    pub seed: u64,
    /// Accuracy after the last round.
    pub accuracy: f64,
    /// How many texts it was measured on.
    pub measured_on: Option<usize>,
    /// Bytes of masked blocks that all members uploaded in all rounds; none in the clear.
    pub masked_bytes: Option<u64>,
    /// Bytes of sketches and counts that all members announced in all rounds; none in the clear.
    pub announced_bytes: Option<u64>,
    /// Seconds of training and measurement. None of a run that another process began.
    pub seconds: Option<f64>,
}

/// Accuracy of one row and value minus that of another, over the seeds that both have.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PairedDifference {
    /// Name of the first row, whose accuracy counts as plus.
    pub row: String,
    /// Its value.
    pub value: Option<f64>,
    /// Name of the row that is subtracted.
    pub minus: String,
    /// Its value; none for a baseline.
    pub minus_value: Option<f64>,
    /// How many seeds both have.
    pub seeds: usize,
    /// The mean difference.
    pub mean: f64,
    /// The percentile bootstrap interval; none for one seed.
    pub interval: Option<ShareInterval>,
    /// Resamples of the interval.
    pub resamples: usize,
}

/// A sweep's results.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SweepReport {
    /// Name of the data.
    pub dataset: String,
    /// What was swept.
    pub settings: SweepSettings,
    /// The ε of the curve, in words.
    pub axis: String,
    /// Rows at their values, and baselines, in the file's order.
    pub rows: Vec<SweepRow>,
    /// Differences between rows at each value, and of each row and value from each baseline.
    pub differences: Vec<PairedDifference>,
}

impl SweepReport {
    /// The report of these points and their results, in the same order, with seconds from the points' folders.
    pub(super) fn new(
        settings: &SweepSettings,
        points: &[SweepPoint],
        results: &[RowResult],
        out: &Path,
    ) -> Self {
        let mut rows = Vec::with_capacity(points.len());
        for (point, result) in points.iter().zip(results) {
            let epsilons = result.summary.epsilons(&point.config, settings.delta);
            let seconds = stopwatch::read(&out.join(point.folder()));
            let runs: Vec<SweepRun> = result
                .summary
                .measured
                .iter()
                .map(|seed| SweepRun { seconds: seconds.get(&seed.seed).copied(), ..SweepRun::from(seed) })
                .collect();
            rows.push(SweepRow {
                row: point.row.clone(),
                value: point.value,
                key: point.key.clone(),
                target_epsilon: point.target_epsilon,
                strategy: point.config.strategy.kind.name().to_owned(),
                epsilon: settings.epsilon_on_axis(&epsilons),
                epsilons,
                accuracy: result.summary.estimate(),
                by_mix: by_mix(&result.summary.measured),
                is_on_front: false,
                notes: result.summary.notes_on_head(&point.config),
                runs,
            });
        }
        let swept = points.iter().find(|point| point.value.is_some()).or(points.first());
        let config = swept.map(|point| &point.config);
        let (axis, dataset) =
            config.map(|config| (settings.axis_in_words(config), config.dataset.clone())).unwrap_or_default();
        Self::from_rows(dataset, settings.clone(), axis, rows)
    }

    /// The report of these rows, with the Pareto front and differences.
    pub fn from_rows(dataset: String, settings: SweepSettings, axis: String, rows: Vec<SweepRow>) -> Self {
        let mut rows = rows;
        let front: Vec<bool> = rows.iter().map(|row| is_on_front(row, &rows)).collect();
        rows.iter_mut().zip(front).for_each(|(row, is_on_front)| row.is_on_front = is_on_front);
        let differences = differences(&rows);
        Self { dataset, settings, axis, rows, differences }
    }
}

impl SweepRow {
    /// The swept value as text, or the ε that it was solved for; a hyphen for baselines.
    pub(super) fn value_in_words(&self) -> String {
        match (self.value, self.target_epsilon) {
            (Some(value), Some(target)) => format!("{value} (ε {target})"),
            (Some(value), None) => value.to_string(),
            (None, _) => "-".to_owned(),
        }
    }

    /// The mean over runs of what they all have; `None` if one lacks it.
    pub(super) fn mean_of_runs(&self, figure: fn(&SweepRun) -> Option<f64>) -> Option<f64> {
        let figures: Vec<f64> = self.runs.iter().map(figure).collect::<Option<_>>()?;
        (!figures.is_empty()).then(|| mean(&figures))
    }
}

impl From<&SeedResult> for SweepRun {
    fn from(seed: &SeedResult) -> Self {
        Self {
            seed: seed.seed,
            accuracy: seed.last(),
            measured_on: seed.measured_on,
            masked_bytes: total(&seed.rounds, |round| round.masked_bytes),
            announced_bytes: total(&seed.rounds, |round| round.announced_bytes),
            seconds: None,
        }
    }
}

/// The sum over rounds; `None` if no round has any.
fn total(rounds: &[MeasuredRound], bytes: fn(&MeasuredRound) -> Option<u64>) -> Option<u64> {
    let known: Vec<u64> = rounds.iter().filter_map(bytes).collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

/// Accuracy by mix; `None` if a seed has none.
fn by_mix(measured: &[SeedResult]) -> Option<MixAccuracy> {
    let (mut means, mut least, mut most) = (Vec::new(), Vec::new(), Vec::new());
    for seed in measured {
        let members = seed.accuracy_by_mix.as_deref().filter(|members| !members.is_empty())?;
        means.push(mean(members));
        least.push(members.iter().copied().fold(1.0, f64::min));
        most.push(members.iter().copied().fold(0.0, f64::max));
    }
    (!means.is_empty()).then(|| MixAccuracy { mean: mean(&means), least: mean(&least), most: mean(&most) })
}

/// A swept row's finite ε, and its accuracy.
fn place(row: &SweepRow) -> Option<(f64, f64)> {
    let epsilon = row.epsilon.filter(|epsilon| epsilon.is_finite() && row.value.is_some())?;
    Some((epsilon, row.accuracy.mean))
}

/// Whether no other row is better in one of ε and accuracy, and at least as good in the other.
fn is_on_front(row: &SweepRow, rows: &[SweepRow]) -> bool {
    let Some((epsilon, accuracy)) = place(row) else {
        return false;
    };
    !rows.iter().filter_map(place).any(|(other_epsilon, other_accuracy)| {
        other_epsilon <= epsilon
            && other_accuracy >= accuracy
            && (other_epsilon < epsilon || other_accuracy > accuracy)
    })
}

/// Differences between rows at each value, and of each row and value from each baseline.
fn differences(rows: &[SweepRow]) -> Vec<PairedDifference> {
    let mut all = Vec::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.value.is_some()) {
        for (other_at, other) in rows.iter().enumerate() {
            let is_baseline = other.value.is_none();
            // Solved noise differs between rows, and the target is what they share.
            let is_alike = match (row.target_epsilon, other.target_epsilon) {
                (None, None) => row.value == other.value && row.key == other.key,
                (target, other_target) => target == other_target,
            };
            if is_baseline || (other_at > at && is_alike) {
                all.extend(difference(row, other));
            }
        }
    }
    all
}

/// The difference over the seeds that both rows have; `None` if there are none.
fn difference(row: &SweepRow, minus: &SweepRow) -> Option<PairedDifference> {
    let mut paired = Vec::new();
    for run in &row.runs {
        let other = minus.runs.iter().find(|other| other.seed == run.seed);
        paired.extend(other.map(|other| run.accuracy - other.accuracy));
    }
    (!paired.is_empty()).then(|| PairedDifference {
        row: row.row.clone(),
        value: row.value,
        minus: minus.row.clone(),
        minus_value: minus.value,
        seeds: paired.len(),
        mean: mean(&paired),
        interval: bootstrap(&paired),
        resamples: RESAMPLES,
    })
}
