//! The rounds of a coordinator's data folder, in JSON.

use std::path::Path;

use cloister_server::{RecordedOutcome, RoundRecord, read_history};
use cloister_wire::statement::AbortReason;
use serde_json::{Value, json};

use crate::evaluation::published_json;
use crate::failure::Failure;

/// The last rounds of a coordinator's data folder, or all of them, in JSON.
pub(crate) fn read(data: &Path, last: Option<u32>) -> Result<Value, Failure> {
    if !data.is_dir() {
        return Err(Failure::config(format!(
            "{} is no folder; give --data with the data folder of a coordinator",
            data.display()
        )));
    }
    let rounds = read_history(data, last.map_or(usize::MAX, |last| last as usize)).map_err(|error| {
        Failure::error(format!(
            "the rounds in {} cannot be read: {error}; run this command as the coordinator's user",
            data.display()
        ))
    })?;
    let rounds: Vec<Value> = rounds.iter().map(to_json).collect();
    Ok(json!({"rounds": rounds}))
}

fn abort_text(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::TooFewAnnounced => "too few members announced",
        AbortReason::NotSealed => "too few custodians signed the first seal",
        AbortReason::TooFewUploaded => "too few uploads arrived whole",
        AbortReason::BadDealing => "a custodian showed that a member dealt badly",
    }
}

pub(crate) fn to_json(record: &RoundRecord) -> Value {
    let (state, blocks, reason) = match record.outcome {
        RecordedOutcome::InProgress => ("in progress", None, None),
        RecordedOutcome::Closed { blocks } => ("closed", Some(blocks), None),
        RecordedOutcome::Aborted(reason) => ("aborted", None, Some(abort_text(reason))),
    };
    let ended = record.ended();
    json!({
        "edition": record.edition,
        "round": record.round,
        "run": record.run(),
        "state": state,
        "blocks": blocks,
        "reason": reason,
        "begun": record.begun(),
        "ended": ended.map(|(at, _)| at),
        "announced": ended.map(|(_, counts)| counts.announced),
        "uploaded": ended.map(|(_, counts)| counts.uploaded),
        "summed": ended.map(|(_, counts)| counts.summed),
        "bytes_up": ended.map(|(_, counts)| counts.bytes_up),
        "rehearsal": ended.map(|(_, counts)| counts.rehearsal),
        "evaluation": ended.and_then(|(_, counts)| counts.evaluation).as_ref().map(published_json),
        "steps": record.steps,
    })
}
