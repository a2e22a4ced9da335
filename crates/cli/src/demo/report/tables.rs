//! The report's tables: rounds, hospitals, files.

use crate::demo::format::{NONE, percent_or_none, points_or_none};
use crate::demo::result::{DemoResult, MemberResult};
use crate::demo::summary::ROUND_COLUMNS;
use crate::page::html::{Column, drawing, escape, number, table, text};
use crate::whole_number::whole;

/// Width of a case-mix bar in pixels.
const BAR_WIDTH: f64 = 240.0;
/// Height of a case-mix bar in pixels.
const BAR_HEIGHT: f64 = 18.0;
/// The smallest width of a bar's part that has space for its number of notes.
const LABELLED_WIDTH: f64 = 22.0;
/// How many colours there are for classes; further classes get the same colours, lighter.
const COLOURS: usize = 8;

const HOSPITAL_COLUMNS: [Column; 8] = [
    number("no."),
    text("name"),
    text("style"),
    number("notes"),
    text("case mix"),
    number("local only"),
    number("federated"),
    number("gain (points)"),
];

/// The table of rounds.
pub(super) fn rounds(result: &DemoResult) -> String {
    if result.rounds.is_empty() {
        return "<p>No round was begun.</p>".to_owned();
    }
    let rows: Vec<Vec<String>> =
        result.rounds.iter().map(|round| round.row().iter().map(|cell| escape(cell)).collect()).collect();
    let note = "<p class=\"note\">Members: those whose uploads arrived whole, of those that announced. Bytes up: masked \
                blocks that the coordinator received.</p>";
    table(&ROUND_COLUMNS.map(number), &rows) + note
}

/// The table of hospitals, under the legend of its case-mix bars.
pub(super) fn hospitals(result: &DemoResult) -> String {
    let rows: Vec<Vec<String>> = result.members.iter().map(|member| hospital(result, member)).collect();
    let note = "<p class=\"note\">Local only: a model trained on the hospital's own notes alone, for as many epochs. \
                Both accuracies are on the same held-out notes.</p>";
    format!("{}{}{note}", class_legend(result), table(&HOSPITAL_COLUMNS, &rows))
}

fn hospital(result: &DemoResult, member: &MemberResult) -> Vec<String> {
    let federated = match member.killed_in {
        Some(round) => format!("lost in round {round}"),
        None => percent_or_none(member.federated_accuracy),
    };
    vec![
        member.party.to_string(),
        escape(&member.name),
        escape(member.style.as_deref().unwrap_or(NONE)),
        whole(member.notes()),
        case_mix(result, member),
        percent_or_none(member.local_accuracy),
        federated,
        points_or_none(member.gain()),
    ]
}

fn class_legend(result: &DemoResult) -> String {
    let items: String = result
        .classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let swatch = format!("<rect class=\"{}\" width=\"12\" height=\"12\"/>", colour(class));
            format!(
                "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\">{swatch}</svg> {}</li>",
                escape(name)
            )
        })
        .collect();
    format!("<ul class=\"legend\" aria-label=\"Classes of the case mix\">{items}</ul>")
}

fn colour(class: usize) -> String {
    let shade = if class < COLOURS { "" } else { " light" };
    format!("class{}{shade}", class % COLOURS)
}

/// A bar whose parts are the hospital's notes by class.
fn case_mix(result: &DemoResult, member: &MemberResult) -> String {
    let names = result.classes.iter().map(String::as_str).chain(std::iter::repeat("other"));
    let parts: Vec<(usize, &str, usize)> = member
        .notes_by_class
        .iter()
        .zip(names)
        .enumerate()
        .map(|(class, (count, name))| (class, name, *count))
        .collect();
    // Every bar is as wide as the others: it shows the mix, and the column next to it the number.
    let scale = BAR_WIDTH / member.notes().max(1) as f64;
    let mut left = 0.0;
    let mut content = String::new();
    let mut words = Vec::new();
    for (class, name, count) in parts.into_iter().filter(|(.., count)| *count > 0) {
        let width = count as f64 * scale;
        content += &bar_part(left, width, class, name, count);
        words.push(format!("{name} {count}"));
        left += width;
    }
    let title = format!("Case mix of hospital {}", member.party);
    drawing(BAR_WIDTH, BAR_HEIGHT, &format!("{title}: {}", words.join(", ")), "Notes by class", &content)
}

fn bar_part(left: f64, width: f64, class: usize, name: &str, count: usize) -> String {
    let label = if width < LABELLED_WIDTH {
        String::new()
    } else {
        let middle = left + width / 2.0;
        format!(
            "<text class=\"on{}\" x=\"{middle:.1}\" y=\"13\" text-anchor=\"middle\">{count}</text>",
            class % COLOURS
        )
    };
    format!(
        "<g><title>{}: {count}</title><rect class=\"part {}\" x=\"{left:.1}\" y=\"0\" width=\"{width:.1}\" \
         height=\"{BAR_HEIGHT}\"/>{label}</g>",
        escape(name),
        colour(class),
    )
}

/// The list of files.
pub(super) fn files(result: &DemoResult) -> String {
    if result.files.is_empty() {
        return "<p>No file was written.</p>".to_owned();
    }
    let items: String = result
        .files
        .iter()
        .map(|file| format!("<dt>{}</dt><dd><code>{}</code></dd>\n", escape(&file.what), escape(&file.path)))
        .collect();
    format!("<dl>{items}</dl>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    #[test]
    fn a_bar_is_as_wide_as_all_notes_and_names_their_classes() {
        let mut result = sample::run(3, 1);
        result.members[0].notes_by_class = vec![30, 0, 10];
        let bar = case_mix(&result, &result.members[0]);
        assert!(bar.contains("cardiology 30, neurology 10"));
        assert!(bar.contains("x=\"0.0\" y=\"0\" width=\"180.0\""));
        assert!(bar.contains("x=\"180.0\" y=\"0\" width=\"60.0\""));
        assert!(!bar.contains("orthopaedics"));
    }

    #[test]
    fn no_notes_and_unknown_classes_make_a_bar_too() {
        let mut result = sample::run(3, 1);
        result.members[0].notes_by_class = Vec::new();
        assert!(!case_mix(&result, &result.members[0]).contains("<rect"));
        result.members[0].notes_by_class = vec![1; 10];
        assert!(case_mix(&result, &result.members[0]).contains("other 1"));
    }

    #[test]
    fn a_lost_hospital_has_no_federated_accuracy() {
        let result = sample::run(8, 5);
        let cells = hospital(&result, &result.members[6]);
        assert_eq!(cells[5..], ["–", "lost in round 3", "–"]);
    }
}
