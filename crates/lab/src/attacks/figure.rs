//! The attacks as a picture: bars from chance to certainty, a row for each view.

use std::fmt::Write;

use super::report::{AttackReport, AttackSummary, Mean};
use super::view::Protection;

/// Sizes in the units of the SVG's view box: the column of labels, a panel, the gap between panels, a row,
/// the space above the first row, and a data set's heading.
const LABELS: f64 = 250.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 24.0;
const ROW: f64 = 17.0;
const TOP: f64 = 64.0;
const HEADING: f64 = 24.0;

/// One column of bars: a figure, and what guessing without looking achieves.
struct Panel {
    title: &'static str,
    value: fn(&AttackSummary) -> Mean,
    /// What chance achieves.
    chance: fn(&AttackReport, &AttackSummary) -> f64,
}

const PANELS: [Panel; 5] = [
    Panel { title: "membership: AUC", value: |row| row.membership_auc, chance: |_, _| 0.5 },
    Panel { title: "TPR at 1 % FPR", value: |row| row.tpr_at_1_percent, chance: |_, _| 0.01 },
    Panel {
        title: "text of 8 named",
        value: |row| row.in_a_batch_named,
        chance: |report, _| 1.0 / report.settings.sizes.candidates as f64,
    },
    Panel { title: "words found", value: |row| row.words, chance: |_, row| row.words_by_frequency.mean },
    Panel { title: "class mix explained", value: |row| row.class_mix_explained, chance: |_, _| 0.0 },
];

impl AttackReport {
    /// A figure of the means over seeds, as SVG: a bar for each attack and view.
    pub fn to_svg(&self) -> String {
        draw(self)
    }
}

fn draw(report: &AttackReport) -> String {
    let data: Vec<&str> = report.settings.data.iter().map(|(name, _)| name.as_str()).collect();
    let rows = report.summary.len() as f64;
    let width = LABELS + PANELS.len() as f64 * (PANEL + GAP);
    let height = TOP + rows * ROW + data.len() as f64 * HEADING + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut svg);
    let mut y = TOP;
    for name in data {
        let data_rows: Vec<&AttackSummary> = report.summary.iter().filter(|row| row.data == name).collect();
        section(&mut svg, report, name, &data_rows, y);
        y += HEADING + data_rows.len() as f64 * ROW;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LABELS}\" y=\"{:.1}\" fill=\"#555\">dashed: chance</text>\n</svg>",
        y + 18.0
    );
    svg
}

fn legend(svg: &mut String) {
    for (at, protection) in std::iter::once(Protection::None).chain(Protection::MASKED).enumerate() {
        let x = 16.0 + 165.0 * at as f64;
        let colour = colour(protection);
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"22\">{}</text>", x + 18.0, protection.in_words());
    }
    for (at, panel) in PANELS.iter().enumerate() {
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"52\" font-weight=\"bold\">{}</text>", left(at), panel.title);
    }
}

fn section(svg: &mut String, report: &AttackReport, name: &str, rows: &[&AttackSummary], top: f64) {
    let _ = writeln!(svg, "<text x=\"16\" y=\"{:.1}\" font-weight=\"bold\">{name}</text>", top + 15.0);
    let first = top + HEADING;
    let bottom = first + rows.len() as f64 * ROW;
    for at in 0..PANELS.len() {
        for share in [0.0, 0.5, 1.0] {
            let x = left(at) + share * PANEL;
            let _ = writeln!(svg, "<path d=\"M{x:.1} {first:.1}V{bottom:.1}\" stroke=\"#ddd\"/>");
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#777\" font-size=\"9\" text-anchor=\"middle\">{share}</text>",
                first - 3.0
            );
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = first + number as f64 * ROW;
        let _ = writeln!(svg, "<text x=\"28\" y=\"{:.1}\">{}</text>", y + 12.0, row.view.in_words());
        PANELS.iter().enumerate().for_each(|(at, panel)| bar(svg, report, row, (at, panel), y));
    }
}

fn bar(svg: &mut String, report: &AttackReport, row: &AttackSummary, (at, panel): (usize, &Panel), y: f64) {
    let Mean { mean, std } = (panel.value)(row);
    // A mix of classes can be explained worse than by its mean, so a value may be below 0, and a bar must not
    // run into its neighbour.
    let x = |share: f64| left(at) + share.clamp(0.0, 1.0) * PANEL;
    let (start, colour) = (left(at), colour(row.view.protection));
    let width = x(mean) - start;
    let _ = writeln!(
        svg,
        "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"11\" fill=\"{colour}\"/>",
        y + 3.0
    );
    if std > 0.0 {
        let (low, high, middle) = (x(mean - std), x(mean + std), y + 8.5);
        let _ = writeln!(svg, "<path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\"/>");
    }
    let chance = x((panel.chance)(report, row));
    let _ = writeln!(svg, "<path d=\"M{chance:.1} {y:.1}v{ROW}\" stroke=\"#222\" stroke-dasharray=\"2 2\"/>");
}

fn left(panel: usize) -> f64 {
    LABELS + panel as f64 * (PANEL + GAP)
}

fn colour(protection: Protection) -> &'static str {
    match protection {
        Protection::None => "#d95f02",
        Protection::Masks => "#7570b3",
        Protection::MasksAndSlightNoise => "#1f78b4",
        Protection::MasksAndNoise => "#1b9e77",
    }
}
