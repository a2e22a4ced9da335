//! What a test of canaries found, for people.

use cloister_experts::canaries::{CanaryReport, CanaryVerdict, RepeatFinding};
use serde_json::{Value, json};

use crate::demo::format::NONE;
use crate::failure::{Failure, FailureKind};

/// What no test of canaries shows.
const DOES_NOT_SHOW: [&str; 4] = [
    "It is about what was planted. Notes that are rarer or longer than the canaries, or are repeated more often, may be \
     recited although no canary is. Differential privacy bounds what any note can reveal; this test does not.",
    "A model that was not trained on the copy with the canaries passes, whatever it has memorised of the notes.",
    "In a consortium, a canary of one hospital is one of many hospitals' rows. That a canary which was planted once or twice is \
     not found says little.",
    "The test asks for likelihoods of whole numbers. Somebody with other knowledge of the notes may learn more from the model.",
];

/// The report as JSON.
pub(super) fn to_json(report: &CanaryReport) -> Value {
    json!({"report": report, "says": sentence(report), "does_not_show": DOES_NOT_SHOW})
}

/// The report as a table and sentences.
pub(super) fn to_text(report: &CanaryReport) -> String {
    let mut text = format!(
        "{:<10}{:>9}{:>15}{:>9}{:>9}{:>12}\n",
        "planted", "canaries", "mean exposure", "largest", "recited", "chance"
    );
    for finding in &report.planted {
        text += &row(&times(finding.repeats), finding);
    }
    text += &row("never", &report.controls);
    text += &format!(
        "\nExposures are in bits: 0 to {:.1} with {} candidates, and about 1.44 by chance. `chance` bounds the probability of such \
         ranks for a model that does not depend on the canaries.\n\n{}\n\nWhat this does not show:\n",
        report.exposure_limit,
        report.candidates,
        sentence(report)
    );
    for limit in DOES_NOT_SHOW {
        text += &format!("- {limit}\n");
    }
    text
}

fn times(repeats: usize) -> String {
    if repeats == 1 { "once".to_owned() } else { format!("{repeats} times") }
}

fn row(times: &str, finding: &RepeatFinding) -> String {
    format!(
        "{times:<10}{:>9}{:>15.2}{:>9.2}{:>9}{:>12}\n",
        finding.canaries,
        finding.mean_exposure,
        finding.largest_exposure,
        finding.recited.map_or(NONE.to_owned(), |recited| recited.to_string()),
        if finding.chance < 1e-3 {
            format!("{:.0e}", finding.chance)
        } else {
            format!("{:.3}", finding.chance)
        }
    )
}

/// What the report says, in plain words.
fn sentence(report: &CanaryReport) -> String {
    let level = 100.0 * report.level;
    match report.verdict {
        CanaryVerdict::NotMemorised => format!(
            "No canary is known to be memorised: the model ranks planted numbers as it ranks others. A model that does not \
             depend on the canaries is wrongly accused in at most {level} of 100 tests."
        ),
        CanaryVerdict::Memorised => {
            let planted: Vec<String> = report
                .planted
                .iter()
                .filter(|finding| finding.stands_out)
                .map(|finding| times(finding.repeats))
                .collect();
            let recited: usize = report.planted.iter().filter_map(|finding| finding.recited).sum();
            let recites = match recited {
                0 => String::new(),
                count => format!(" It writes {count} of the numbers after their sentences by itself."),
            };
            format!(
                "The model has memorised canaries that were planted {}.{recites} It may have memorised notes that are \
                 repeated as often. A model that does not depend on the canaries is wrongly accused in at most {level} of 100 tests.",
                planted.join(" or ")
            )
        }
        CanaryVerdict::ControlsFailed => format!(
            "The test shows nothing: numbers that were never planted stand out. The model may have been trained on the file of \
             secrets, or on another copy. With a sound model this happens in at most {level} of 100 tests."
        ),
    }
}

/// An error unless no canary is memorised, so that scripts need not parse the report.
pub(super) fn outcome(report: &CanaryReport) -> Result<(), Failure> {
    match report.verdict {
        CanaryVerdict::NotMemorised => Ok(()),
        CanaryVerdict::Memorised => Err(Failure::new(
            FailureKind::Refuted,
            "the model has memorised canaries; do not release it: train for fewer epochs, remove repeated notes, or train \
             privately, and test again",
        )),
        CanaryVerdict::ControlsFailed => Err(Failure::new(
            FailureKind::NotChecked,
            "the controls stand out, so the test shows nothing; plant new canaries, train again, and test again",
        )),
    }
}
