//! What `cloister run start`, `queue` and `cancel` print.

use cloister_transport::printable;
use serde_json::Value;

use super::status::name;
use crate::failure::Failure;
use crate::output;
use crate::whole_number::counted;

/// Prints what was queued.
pub(super) fn print_queued(answer: &Value) -> Result<(), Failure> {
    let run = &answer["queued"];
    let settings = match run["settings"].as_str() {
        Some(digest) => format!("its own settings, with the SHA-256 {digest}"),
        None => "the settings in force".to_owned(),
    };
    let rounds = counted(run["rounds"].as_u64().unwrap_or_default() as usize, "round");
    output::line(format_args!("run {} is queued: {rounds}, with {settings}", name(run)))?;
    if answer["paused"] == true {
        output::tell("The rounds are paused: `cloister run resume` starts them again.");
    }
    Ok(())
}

/// Prints that a run was cancelled.
pub(super) fn print_cancelled(answer: &Value) -> Result<(), Failure> {
    let number = &answer["cancelled"];
    match answer["in_round"] == true {
        true => output::line(format_args!(
            "run {number} is cancelled: the round in progress goes on, and the run starts no further round"
        )),
        false => output::line(format_args!("run {number} is cancelled")),
    }
}

/// Prints a table of the runs.
pub(super) fn print(answer: &Value) -> Result<(), Failure> {
    let runs = answer["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    output::line("run    rounds      settings          state")?;
    runs.iter().map(to_row).try_for_each(output::line)?;
    if answer["paused"] == true {
        output::tell("The rounds are paused: `cloister run resume` starts them again.");
    }
    Ok(())
}

fn to_row(run: &Value) -> String {
    let rounds = format!("{} of {}", run["closed"], run["rounds"]);
    // As many digits as a person compares; `--json` has all of them.
    let settings = run["settings"].as_str().and_then(|digest| digest.get(..16)).unwrap_or("in force");
    let rehearsal = if run["rehearsal"] == true { ", a rehearsal" } else { "" };
    let name =
        run["name"].as_str().map(|name| format!(": {}", printable(name.as_bytes()))).unwrap_or_default();
    format!("{:<5}  {rounds:<10}  {settings:<16}  {}{rehearsal}{name}", run["number"].to_string(), state(run),)
}

fn state(run: &Value) -> String {
    let time = |name: &str| run[name].as_str().unwrap_or("an unknown time").to_owned();
    match (run["state"].as_str(), run["how"].as_str()) {
        (Some("waiting"), _) => match run["not_before"].as_str() {
            Some(time) => format!("waits until {time}"),
            None => "waits".to_owned(),
        },
        (Some("in_progress"), _) => {
            let cancelled = if run["cancelled"] == true { ", cancelled" } else { "" };
            format!("in progress since {}{cancelled}", time("begun"))
        }
        (_, Some("finished")) => format!("finished at {}", time("ended")),
        (_, Some("cancelled")) => format!("cancelled at {}", time("ended")),
        (_, Some("stopped_early")) => format!(
            "ended at {}, because the model has stopped getting better; the best one is that before round {} of edition {}",
            time("ended"),
            run["best"]["round"],
            run["best"]["edition"]
        ),
        _ => {
            let why = run["why"].as_str().unwrap_or("an unknown reason");
            format!("ended at {}, because {}", time("ended"), printable(why.as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_state_of_a_run_has_its_words() {
        let digest = "ab".repeat(32);
        let row = |more: Value| {
            let mut run = json!({
                "number": 3, "name": null, "rounds": 4, "closed": 0, "settings": null, "rehearsal": false, "not_before": null
            });
            run.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            to_row(&run)
        };
        assert_eq!(row(json!({"state": "waiting"})), "3      0 of 4      in force          waits");
        for (run, says) in [
            (
                json!({"state": "waiting", "not_before": "2026-12-03T20:00:00Z"}),
                "waits until 2026-12-03T20:00:00Z",
            ),
            (
                json!({"state": "waiting", "settings": digest, "rehearsal": true}),
                "abababababababab  waits, a rehearsal",
            ),
            (
                json!({"state": "in_progress", "begun": "B", "cancelled": true}),
                "in progress since B, cancelled",
            ),
            (
                json!({"state": "ended", "how": "finished", "ended": "E", "closed": 4}),
                "4 of 4      in force          finished at E",
            ),
            (
                json!({"state": "ended", "how": "cancelled", "ended": "E", "name": "night"}),
                "cancelled at E: night",
            ),
            (
                json!({
                    "state": "ended", "how": "stopped_early", "ended": "E",
                    "best": {"edition": 2, "round": 7, "accuracy": 0.8}
                }),
                "ended at E, because the model has stopped getting better; the best one is that before round 7 of edition 2",
            ),
            (
                json!({"state": "ended", "how": "unfit", "ended": "E", "why": "no\u{1b}"}),
                "ended at E, because no\\u{1b}",
            ),
        ] {
            let row = row(run);
            assert!(row.ends_with(says), "{row}");
        }
    }
}
