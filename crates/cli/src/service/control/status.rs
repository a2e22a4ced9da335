//! A coordinator's answers in JSON.

use std::time::SystemTime;

use cloister_protocol::coordinator::RoundPhase;
use cloister_server::{RoundStatus, Run, RunState, ServerStatus};
use serde_json::{Value, json};

pub(super) fn status_json(status: &ServerStatus) -> Value {
    let is_present = |run: &&Run| matches!(run.state, RunState::InProgress { .. });
    let present = status.runs.iter().find(is_present);
    json!({
        "edition": status.edition,
        "in_round": status.round.is_some(),
        "round": status.round.map(|round| round_json(&round)),
        "paused": status.is_paused,
        "closed_rounds": status.closed_rounds,
        "num_rounds": status.num_rounds,
        "run": present.map(|run| run_json(run, status.closed_rounds)),
        "waiting_runs": status.runs.iter().filter(|run| run.state == RunState::Waiting).count(),
        "connected": status.connected,
        "missing": status.missing,
    })
}

pub(super) fn queue_json(status: &ServerStatus) -> Value {
    let runs = status.runs.iter().map(|run| run_json(run, status.closed_rounds));
    json!({"runs": runs.collect::<Vec<_>>(), "paused": status.is_paused})
}

/// A run with the number of its rounds that have ended with sums.
pub(super) fn run_json(run: &Run, closed_rounds: u64) -> Value {
    // Cannot fail: its keys are texts.
    let mut value = serde_json::to_value(run).unwrap_or_default();
    value["closed"] = run.closed(closed_rounds).into();
    if let Some(fields) = value.as_object_mut() {
        // It counts rounds of other runs, and says nothing to an operator.
        fields.remove("closed_before");
    }
    value
}

fn round_json(round: &RoundStatus) -> Value {
    // A clock that was set back since gives 0.
    let elapsed =
        round.begun.map(|begun| SystemTime::now().duration_since(begun.to_time()).unwrap_or_default());
    json!({
        "number": round.number,
        "begun": round.begun,
        "seconds": elapsed.map(|elapsed| elapsed.as_secs()),
        "waits_for": waits_for(round.phase),
    })
}

/// What a round waits for, in words.
fn waits_for(phase: RoundPhase) -> &'static str {
    match phase {
        RoundPhase::Keys => "custodians' keys for the round",
        RoundPhase::Announcements => "announcements",
        RoundPhase::FirstSeal => "custodians' signatures of the first seal",
        RoundPhase::Uploads => "uploads",
        RoundPhase::SecondSeal => "custodians' signatures of the second seal",
        RoundPhase::Abort => "custodians' signatures of the abort",
        RoundPhase::Reveals => "reveals",
        RoundPhase::LateSketches => "late sketches",
        RoundPhase::Closing => "custodians' signatures of the closing",
    }
}
