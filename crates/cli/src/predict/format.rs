//! Predictions as CSV or as JSON Lines.

use cloister_experts::prediction::PredictedRow;
use serde_json::{Map, Value, json};

/// How predictions are written.
pub(super) struct Format<'a> {
    pub(super) is_json: bool,
    pub(super) id_column: Option<&'a str>,
}

impl Format<'_> {
    /// The header row of CSV; JSON Lines have none.
    pub(super) fn head(&self, classes: &[String]) -> String {
        if self.is_json {
            return String::new();
        }
        let mut cells = vec!["row".to_owned()];
        cells.extend(self.id_column.map(str::to_owned));
        cells.push("predicted".to_owned());
        cells.extend(classes.iter().map(|class| format!("probability of {class}")));
        row_of_cells(&cells)
    }

    /// A row's line.
    pub(super) fn line(&self, classes: &[String], row: &PredictedRow) -> String {
        let PredictedRow { row, id, scores } = row;
        let predicted = &classes[scores.class];
        if self.is_json {
            let by_class = classes.iter().zip(&scores.probabilities);
            let probabilities: Map<String, Value> =
                by_class.map(|(class, probability)| (class.clone(), json!(probability))).collect();
            let mut line = json!({"row": row, "predicted": predicted, "probabilities": probabilities});
            if let Some(id) = id {
                line["id"] = json!(id);
            }
            return format!("{line}\n");
        }
        let mut cells = vec![row.to_string()];
        cells.extend(id.clone());
        cells.push(predicted.clone());
        cells.extend(scores.probabilities.iter().map(|probability| format!("{probability:.6}")));
        row_of_cells(&cells)
    }
}

/// A row of RFC 4180, with a line feed at its end.
fn row_of_cells(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(&without_formula(cell))).collect();
    cells.join(",") + "\n"
}

/// A cell in quotation marks, if something in it would end the cell or the row, or if a reader would drop blanks around it.
fn quoted(cell: &str) -> String {
    let has_marks = cell.contains([',', ';', '"', '\n', '\r', '\t']) || cell.trim() != cell;
    match has_marks {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// A cell that no spreadsheet takes for a formula: an apostrophe comes before what would start one (OWASP, "CSV
/// injection"). Names of classes and of rows come from files that others wrote. A plain number, such as -1, is no formula
/// and stays.
fn without_formula(cell: &str) -> String {
    let starts = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let is_number = cell.parse::<f64>().is_ok_and(f64::is_finite);
    match cell.starts_with(starts) && !is_number {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cloister_experts::ClassScores;

    use super::*;

    fn line(is_json: bool, class: &str, id: &str) -> String {
        let scores = ClassScores { class: 0, probabilities: vec![0.75, 0.25] };
        let row = PredictedRow { row: 3, id: Some(id.to_owned()), scores };
        Format { is_json, id_column: Some("id") }.line(&[class.to_owned(), "b".to_owned()], &row)
    }

    #[test]
    fn cells_are_quoted_as_in_rfc_4180() {
        assert_eq!(line(false, "heart", "7"), "3,7,heart,0.750000,0.250000\n");
        let quoted = line(false, "heart, \"left\"", "a\nb");
        assert_eq!(quoted, "3,\"a\nb\",\"heart, \"\"left\"\"\",0.750000,0.250000\n");
        let head =
            Format { is_json: false, id_column: Some("a,b") }.head(&["x;y".to_owned(), "z".to_owned()]);
        assert_eq!(head, "row,\"a,b\",predicted,\"probability of x;y\",probability of z\n");
    }

    #[test]
    fn no_cell_starts_a_formula_and_numbers_and_json_stay_as_they_are() {
        for class in ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "＝1+1"] {
            assert_eq!(line(false, class, class), format!("3,'{class},'{class},0.750000,0.250000\n"));
            let json: Value = serde_json::from_str(&line(true, class, class)).expect("JSON");
            assert_eq!((json["predicted"].as_str(), json["id"].as_str()), (Some(class), Some(class)));
            assert_eq!(json["probabilities"][class], 0.75);
        }
        assert_eq!(line(false, "\t=1", "-1"), "3,-1,\"'\t=1\",0.750000,0.250000\n");
        assert_eq!(line(false, "+1.5e3", "-7"), "3,-7,+1.5e3,0.750000,0.250000\n", "control: plain numbers");
        let head = Format { is_json: false, id_column: Some("=A1") }.head(&["=B1".to_owned()]);
        assert_eq!(head, "row,'=A1,predicted,probability of =B1\n");
    }
}
