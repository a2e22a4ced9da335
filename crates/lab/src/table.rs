//! Tables of results as plain text.

use crate::epsilons::UNBOUNDED;
use crate::estimate::ShareInterval;

/// An ε with as many digits as it may need: they get fewer as it gets larger.
pub(crate) fn epsilon_in_words(epsilon: Option<f64>) -> String {
    match epsilon {
        Some(epsilon) if !epsilon.is_finite() => UNBOUNDED.to_owned(),
        Some(epsilon) if epsilon >= 100.0 => format!("{epsilon:.0}"),
        Some(epsilon) => format!("{epsilon:.2}"),
        None => "-".to_owned(),
    }
}

/// A share in per cent, without the sign.
pub(crate) fn in_per_cent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// An interval in per cent, without the sign; a hyphen for none.
pub(crate) fn range_in_per_cent(interval: Option<ShareInterval>) -> String {
    interval.map_or("-".to_owned(), |ShareInterval { low, high }| {
        format!("{} to {}", in_per_cent(low), in_per_cent(high))
    })
}

/// Lines of cells, each column as wide as its widest cell: the first to the left, and the others to the right.
pub(crate) fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut text = String::new();
    for line in lines {
        let mut cells = Vec::with_capacity(N);
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            cells.push(if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") });
        }
        text += cells.join("  ").trim_end();
        text += "\n";
    }
    text
}
