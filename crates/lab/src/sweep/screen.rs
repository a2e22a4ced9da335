//! The table of a sweep as plain text.

use super::report::{PairedDifference, SweepReport, SweepRow};
use crate::epsilons::UNBOUNDED;
use crate::estimate::RESAMPLES;
use crate::table::{aligned, epsilon_in_words, in_per_cent, range_in_per_cent};

impl SweepReport {
    /// The table, the paired differences, and what a reader has to know, for a screen.
    pub fn to_table(&self) -> String {
        let heads = [
            "row",
            "value",
            "ε",
            "ε all, member",
            "ε all, text",
            "accuracy",
            "spread",
            "95 % seeds",
            "95 % texts",
            "by mix",
            "masked MB",
            "announced kB",
            "seconds",
            "front",
        ];
        let mut lines = vec![heads.map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        let mut text = aligned(&lines);
        text += &format!(
            "\nAccuracies are in per cent, bytes and seconds are those of a run. The column ε is the {}. The columns \
             ε all are of everything that a member released behind masks: {UNBOUNDED} where a release has no noise.\n95 % seeds: Student's interval of the mean over \
             seeds. 95 % texts: Wilson's interval of the measured texts, which more seeds do not make narrower.\nby \
             mix: the last models on the measured texts, weighted by each member's mix of labels; mean over members. \
             front: * is on the Pareto front of ε and accuracy.\n",
            self.axis
        );
        if !self.differences.is_empty() {
            text += &format!(
                "\nDifferences over the same seeds, in percentage points; 95 % percentile bootstrap of {RESAMPLES} \
                 resamples.\n"
            );
            let mut lines = vec![["row", "value", "minus", "difference", "95 %", "seeds"].map(str::to_owned)];
            lines.extend(self.differences.iter().map(difference_cells));
            text += &aligned(&lines);
        }
        for row in &self.rows {
            for note in &row.notes {
                text += &format!("{} {}: {note}\n", row.row, row.value_in_words());
            }
        }
        text
    }
}

fn cells(row: &SweepRow) -> [String; 14] {
    let masked = row.mean_of_runs(|run| run.masked_bytes.map(|bytes| bytes as f64 / 1e6));
    let announced = row.mean_of_runs(|run| run.announced_bytes.map(|bytes| bytes as f64 / 1e3));
    [
        row.row.clone(),
        row.value_in_words(),
        epsilon_in_words(row.epsilon),
        epsilon_in_words(row.epsilons.member),
        epsilon_in_words(row.epsilons.record),
        in_per_cent(row.accuracy.mean),
        if row.accuracy.seeds > 1 { in_per_cent(row.accuracy.std) } else { "-".to_owned() },
        range_in_per_cent(row.accuracy.over_seeds),
        range_in_per_cent(row.accuracy.over_texts),
        row.by_mix.map_or("-".to_owned(), |mix| in_per_cent(mix.mean)),
        number(masked, 2),
        number(announced, 1),
        number(row.mean_of_runs(|run| run.seconds), 1),
        if row.is_on_front { "*".to_owned() } else { String::new() },
    ]
}

fn difference_cells(difference: &PairedDifference) -> [String; 6] {
    let PairedDifference { row, value, minus, seeds, mean, interval, .. } = difference;
    [
        row.clone(),
        value.map_or("-".to_owned(), |value| value.to_string()),
        minus.clone(),
        format!("{:+.2}", 100.0 * mean),
        range_in_per_cent(*interval),
        seeds.to_string(),
    ]
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}
