//! The rounds so far, from the files that a coordinator has written. They are read without a lock, while the
//! coordinator runs or is stopped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use cloister_params::id::Round;
use cloister_params::time::UtcTime;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use cloister_wire::statement::AbortReason;

use crate::files::{ENDING, LATER_EDITION, ROUNDS, round_path};
use crate::times::{RoundCounts, RoundStep, TIMES, TimedStep, read_steps};

/// A round of a coordinator's folder.
#[derive(Clone, PartialEq, Debug)]
pub struct RoundRecord {
    /// The edition of the consortium file under which it ran.
    pub edition: u32,
    /// Its number, from 1 in each edition.
    pub round: Round,
    /// How it ended.
    pub outcome: RecordedOutcome,
    /// Its steps, oldest first; none of a round that a program ran that wrote no times.
    pub steps: Vec<TimedStep>,
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedOutcome {
    /// It has not ended.
    InProgress,
    /// Sums were opened.
    Closed {
        /// Of how many blocks.
        blocks: usize,
    },
    /// Nothing was opened.
    Aborted(AbortReason),
}

impl RoundRecord {
    /// When the round began.
    pub fn begun(&self) -> Option<UtcTime> {
        self.steps.iter().find_map(|step| match step.step {
            RoundStep::Begun { .. } => Some(step.time),
            _ => None,
        })
    }

    /// The number of the run to which the round belongs. None without times, or with those of a version without runs.
    pub fn run(&self) -> Option<u32> {
        self.steps.iter().find_map(|step| match step.step {
            RoundStep::Begun { run } => run,
            _ => None,
        })
    }

