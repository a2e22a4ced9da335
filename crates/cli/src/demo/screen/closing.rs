//! The plain-text tables of a run.

use crate::demo::format::{NONE, fit, percent_or_none, points, points_or_none, ranges};
use crate::demo::result::{DemoResult, ExpertResult, MemberResult, RoundResult};
use crate::demo::summary::ROUND_COLUMNS;
use crate::whole_number::whole;

/// The largest number of characters in a table's line.
const WIDTH: usize = 100;

/// The tables at the end of a run: accuracy of each hospital alone and federated, the cohorts of the last
/// closed round, and the paths of the files. Lines have at most 100 characters, but paths are never cut.
pub(crate) fn closing_table(result: &DemoResult) -> String {
    let cohorts = match result.last_closed() {
        Some(round) => cohorts(round),
        None => vec!["No round closed: nothing was opened.".to_owned()],
    };
    let sections = [accuracies(result), cohorts, files(result)];
    let sections: Vec<String> =
        sections.iter().filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")).collect();
    format!("{}\n", sections.join("\n\n"))
}

/// The head of the table of rounds.
pub(super) fn round_header() -> String {
    align_round(&ROUND_COLUMNS.map(str::to_owned))
}

/// A round's line in the table of rounds.
pub(super) fn round_line(round: &RoundResult) -> String {
    align_round(&round.row())
}

fn align_round(cells: &[String; 7]) -> String {
    let aligned: Vec<String> = cells
        .iter()
        .zip(ROUND_COLUMNS)
        .map(|(cell, column)| format!("{cell:>width$}", width = column.len().max(8)))
        .collect();
    aligned.join("  ")
}

fn accuracies(result: &DemoResult) -> Vec<String> {
    let head = accuracy_line("", "hospital", "style", "notes", ["local only", "federated", "gain (points)"]);
    std::iter::once(head)
        .chain(result.members.iter().map(hospital_line))
        .chain(std::iter::once(mean_line(result)))
        .collect()
}

fn accuracy_line(party: &str, name: &str, style: &str, notes: &str, accuracies: [&str; 3]) -> String {
    let [local, federated, gain] = accuracies;
    let (name, style) = (fit(name, 30), fit(style, 12));
    format!("{party:>3}  {name:<30}  {style:<12}  {notes:>8}  {local:>10}  {federated:>9}  {gain:>13}")
}

fn hospital_line(member: &MemberResult) -> String {
    let federated = match member.killed_in {
        Some(round) => format!("lost in {round}"),
        None => percent_or_none(member.federated_accuracy),
    };
    accuracy_line(
        &member.party.to_string(),
        &member.name,
        member.style.as_deref().unwrap_or(NONE),
        &whole(member.notes()),
        [&percent_or_none(member.local_accuracy), &federated, &points_or_none(member.gain())],
    )
}

fn mean_line(result: &DemoResult) -> String {
    let (local, federated) = (result.mean_local_accuracy(), result.federated_accuracy());
    let gain =
        local.zip(federated).map_or_else(|| NONE.to_owned(), |(local, federated)| points(federated - local));
    accuracy_line(
        "",
        "mean, federated model",
        "",
        &whole(result.notes()),
        [&percent_or_none(local), &percent_or_none(federated), &gain],
    )
}

fn cohorts(round: &RoundResult) -> Vec<String> {
    let head =
        format!("Cohorts of round {}: the hospitals whose updates of an expert were summed", round.round);
    let mut lines = vec![head];
    lines.extend(round.experts.iter().flat_map(|expert| cohort_lines(round, expert)));
    lines
}

fn cohort_lines(round: &RoundResult, expert: &ExpertResult) -> Vec<String> {
    let summed = round.summed(expert);
    let how = match (expert.opened, expert.choice.as_str()) {
        (false, _) => "not opened",
        (true, "fallback") => "everyone",
        (true, choice) => choice,
    };
    let (layer, index, size) = (expert.layer, expert.expert, summed.len());
    let lead = format!("  layer {layer:>2}  expert {index:>3}  {how:<10}  {size:>3}  ");
    hang(&lead, &ranges(&summed))
}

/// Breaks a list at its commas, and indents further lines to the end of its lead.
fn hang(lead: &str, list: &str) -> Vec<String> {
    let indent = lead.chars().count();
    let mut lines = vec![lead.to_owned()];
    for item in list.split_inclusive(", ") {
        let last = lines.pop().unwrap_or_default();
        let fits = last.chars().count() + item.trim_end().chars().count() <= WIDTH;
        if fits {
            lines.push(last + item);
        } else {
            lines.extend([last, " ".repeat(indent) + item]);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

fn files(result: &DemoResult) -> Vec<String> {
    let longest = result.files.iter().map(|file| file.what.chars().count()).max().unwrap_or_default().min(46);
    result.files.iter().map(|file| format!("{:<longest$}  {}", fit(&file.what, longest), file.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::sample;

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().expect("lines")
    }

    #[test]
    fn the_table_of_rounds_reads_like_this() {
        let result = sample::run(8, 3);
        let mut lines = vec![round_header()];
        lines.extend(result.rounds.iter().chain([&sample::aborted(4)]).map(round_line));
        let table = [
            "   round   members  experts aggregated  cohort sizes  held-out accuracy  bytes up   seconds",
            "       1    8 of 8            16 of 16           4–8             54.0 %   34.6 MB      29.4",
        ];
        assert_eq!(lines[..2], table);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].len()));
        assert!(lines[4].contains("aborted"));
    }

    #[test]
    fn the_closing_table_names_every_hospital_expert_and_file() {
        let result = sample::run(8, 5);
        let table = closing_table(&result);
        assert!(result.members.iter().all(|member| table.contains(&member.name)));
        assert!(result.files.iter().all(|file| table.contains(&file.path)));
        assert_eq!(table.lines().filter(|line| line.starts_with("  layer")).count(), 16);
        assert!(table.contains("lost in 3"));
        assert!(widest(&table) <= WIDTH, "{table}");
    }

    #[test]
    fn forty_hospitals_with_long_names_stay_within_the_width() {
        let mut result = sample::run(40, 5);
        result.members[0].name = "Kreiskrankenhaus ".repeat(9);
        let round = result.rounds.last_mut().expect("a round");
        round.uploaded = (1..=40).collect();
        round.experts[0].opened = true;
        round.experts[0].members = (1..=40).filter(|party| party % 3 != 0).collect();
        let table = closing_table(&result);
        assert!(widest(&table) <= WIDTH, "{table}");
        assert!(table.contains("1, 2, 4, 5, 7, 8, "));
        assert!(table.contains("37, 38, 40"));
    }

    #[test]
    fn a_run_without_rounds_has_a_table_too() {
        let table = closing_table(&sample::without_rounds());
        assert!(table.contains("No round closed"));
        assert!(table.contains("St. Anna Hospital"));
    }

    #[test]
    fn a_name_cannot_break_its_line() {
        let mut result = sample::run(3, 1);
        result.members[0].name = "Evil\n\u{1b}[31mClinic".to_owned();
        assert!(closing_table(&result).contains("Evil??[31mClinic"));
    }
}
