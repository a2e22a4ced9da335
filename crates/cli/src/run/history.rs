//! `cloister run history`: the rounds so far.

use std::path::Path;

use cloister_server::{RecordedOutcome, RoundRecord, read_history};
use cloister_wire::statement::AbortReason;
use serde_json::{Value, json};

use crate::byte_count::bytes;
use crate::failure::Failure;
use crate::output;

/// Prints the last rounds of a coordinator's data folder, or all of them.
pub(super) fn show(data: &Path, last: Option<usize>, as_json: bool) -> Result<(), Failure> {
    if !data.is_dir() {
        return Err(Failure::config(format!(
            "{} is no folder; give --data with the data folder of a coordinator",
            data.display()
        )));
    }
    let rounds = read_history(data, last.unwrap_or(usize::MAX)).map_err(|error| {
        Failure::error(format!(
            "the rounds in {} cannot be read: {error}; run this command as the coordinator's user",
            data.display()
        ))
    })?;
    if as_json {
        let rounds: Vec<Value> = rounds.iter().map(to_json).collect();
        return output::line(json!({"rounds": rounds}));
    }
    if rounds.is_empty() {
        return output::line("no round has begun");
    }
    output::line(HEADING)?;
    rounds.iter().map(to_row).try_for_each(output::line)
}

const HEADING: &str = "edition  round  begun                 ended                 announced  uploaded  summed  up          how it ended";

fn to_row(record: &RoundRecord) -> String {
    let time = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
    let ended = record.ended();
    let [announced, uploaded, summed, up] = match ended {
        Some((_, counts)) => [
            counts.announced.to_string(),
            counts.uploaded.to_string(),
            counts.summed.to_string(),
            bytes(counts.bytes_up),
        ],
        None => ["-"; 4].map(str::to_owned),
    };
    format!(
        "{:<7}  {:<5}  {:<20}  {:<20}  {announced:<9}  {uploaded:<8}  {summed:<6}  {up:<10}  {}",
        record.edition,
        record.round.0,
        time(record.begun().map(String::from)),
        time(ended.map(|(at, _)| at.to_string())),
        outcome_text(record.outcome),
    )
}

fn outcome_text(outcome: RecordedOutcome) -> String {
    match outcome {
        RecordedOutcome::InProgress => "in progress".to_owned(),
        RecordedOutcome::Closed { blocks: 1 } => "the sum of 1 block".to_owned(),
        RecordedOutcome::Closed { blocks } => format!("sums of {blocks} blocks"),
        RecordedOutcome::Aborted(reason) => format!("aborted: {}", abort_text(reason)),
    }
}

fn abort_text(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::TooFewAnnounced => "too few members announced",
        AbortReason::NotSealed => "too few custodians signed the first seal",
        AbortReason::TooFewUploaded => "too few uploads arrived whole",
        AbortReason::BadDealing => "a custodian showed that a member dealt badly",
    }
}

fn to_json(record: &RoundRecord) -> Value {
    let (state, blocks, reason) = match record.outcome {
        RecordedOutcome::InProgress => ("in progress", None, None),
        RecordedOutcome::Closed { blocks } => ("closed", Some(blocks), None),
        RecordedOutcome::Aborted(reason) => ("aborted", None, Some(abort_text(reason))),
    };
    let ended = record.ended();
    json!({
        "edition": record.edition,
        "round": record.round,
        "state": state,
        "blocks": blocks,
        "reason": reason,
        "begun": record.begun(),
        "ended": ended.map(|(at, _)| at),
        "announced": ended.map(|(_, counts)| counts.announced),
        "uploaded": ended.map(|(_, counts)| counts.uploaded),
        "summed": ended.map(|(_, counts)| counts.summed),
        "bytes_up": ended.map(|(_, counts)| counts.bytes_up),
        "steps": record.steps,
    })
}

#[cfg(test)]
mod tests {
    use cloister_params::id::Round;
    use cloister_params::time::UtcTime;
    use cloister_server::{RoundCounts, RoundStep, TimedStep};

    use super::*;

    fn step(time: &str, step: RoundStep) -> TimedStep {
        TimedStep { time: UtcTime::try_from(time.to_owned()).expect("a time"), step }
    }

    #[test]
    fn a_row_has_its_columns_under_the_heading_and_says_how_the_round_ended() {
        let counts = RoundCounts { announced: 5, uploaded: 4, summed: 4, bytes_up: 3_000_000 };
        let ended = RoundRecord {
            edition: 2,
            round: Round(7),
            outcome: RecordedOutcome::Closed { blocks: 9 },
            steps: vec![
                step("2026-12-03T05:58:12Z", RoundStep::Begun),
                step("2026-12-03T06:01:00Z", RoundStep::Ended(counts)),
            ],
        };
        let row = to_row(&ended);
        for (column, value) in
            [("begun", "2026-12-03T05:58:12Z"), ("ended", "2026-12-03T06:01:00Z"), ("up", &bytes(3_000_000))]
        {
            let at = HEADING.find(&format!(" {column} ")).expect("a column") + 1;
            assert!(row[at..].starts_with(value), "{column}: {row}");
        }
        assert_eq!(row.find("sums of 9 blocks"), HEADING.find("how it ended"), "{row}");
        let reason = AbortReason::TooFewUploaded;
        let timeless =
            RoundRecord { outcome: RecordedOutcome::Aborted(reason), steps: Vec::new(), ..ended.clone() };
        let row = to_row(&timeless);
        assert_eq!(row.find("aborted: too few uploads"), HEADING.find("how it ended"), "{row}");
        let value = to_json(&ended);
        assert_eq!(
            (&value["state"], &value["blocks"], &value["uploaded"]),
            (&json!("closed"), &json!(9), &json!(4))
        );
        assert_eq!(value["steps"][0], json!({"time": "2026-12-03T05:58:12Z", "step": "begun"}));
        assert_eq!(to_json(&timeless)["reason"], "too few uploads arrived whole");
    }
}
