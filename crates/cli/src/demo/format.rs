//! How numbers and names are written for people, the same on the screen and in the report.

use cloister_transport::commands_terminals;

/// Written in place of a value that is missing.
pub(crate) const NONE: &str = "–";

/// A share of 1 as a percentage with one decimal: `85.1 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// As [`percent`], or a dash.
pub(crate) fn percent_or_none(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), percent)
}

/// A difference of two shares in percentage points, with its sign: `+43.9`, `−1.2`, `0.0`.
pub(crate) fn points(difference: f64) -> String {
    // Rounded before the sign is chosen, so that nothing is shown as −0.0.
    let tenths = (difference * 1000.0).round();
    let sign = match tenths {
        above if above > 0.0 => "+",
        below if below < 0.0 => "−",
        _ => "",
    };
    format!("{sign}{:.1}", tenths.abs() / 10.0)
}

/// As [`points`], or a dash.
pub(crate) fn points_or_none(difference: Option<f64>) -> String {
    difference.map_or_else(|| NONE.to_owned(), points)
}

/// Seconds with one decimal and no unit: `12.3`.
pub(crate) fn seconds(seconds: f64) -> String {
    format!("{seconds:.1}")
}

/// The least and the largest of some sizes: `4–7`, or `6` where they are the same.
pub(crate) fn span(sizes: Option<(usize, usize)>) -> String {
    match sizes {
        None => NONE.to_owned(),
        Some((least, most)) if least == most => least.to_string(),
        Some((least, most)) => format!("{least}–{most}"),
    }
}

/// Hospitals' numbers, ascending, with runs of three or more drawn together: `1–3, 5, 6`.
pub(crate) fn ranges(parties: &[u32]) -> String {
    let written: Vec<String> = parties
        .chunk_by(|left, right| left.checked_add(1) == Some(*right))
        .flat_map(|run| match run {
            [first, _, .., last] => vec![format!("{first}–{last}")],
            short => short.iter().map(u32::to_string).collect(),
        })
        .collect();
    written.join(", ")
}

/// The text with a question mark for each character that could move the cursor, colour the terminal or
/// reverse the reading direction.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if commands_terminals(character) { '?' } else { character }).collect()
}

/// Printable text of at most `width` characters, with an ellipsis where it was cut.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_points_have_one_decimal() {
        assert_eq!(percent(0.8512), "85.1 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent_or_none(None), "–");
        assert_eq!(points(0.439), "+43.9");
        assert_eq!(points(-0.0119), "−1.2");
        assert_eq!(points(-0.0004), "0.0");
        assert_eq!(points_or_none(None), "–");
        assert_eq!(seconds(12.345), "12.3");
    }

    #[test]
    fn spans_and_ranges_are_short() {
        assert_eq!(span(None), "–");
        assert_eq!(span(Some((6, 6))), "6");
        assert_eq!(span(Some((4, 7))), "4–7");
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[1, 2, 3, 5, 6, 9, u32::MAX]), "1–3, 5, 6, 9, 4294967295");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("St.\u{1b}[2J\nAnna\u{202e}"), "St.?[2J?Anna?");
        assert_eq!(fit("Krankenhaus", 11), "Krankenhaus");
        assert_eq!(fit("Krankenhaus Süd", 13), "Krankenhaus…");
        assert_eq!(fit("Süd", 0), "…");
    }
}
