//! The table of a sweep as a LaTeX `tabular`, with the rules of the package `booktabs`.

use super::report::{SweepReport, SweepRow};
use crate::estimate::{AccuracyEstimate, ShareInterval};
use crate::table::{in_per_cent, range_in_per_cent};

/// The heads of its columns.
const HEADS: [&str; 8] = [
    "Row",
    "Value",
    r"$\varepsilon$",
    r"Accuracy (\%)",
    r"95\,\% over seeds",
    r"95\,\% over texts",
    "Time (s)",
    "Pareto",
];

/// The table. It needs `\usepackage{booktabs}`.
pub(super) fn tabular(report: &SweepReport) -> String {
    let mut tex = format!(
        "% {}, {}: accuracy and {}.\n% Needs \\usepackage{{booktabs}}. Intervals are Student's over seeds, and \
         Wilson's over the measured texts.\n\\begin{{tabular}}{{llrrrrrc}}\n\\toprule\n{} \\\\\n\\midrule\n",
        comment(&report.dataset),
        comment(&report.settings.key),
        comment(&report.axis),
        HEADS.join(" & ")
    );
    for row in &report.rows {
        tex += &(cells(row).join(" & ") + " \\\\\n");
    }
    tex + "\\bottomrule\n\\end{tabular}\n"
}

fn cells(row: &SweepRow) -> [String; HEADS.len()] {
    let value = row.value_in_words().replace('ε', "$\\varepsilon$");
    [
        escaped(&row.row),
        if row.value.is_some() { value } else { "--".to_owned() },
        epsilon(row.epsilon),
        accuracy(&row.accuracy),
        interval(row.accuracy.over_seeds),
        interval(row.accuracy.over_texts),
        row.mean_of_runs(|run| run.seconds).map_or("--".to_owned(), |seconds| format!("{seconds:.1}")),
        if row.is_on_front { "$\\bullet$".to_owned() } else { String::new() },
    ]
}

/// The mean, with the deviation over seeds where there are several.
fn accuracy(accuracy: &AccuracyEstimate) -> String {
    let mean = in_per_cent(accuracy.mean);
    if accuracy.seeds > 1 {
        format!("${mean} \\pm {}$", in_per_cent(accuracy.std))
    } else {
        format!("${mean}$")
    }
}

fn interval(interval: Option<ShareInterval>) -> String {
    interval.map_or("--".to_owned(), |_| range_in_per_cent(interval).replace(" to ", "--"))
}

fn epsilon(epsilon: Option<f64>) -> String {
    match epsilon {
        Some(epsilon) if epsilon.is_finite() => format!("{epsilon:.2}"),
        Some(_) => "unbounded".to_owned(),
        None => "--".to_owned(),
    }
}

/// A text without LaTeX's special characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A text within a comment, which ends with its line.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
