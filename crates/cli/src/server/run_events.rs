//! Events of runs, as JSON and as sentences.

use cloister_server::{BestEvaluation, Run, RunEnd, RunState};
use serde_json::{Value, json};

/// An event of a run.
pub(super) fn to_json(name: &str, run: &Run) -> Value {
    let (closed, how, why) = match &run.state {
        RunState::Ended { closed, how, .. } => match how {
            RunEnd::Finished => (Some(closed), Some("finished"), None),
            RunEnd::Cancelled => (Some(closed), Some("cancelled"), None),
            RunEnd::Unfit { why } => (Some(closed), Some("unfit"), Some(why)),
            RunEnd::StoppedEarly { .. } => (Some(closed), Some("stopped_early"), None),
        },
        RunState::Waiting | RunState::InProgress { .. } => (None, None, None),
    };
    json!({
        "event": name, "run": run.number, "name": run.name, "rounds": run.rounds, "settings": run.settings,
        "rehearsal": run.rehearsal, "not_before": run.not_before, "closed": closed, "how": how, "why": why,
        "best": best(run)
    })
}

/// The best evaluation of a run that ended early.
fn best(run: &Run) -> Option<&BestEvaluation> {
    match &run.state {
        RunState::Ended { how: RunEnd::StoppedEarly { best }, .. } => Some(best),
        _ => None,
    }
}

pub(super) fn queued(run: &Run) -> String {
    format!("{} is queued: {}", run_name(run), rounds_text(run))
}

pub(super) fn begun(run: &Run) -> String {
    format!("{} begins: {}", run_name(run), rounds_text(run))
}

/// A run's number and name.
fn run_name(run: &Run) -> String {
    match &run.name {
        Some(name) => format!("run {} ({name})", run.number),
        None => format!("run {}", run.number),
    }
}

fn rounds_text(run: &Run) -> String {
    let settings = match run.settings {
        Some(digest) => format!("its own settings with the SHA-256 {digest}"),
        None => "the settings in force".to_owned(),
    };
    format!("{} rounds with sums, with {settings}", run.rounds)
}

pub(super) fn ended(run: &Run) -> String {
    let RunState::Ended { closed, how, .. } = &run.state else { return run_name(run) };
    let how = match how {
        RunEnd::Finished => "it is finished".to_owned(),
        RunEnd::Cancelled => "it was cancelled".to_owned(),
        RunEnd::StoppedEarly { best } => format!(
            "the model has stopped getting better; the best one, with {:.1} % right, is {}, that before {} of edition {}",
            100.0 * best.accuracy,
            best.model,
            best.round,
            best.edition
        ),
        RunEnd::Unfit { why } => format!("{why}; queue it again with other settings"),
    };
    format!("{} ended after {closed} of {} rounds with sums: {how}", run_name(run), run.rounds)
}
