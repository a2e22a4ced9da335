//! The results of the attacks, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::{AttackResult, AttackSettings, View};

/// The results of all attacks.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttackReport {
    /// What was attacked.
    pub settings: AttackSettings,
    /// The ledger's charge to a member for a round with slight noise.
    pub epsilon_slight: f64,
    /// The ledger's charge for a round with noise that covers a member.
    pub epsilon: f64,
    /// The δ of both.
    pub delta: f64,
    /// Means over seeds, a row for each view of each data set.
    pub summary: Vec<AttackSummary>,
    /// A row for each view of each data set and seed.
    pub rows: Vec<AttackResult>,
}

/// A mean over seeds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The standard deviation (with n − 1); 0 for one seed.
    pub std: f64,
}

/// How well the attacks work from one view, over seeds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttackSummary {
    /// Name of the data.
    pub data: String,
    /// Where the coordinator looks.
    pub view: View,
    /// Norm of the noise over the norm of the observation without it.
    pub noise_over_signal: Mean,
    /// Membership: area under the curve; ½ is chance.
    pub membership_auc: Mean,
    /// Membership: found at a false-positive rate of 1 %.
    pub tpr_at_1_percent: Mean,
    /// Membership: found at a false-positive rate of 0.1 %.
    pub tpr_at_01_percent: Mean,
    /// The only text of a training is named.
    pub alone_named: Mean,
    /// One text of a batch of eight is named.
    pub in_a_batch_named: Mean,
    /// Share of the texts' frequent words that are among ten guesses.
    pub words: Mean,
    /// The same if the most frequent words are always guessed.
    pub words_by_frequency: Mean,
    /// Share of the variance of class shares that is explained.
    pub class_mix_explained: Mean,
    /// Mean absolute error of a class's share.
    pub class_mix_error: Mean,
    /// The same if the mean of all members is guessed.
    pub class_mix_error_of_mean: Mean,
}

impl Mean {
    fn over(rows: &[&AttackResult], value: impl Fn(&AttackResult) -> f64) -> Self {
        let count = rows.len() as f64;
        let mean = rows.iter().map(|row| value(row)).sum::<f64>() / count;
        let squares: f64 = rows.iter().map(|row| (value(row) - mean).powi(2)).sum();
        Self { mean, std: if rows.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 } }
    }
}

impl AttackSummary {
    fn over(data: &str, view: View, rows: &[&AttackResult]) -> Self {
        let mean = |value: fn(&AttackResult) -> f64| Mean::over(rows, value);
        Self {
            data: data.to_owned(),
            view,
            noise_over_signal: mean(|row| row.noise_over_signal),
            membership_auc: mean(|row| row.membership.auc),
            tpr_at_1_percent: mean(|row| row.membership.tpr_at_1_percent),
            tpr_at_01_percent: mean(|row| row.membership.tpr_at_01_percent),
            alone_named: mean(|row| row.alone.first),
            in_a_batch_named: mean(|row| row.in_a_batch.first),
            words: mean(|row| row.words.found),
            words_by_frequency: mean(|row| row.words.by_frequency),
            class_mix_explained: mean(|row| row.class_mix.explained),
            class_mix_error: mean(|row| row.class_mix.error),
            class_mix_error_of_mean: mean(|row| row.class_mix.error_of_mean),
        }
    }
}

impl AttackReport {
    pub(super) fn new(
        settings: &AttackSettings,
        ([epsilon_slight, epsilon], delta): ([f64; 2], f64),
        rows: Vec<AttackResult>,
    ) -> Self {
        let mut summary = Vec::new();
        for (data, _) in &settings.data {
            for view in View::all() {
                let seeds = rows.iter().filter(|row| row.data == *data && row.view == view);
                summary.push(AttackSummary::over(data, view, &seeds.collect::<Vec<_>>()));
            }
        }
        Self { settings: settings.clone(), epsilon_slight, epsilon, delta, summary, rows }
    }

    /// A table for people, in per cent.
    pub fn to_table(&self) -> String {
        let mut table = format!(
            "{:<10} {:<22} {:<20} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8} {:>6}\n",
            "data",
            "protection",
            "seen",
            "AUC",
            "TPR@1",
            "TPR@.1",
            "text",
            "of 8",
            "words",
            "mix R²",
            "noise"
        );
        for row in &self.summary {
            let percent = |value: Mean| format!("{:.1}", 100.0 * value.mean);
            let _ = writeln!(
                table,
                "{:<10} {:<22} {:<20} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8} {:>6.1}",
                row.data,
                row.view.protection.in_words(),
                row.view.in_words(),
                percent(row.membership_auc),
                percent(row.tpr_at_1_percent),
                percent(row.tpr_at_01_percent),
                percent(row.alone_named),
                percent(row.in_a_batch_named),
                percent(row.words),
                percent(row.class_mix_explained),
                row.noise_over_signal.mean,
            );
        }
        table
    }

    /// A line for each data set, seed and view.
    pub fn to_csv(&self) -> String {
        let mut csv =
            "data,seed,protection,seen,noise_over_signal,membership_auc,tpr_at_1_percent,tpr_at_0.1_percent,\
                       alone_named,alone_above,in_a_batch_named,in_a_batch_above,words,words_by_frequency,\
                       class_mix_explained,class_mix_error,class_mix_error_of_mean\n"
                .to_owned();
        for row in &self.rows {
            let AttackResult { membership, alone, in_a_batch, words, class_mix, .. } = row;
            let values = [
                row.noise_over_signal,
                membership.auc,
                membership.tpr_at_1_percent,
                membership.tpr_at_01_percent,
                alone.first,
                alone.above,
                in_a_batch.first,
                in_a_batch.above,
                words.found,
                words.by_frequency,
                class_mix.explained,
                class_mix.error,
                class_mix.error_of_mean,
            ];
            let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
            let (protection, seen) = (row.view.protection.in_words(), row.view.in_words());
            let _ = writeln!(csv, "{},{},{protection},{seen},{}", row.data, row.seed, values.join(","));
        }
        csv
    }
}
