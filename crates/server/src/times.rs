//! When the steps of a round happened: a file `NNNN.times.jsonl` beside the round's log (`LOG-02`).
//!
//! The log itself has no times: custodians sign its root, and could not vouch for the coordinator's clock. The file
//! is for people. Nothing in the protocol reads it, and a coordinator whose disk takes no line of it goes on. A run that ends
//! early reads the evaluations (`RUN-05`): one that a power cut lost counts as none.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use cloister_params::evaluation::PublishedEvaluation;
use cloister_params::id::{Digest, PartyId};
use cloister_params::time::UtcTime;
use cloister_protocol::coordinator::RoundReport;
use serde::{Deserialize, Serialize};

/// The end of the file's name, behind the round's number.
pub(crate) const TIMES: &str = "times.jsonl";

/// A step of a round, and when it happened by the coordinator's clock: one line of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TimedStep {
    /// When.
    pub time: UtcTime,
    /// What.
    #[serde(flatten)]
    pub step: RoundStep,
}

/// What happened in a round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum RoundStep {
    /// The coordinator began the round and asked for receiving keys. Always the first line.
    Begun {
        /// The number of the run to which the round belongs; none in lines of a version without runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<u32>,
    },
    /// The plan went out.
    Planned,
    /// A member announced.
    Announced {
        /// The member.
        party: PartyId,
    },
    /// The first seal is certified.
    Sealed,
    /// A member's upload arrived whole.
    Uploaded {
        /// The member.
        party: PartyId,
    },
    /// The program was restarted in the round.
    Restarted,
    /// The round ended. Written twice if the program was stopped right behind it: the last one counts.
    Ended(RoundCounts),
}

/// How many took part in a round that ended.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RoundCounts {
    /// Members that announced.
    pub announced: usize,
    /// Members of the second seal; 0 if the round was aborted before it.
    pub uploaded: usize,
    /// Members whose update is in at least one opened sum.
    pub summed: usize,
    /// Bytes of the uploads that arrived whole; 0 if the round was aborted before the second seal.
    pub bytes_up: u64,
    /// Whether it was a rehearsal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rehearsal: bool,
    /// What the round published of the model that it started from; none if it published nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<PublishedEvaluation>,
    /// The model that the round started from, of which the evaluation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Digest>,
}

impl RoundCounts {
    /// The counts of a report.
    pub(crate) fn new(report: &RoundReport) -> Self {
        let opened = report.cohorts.iter().filter(|cohort| report.opened().contains(&cohort.block));
        let summed: BTreeSet<PartyId> = opened
            .flat_map(|cohort| cohort.members.iter().map(|listed| listed.member))
            // A cohort is planned before uploads, so that it lists members that dropped out.
            .filter(|member| report.uploaded.contains(member))
            .collect();
        Self {
            announced: report.announced.len(),
            uploaded: report.uploaded.len(),
            summed: summed.len(),
            bytes_up: report.masked_bytes,
            rehearsal: report.settings.rehearsal,
            evaluation: report.evaluation(),
            started_from: Some(report.started_from),
        }
    }
}

/// Writes a line. The first step of a round begins the file anew: an earlier file under the number is that of a
/// coordinator whose folder was restored from a backup since.
pub(crate) fn write_step(path: &Path, time: UtcTime, step: RoundStep) -> io::Result<()> {
    let is_first = matches!(step, RoundStep::Begun { .. });
    let line = serde_json::to_string(&TimedStep { time, step })? + "\n";
    if let Some(folder) = path.parent() {
        cloister_storage::create_folder(folder)?;
    }
    if is_first {
        return cloister_storage::replace(path, |file| file.write_all(line.as_bytes())).map(|_| ());
    }
    // Not synced: a power cut may cost lines, and nothing follows from them. Made if it is missing, as in a round that
    // an earlier version of the program began.
    File::options().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// Reads the lines of a file. What is no line, such as a last one that a power cut left incomplete, is left out.
pub(crate) fn read_steps(path: &Path) -> io::Result<Vec<TimedStep>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UtcTime {
        UtcTime::try_from(text.to_owned()).expect("a time")
    }

    /// LOG-02
    #[test]
    fn a_line_has_a_time_and_a_step_and_a_torn_line_costs_itself_alone() {
        let path = std::env::temp_dir().join(format!("cloister-times-{}.jsonl", std::process::id()));
        let (first, second) = (time("2026-12-03T05:58:12Z"), time("2026-12-03T06:00:00Z"));
        let counts = RoundCounts {
            announced: 5,
            uploaded: 4,
            summed: 4,
            bytes_up: 9000,
            rehearsal: false,
            evaluation: None,
            started_from: None,
        };
        write_step(&path, first, RoundStep::Begun { run: None }).expect("writable");
        write_step(&path, second, RoundStep::Ended(counts)).expect("writable");
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(
            text,
            "{\"time\":\"2026-12-03T05:58:12Z\",\"step\":\"begun\"}\n\
             {\"time\":\"2026-12-03T06:00:00Z\",\"step\":\"ended\",\"announced\":5,\"uploaded\":4,\"summed\":4,\
             \"bytes_up\":9000}\n"
        );
        std::fs::write(&path, &text.as_bytes()[..text.len() - 9]).expect("writable");
        let steps = read_steps(&path).expect("readable");
        assert_eq!(steps, [TimedStep { time: first, step: RoundStep::Begun { run: None } }]);
        std::fs::write(&path, text).expect("writable");
        assert_eq!(read_steps(&path).expect("readable").len(), 2, "control: the whole file has both");
        write_step(&path, second, RoundStep::Begun { run: Some(3) }).expect("writable");
        let steps = read_steps(&path).expect("readable");
        assert_eq!(steps.len(), 1, "a round that begins again begins the file");
        assert_eq!(steps[0].step, RoundStep::Begun { run: Some(3) });
        std::fs::remove_file(path).expect("there");
    }
}
