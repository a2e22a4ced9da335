//! The tables of a sweep as columns, and as CSV.

use super::report::{PairedDifference, SweepReport, SweepRow, SweepRun};
use crate::epsilons;
use crate::estimate::ShareInterval;

/// A column of a table.
pub(super) struct TableColumn {
    /// Its name, with letters, digits and underscores alone.
    pub(super) name: &'static str,
    /// Its values, one for each line.
    pub(super) values: ColumnValues,
}

/// The values of a column.
pub(super) enum ColumnValues {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers, of which some may be missing, and of which an ε may be infinite.
    Numbers(Vec<Option<f64>>),
    /// Whole numbers, of which some may be missing.
    Counts(Vec<Option<i64>>),
    /// Yes or no.
    Flags(Vec<bool>),
}

impl ColumnValues {
    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::Numbers(values) => values.len(),
            Self::Counts(values) => values.len(),
            Self::Flags(values) => values.len(),
        }
    }

    /// A value as CSV has it: missing ones are empty, and an infinite ε is `unbounded`.
    fn text(&self, line: usize) -> String {
        match self {
            Self::Texts(values) => quoted(&values[line]),
            Self::Numbers(values) => epsilons::in_csv(values[line]),
            Self::Counts(values) => values[line].map_or(String::new(), |count| count.to_string()),
            Self::Flags(values) => values[line].to_string(),
        }
    }
}

/// A field of CSV: in quotes if it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A line of names, and a line for each value.
pub(super) fn to_csv(table: &[TableColumn]) -> String {
    let names: Vec<&str> = table.iter().map(|column| column.name).collect();
    let mut csv = names.join(",") + "\n";
    for line in 0..table.first().map_or(0, |column| column.values.len()) {
        let fields: Vec<String> = table.iter().map(|column| column.values.text(line)).collect();
        csv += &(fields.join(",") + "\n");
    }
    csv
}

/// The sweep's table: a line for each row and value, in the order of the report.
pub(super) fn table(report: &SweepReport) -> Vec<TableColumn> {
    let rows = &report.rows;
    let mut all = vec![
        texts("row", rows, |row| row.row.clone()),
        texts("strategy", rows, |row| row.strategy.clone()),
        texts("swept_key", rows, |row| row.key.clone().unwrap_or_default()),
        numbers("value", rows, |row| row.value),
        numbers("target_epsilon", rows, |row| row.target_epsilon),
        flags("is_baseline", rows, |row| row.value.is_none()),
        counts("seeds", rows, |row| Some(row.accuracy.seeds)),
        numbers("accuracy_mean", rows, |row| Some(row.accuracy.mean)),
        numbers("accuracy_std", rows, |row| Some(row.accuracy.std)),
        numbers("seeds_low", rows, |row| row.accuracy.over_seeds.map(low)),
        numbers("seeds_high", rows, |row| row.accuracy.over_seeds.map(high)),
        counts("measured_on", rows, |row| row.accuracy.measured_on),
        numbers("texts_low", rows, |row| row.accuracy.over_texts.map(low)),
        numbers("texts_high", rows, |row| row.accuracy.over_texts.map(high)),
        numbers("mix_mean", rows, |row| row.by_mix.map(|mix| mix.mean)),
        numbers("mix_least", rows, |row| row.by_mix.map(|mix| mix.least)),
        numbers("mix_most", rows, |row| row.by_mix.map(|mix| mix.most)),
        texts("epsilon_axis", rows, |_| report.axis.clone()),
        numbers("epsilon", rows, |row| row.epsilon),
    ];
    let names = rows.first().map(|row| row.epsilons.columns().map(|(name, _)| name)).unwrap_or_default();
    for (at, name) in names.into_iter().enumerate() {
        all.push(numbers(name, rows, |row| row.epsilons.columns()[at].1));
    }
    all.extend([
        numbers("masked_bytes", rows, |row| {
            row.mean_of_runs(|run| run.masked_bytes.map(|bytes| bytes as f64))
        }),
        numbers("announced_bytes", rows, |row| {
            row.mean_of_runs(|run| run.announced_bytes.map(|bytes| bytes as f64))
        }),
        numbers("seconds", rows, |row| row.mean_of_runs(|run| run.seconds)),
        flags("is_on_front", rows, |row| row.is_on_front),
    ]);
    all
}

/// A line for each run.
pub(super) fn runs(report: &SweepReport) -> Vec<TableColumn> {
    let mut runs: Vec<(&SweepRow, &SweepRun)> = Vec::new();
    for row in &report.rows {
        runs.extend(row.runs.iter().map(|run| (row, run)));
    }
    vec![
        texts("row", &runs, |(row, _)| row.row.clone()),
        numbers("value", &runs, |(row, _)| row.value),
        numbers("target_epsilon", &runs, |(row, _)| row.target_epsilon),
        texts("seed", &runs, |(_, run)| run.seed.to_string()),
        numbers("accuracy", &runs, |(_, run)| Some(run.accuracy)),
        counts("measured_on", &runs, |(_, run)| run.measured_on),
        numbers("masked_bytes", &runs, |(_, run)| run.masked_bytes.map(|bytes| bytes as f64)),
        numbers("announced_bytes", &runs, |(_, run)| run.announced_bytes.map(|bytes| bytes as f64)),
        numbers("seconds", &runs, |(_, run)| run.seconds),
    ]
}

/// A line for each paired difference.
pub(super) fn differences(report: &SweepReport) -> Vec<TableColumn> {
    let all: &[PairedDifference] = &report.differences;
    vec![
        texts("row", all, |difference| difference.row.clone()),
        numbers("value", all, |difference| difference.value),
        texts("minus", all, |difference| difference.minus.clone()),
        numbers("minus_value", all, |difference| difference.minus_value),
        counts("seeds", all, |difference| Some(difference.seeds)),
        numbers("mean", all, |difference| Some(difference.mean)),
        numbers("low", all, |difference| difference.interval.map(low)),
        numbers("high", all, |difference| difference.interval.map(high)),
        counts("resamples", all, |difference| Some(difference.resamples)),
    ]
}

fn low(interval: ShareInterval) -> f64 {
    interval.low
}

fn high(interval: ShareInterval) -> f64 {
    interval.high
}

fn texts<T>(name: &'static str, lines: &[T], value: impl Fn(&T) -> String) -> TableColumn {
    TableColumn { name, values: ColumnValues::Texts(lines.iter().map(value).collect()) }
}

fn numbers<T>(name: &'static str, lines: &[T], value: impl Fn(&T) -> Option<f64>) -> TableColumn {
    TableColumn { name, values: ColumnValues::Numbers(lines.iter().map(value).collect()) }
}

fn counts<T>(name: &'static str, lines: &[T], value: impl Fn(&T) -> Option<usize>) -> TableColumn {
    let values = lines.iter().map(|line| value(line).map(|count| count as i64));
    TableColumn { name, values: ColumnValues::Counts(values.collect()) }
}

fn flags<T>(name: &'static str, lines: &[T], value: impl Fn(&T) -> bool) -> TableColumn {
    TableColumn { name, values: ColumnValues::Flags(lines.iter().map(value).collect()) }
}
