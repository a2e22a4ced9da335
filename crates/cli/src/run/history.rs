//! `cloister run history`: the rounds so far.

use cloister_transport::printable;
use serde_json::Value;

use crate::byte_count::bytes;
use crate::evaluation::published_text;
use crate::failure::Failure;
use crate::output;

/// Prints a table of rounds.
pub(super) fn print(history: &Value) -> Result<(), Failure> {
    let rounds = history["rounds"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rounds.is_empty() {
        return output::line("no round has begun");
    }
    output::line(HEADING)?;
    rounds.iter().map(to_row).try_for_each(output::line)
}

const HEADING: &str = "edition  round  run   begun                 ended                 announced  uploaded  summed  up          how it ended";

fn to_row(round: &Value) -> String {
    let up = round["bytes_up"].as_u64().map_or_else(|| "-".to_owned(), bytes);
    let [begun, ended, announced, uploaded, summed] =
        ["begun", "ended", "announced", "uploaded", "summed"].map(|name| column(&round[name]));
    format!(
        "{:<7}  {:<5}  {:<4}  {begun:<20}  {ended:<20}  {announced:<9}  {uploaded:<8}  {summed:<6}  {up:<10}  {}",
        column(&round["edition"]),
        column(&round["round"]),
        column(&round["run"]),
        outcome_text(round),
    )
}

fn column(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text.as_bytes()),
        value => value.to_string(),
    }
}

fn outcome_text(round: &Value) -> String {
    let what = if round["rehearsal"] == true { "rehearsal: " } else { "" };
    let outcome = match (round["blocks"].as_u64(), round["reason"].as_str()) {
        (Some(1), _) => "the sum of 1 block".to_owned(),
        (Some(blocks), _) => format!("sums of {blocks} blocks"),
        (None, Some(reason)) => format!("aborted: {}", printable(reason.as_bytes())),
        (None, None) => "in progress".to_owned(),
    };
    let evaluation = match &round["evaluation"] {
        Value::Null => String::new(),
        published => format!("; the model before it: {}", published_text(published)),
    };
    format!("{what}{outcome}{evaluation}")
}

#[cfg(test)]
mod tests {
    use cloister_params::evaluation::PublishedEvaluation;
    use cloister_params::id::Round;
    use cloister_params::time::UtcTime;
    use cloister_server::{RecordedOutcome, RoundCounts, RoundRecord, RoundStep, TimedStep};
    use cloister_wire::statement::AbortReason;
    use serde_json::json;

    use super::*;
    use crate::rounds_so_far::to_json;

    fn step(time: &str, step: RoundStep) -> TimedStep {
        TimedStep { time: UtcTime::try_from(time.to_owned()).expect("a time"), step }
    }

    #[test]
    fn a_row_has_its_columns_under_the_heading_and_says_how_the_round_ended() {
        let evaluation = Some(PublishedEvaluation { correct: 300.0, records: 400.0, noise: 32.0 });
        let counts = RoundCounts {
            announced: 5,
            uploaded: 4,
            summed: 4,
            bytes_up: 3_000_000,
            rehearsal: false,
            evaluation,
            started_from: None,
        };
        let ended = RoundRecord {
            edition: 2,
            round: Round(7),
            outcome: RecordedOutcome::Closed { blocks: 9 },
            steps: vec![
                step("2026-12-03T05:58:12Z", RoundStep::Begun { run: Some(12) }),
                step("2026-12-03T06:01:00Z", RoundStep::Ended(counts)),
            ],
        };
        let row = to_row(&to_json(&ended));
        for (column, value) in [
            ("run", "12"),
            ("begun", "2026-12-03T05:58:12Z"),
            ("ended", "2026-12-03T06:01:00Z"),
            ("up", &bytes(3_000_000)),
        ] {
            let at = HEADING.find(&format!(" {column} ")).expect("a column") + 1;
            assert!(row[at..].starts_with(value), "{column}: {row}");
        }
        assert_eq!(row.find("sums of 9 blocks"), HEADING.find("how it ended"), "{row}");
        assert!(
            row.ends_with("; the model before it: 75.0 % of about 400 are right (noise: ±10.0 points)"),
            "{row}"
        );
        let rehearsed = RoundCounts { rehearsal: true, evaluation: None, ..counts };
        let steps = vec![step("2026-12-03T06:01:00Z", RoundStep::Ended(rehearsed))];
        let row = to_row(&to_json(&RoundRecord { steps, ..ended.clone() }));
        assert!(row.ends_with("rehearsal: sums of 9 blocks"), "{row}");
        let reason = AbortReason::TooFewUploaded;
        let timeless =
            RoundRecord { outcome: RecordedOutcome::Aborted(reason), steps: Vec::new(), ..ended.clone() };
        let row = to_row(&to_json(&timeless));
        assert_eq!(row.find("aborted: too few uploads"), HEADING.find("how it ended"), "{row}");
        let value = to_json(&ended);
        assert_eq!(
            (&value["state"], &value["blocks"], &value["uploaded"]),
            (&json!("closed"), &json!(9), &json!(4))
        );
        assert_eq!(value["steps"][0], json!({"time": "2026-12-03T05:58:12Z", "step": "begun", "run": 12}));
        assert_eq!(to_json(&timeless)["reason"], "too few uploads arrived whole");
    }
}
