//! A coordinator's status, for people.

use cloister_transport::printable;
use serde_json::Value;

/// The numbers of a list of parties.
fn numbers(parties: &Value) -> String {
    let numbers: Vec<String> = parties.as_array().into_iter().flatten().map(Value::to_string).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

pub(super) fn to_text(status: &Value) -> String {
    format!(
        "edition    {}\nrounds     {} of {} have ended with sums\nrun        {}\nstate      {}\nconnected  {}\nmissing    {}\n",
        status["edition"],
        status["closed_rounds"],
        status["num_rounds"],
        run_text(status),
        state(status),
        numbers(&status["connected"]),
        numbers(&status["missing"]),
    )
}

/// The run in progress, and how many wait.
fn run_text(status: &Value) -> String {
    let run = &status["run"];
    let present = match run["number"].as_u64() {
        Some(_) => {
            let cancelled = if run["cancelled"] == true { ", cancelled" } else { "" };
            format!("{}: {} of {} rounds{cancelled}", name(run), run["closed"], run["rounds"])
        }
        None => "none in progress".to_owned(),
    };
    match status["waiting_runs"].as_u64().unwrap_or(0) {
        0 => present,
        1 => format!("{present}; 1 run waits"),
        waiting => format!("{present}; {waiting} runs wait"),
    }
}

/// A run's number and name.
pub(super) fn name(run: &Value) -> String {
    match run["name"].as_str() {
        Some(name) => format!("{} ({})", run["number"], printable(name.as_bytes())),
        None => run["number"].to_string(),
    }
}

fn state(status: &Value) -> String {
    let is_paused = status["paused"] == true;
    let round = &status["round"];
    if round.is_null() {
        return if is_paused { "paused" } else { "between rounds" }.to_owned();
    }
    let since = match (round["begun"].as_str(), round["seconds"].as_u64()) {
        (Some(begun), Some(seconds)) => format!(" since {begun}, for {}", elapsed(seconds)),
        _ => String::new(),
    };
    let next = if is_paused { "; no further round starts" } else { "" };
    let waits_for = round["waits_for"].as_str().unwrap_or("its next step");
    format!("round {} is in progress{since}; it waits for {waits_for}{next}", round["number"])
}

/// A time span in its two largest units.
fn elapsed(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_names_the_run_in_progress_and_counts_those_that_wait() {
        let run_line = |run: Value, waiting: u64| run_text(&json!({"run": run, "waiting_runs": waiting}));
        let night = json!({"number": 2, "name": "night\u{1b}", "closed": 1, "rounds": 5, "cancelled": true});
        assert_eq!(run_line(night, 3), "2 (night\\u{1b}): 1 of 5 rounds, cancelled; 3 runs wait");
        let plain = json!({"number": 1, "name": null, "closed": 0, "rounds": 2, "cancelled": false});
        assert_eq!(run_line(plain, 0), "1: 0 of 2 rounds");
        assert_eq!(run_line(Value::Null, 1), "none in progress; 1 run waits");
    }

    #[test]
    fn the_status_says_for_how_long_the_round_has_been_going_on_and_what_it_waits_for() {
        let round = json!({
            "number": 3, "begun": "2026-12-03T05:58:12Z", "seconds": 252, "waits_for": "uploads"
        });
        let status = |paused: bool, round: Value| state(&json!({"paused": paused, "round": round}));
        assert_eq!(
            status(false, round.clone()),
            "round 3 is in progress since 2026-12-03T05:58:12Z, for 4 min 12 s; it waits for uploads"
        );
        assert!(status(true, round).ends_with("uploads; no further round starts"));
        let timeless = json!({"number": 3, "begun": null, "seconds": null, "waits_for": "reveals"});
        assert_eq!(status(false, timeless), "round 3 is in progress; it waits for reveals");
        assert_eq!(
            (status(false, Value::Null), status(true, Value::Null)),
            ("between rounds".into(), "paused".into())
        );
        assert_eq!([7, 3599, 7384].map(elapsed), ["7 s", "59 min 59 s", "2 h 3 min"]);
    }
}