    /// When the round ended, and how many took part. None in a round that has not ended, or without times.
    pub fn ended(&self) -> Option<(UtcTime, RoundCounts)> {
        self.steps.iter().rev().find_map(|step| match step.step {
            RoundStep::Ended(counts) => Some((step.time, counts)),
            _ => None,
        })
    }
}

/// Reads the last `most` rounds of a coordinator's folder, over all editions, oldest first. Nothing is written and no
/// lock is taken.
///
/// # Errors
/// A folder or file that cannot be read, or an ending that is none.
pub fn read_history(folder: &Path, most: usize) -> io::Result<Vec<RoundRecord>> {
    let rounds = list_rounds(folder)?;
    let skipped = rounds.len().saturating_sub(most);
    rounds.into_iter().skip(skipped).map(|(edition, round)| read_round(folder, edition, round)).collect()
}

/// The rounds of which there are files, with their editions, in their order.
fn list_rounds(folder: &Path) -> io::Result<BTreeSet<(u32, Round)>> {
    let mut rounds = BTreeSet::new();
    let first = folder.join(ROUNDS);
    for name in file_names(&first)? {
        if let Some(round) = round_number(&name) {
            rounds.insert((1, round));
        }
        let edition = name.strip_prefix(LATER_EDITION).and_then(|number| number.parse().ok());
        if let Some(edition) = edition {
            let names = file_names(&first.join(&name))?;
            rounds.extend(names.iter().filter_map(|name| Some((edition, round_number(name)?))));
        }
    }
    Ok(rounds)
}

/// The names in a folder; none if there is no such folder, as before the first round.
fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// The round of a file, which an ended round and one in progress have both or one of.
fn round_number(name: &str) -> Option<Round> {
    let (number, kind) = name.split_once('.')?;
    (kind == ENDING || kind == TIMES).then(|| number.parse().ok().map(Round)).flatten()
}

fn read_round(folder: &Path, edition: u32, round: Round) -> io::Result<RoundRecord> {
    // The ending first: if the round ends meanwhile, it is still in progress here, and has perhaps an end in its times.
    let outcome = match if_there(fs::read(round_path(folder, edition, round, ENDING)))? {
        None => RecordedOutcome::InProgress,
        Some(bytes) => outcome(&bytes).ok_or_else(|| {
            let path = round_path(folder, edition, round, ENDING);
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is no round's ending", path.display()))
        })?,
    };
    let steps = if_there(read_steps(&round_path(folder, edition, round, TIMES)))?.unwrap_or_default();
    Ok(RoundRecord { edition, round, outcome, steps })
}

fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn outcome(ending: &[u8]) -> Option<RecordedOutcome> {
    match codec::decode::<Ending>(ending).ok()? {
        Ending::Closed { certificate, .. } => {
            Some(RecordedOutcome::Closed { blocks: certificate.parse().ok()?.sums.len() })
        }
        Ending::Aborted(certificate) => Some(RecordedOutcome::Aborted(certificate.parse().ok()?.reason)),
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::consortium;
    use cloister_cluster::plan::template;
    use cloister_cluster::{Cluster, DropOut};
    use cloister_params::id::PartyId;

    use super::*;
    use crate::files::write_round;
    use crate::times::write_step;

    fn time(seconds: u64) -> UtcTime {
        UtcTime::from_time(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
    }

    /// LOG-02
    #[test]
    fn the_history_has_the_rounds_of_all_editions_with_their_times_and_how_they_ended() {
        let folder = std::env::temp_dir().join(format!("cloister-history-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(read_history(&folder, usize::MAX).expect("nothing yet"), []);
        let mut cluster = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3);
        let closed = cluster.run_round().expect("it closes");
        cluster.drop_member(PartyId(3), DropOut::AfterAnnouncing);
        cluster.drop_member(PartyId(4), DropOut::AfterAnnouncing);
        let aborted = cluster.run_round().expect("it ends");
        for (edition, report, ended) in [(1, &closed, 160), (2, &closed, 260), (2, &aborted, 360)] {
            let path = round_path(&folder, edition, report.round, TIMES);
            write_step(&path, time(ended - 60), RoundStep::Begun { run: Some(edition) }).expect("writable");
            write_round(&folder, edition, report).expect("writable");
            write_step(&path, time(ended), RoundStep::Ended(RoundCounts::new(report))).expect("writable");
        }
        let begun = RoundStep::Begun { run: None };
        write_step(&round_path(&folder, 2, Round(3), TIMES), time(400), begun).expect("writable");

        let history = read_history(&folder, usize::MAX).expect("sound files");
        let rounds: Vec<(u32, u64)> = history.iter().map(|round| (round.edition, round.round.0)).collect();
        assert_eq!(rounds, [(1, 1), (2, 1), (2, 2), (2, 3)]);
        assert_eq!(history[0].outcome, RecordedOutcome::Closed { blocks: closed.sums.len() });
        assert_eq!(
            (history[0].begun(), history[0].ended().map(|(at, _)| at)),
            (Some(time(100)), Some(time(160)))
        );
        let runs: Vec<Option<u32>> = history.iter().map(RoundRecord::run).collect();
        assert_eq!(runs, [Some(1), Some(2), Some(2), None]);
        let counts = history[0].ended().expect("it ended").1;
        assert_eq!((counts.announced, counts.uploaded, counts.summed), (5, 5, 5));
        assert_eq!(counts.bytes_up, closed.masked_bytes);
        assert_eq!(history[2].outcome, RecordedOutcome::Aborted(AbortReason::TooFewUploaded));
        let counts = history[2].ended().expect("it ended").1;
        assert_eq!((counts.announced, counts.uploaded, counts.summed), (5, 0, 0));
        assert_eq!((history[3].outcome, history[3].ended()), (RecordedOutcome::InProgress, None));
        assert_eq!(read_history(&folder, 2).expect("sound files"), history[2..]);

        fs::remove_file(round_path(&folder, 1, Round(1), TIMES)).expect("there");
        let without = &read_history(&folder, usize::MAX).expect("sound files")[0];
        assert_eq!(
            (without.outcome, without.begun()),
            (history[0].outcome, None),
            "an earlier version's round"
        );
        fs::write(round_path(&folder, 1, Round(1), ENDING), b"no ending").expect("writable");
        let refused = read_history(&folder, usize::MAX).expect_err("damaged").to_string();
        assert!(refused.contains("0001.ending is no round's ending"), "{refused}");
        fs::remove_dir_all(folder).expect("there");
    }
}
