//! Seconds of each seed, from a clock that the caller has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::LabError;
use crate::progress::RunProgress;
use crate::results::write_json;

/// The file in a row's folder that keeps its seeds' seconds, so that a sweep which continues has them.
const FILE: &str = "seconds.json";

/// Measures training and measurement of each seed. Frozen features and heads from sums come before it starts.
pub(super) struct Stopwatch<'a> {
    clock: &'a mut dyn FnMut() -> Duration,
    folder: PathBuf,
    running: Option<SeedTiming>,
    fault: Option<LabError>,
}

/// A seed that is under way.
struct SeedTiming {
    seed: u64,
    /// When its first round was measured.
    start: Option<Duration>,
    has_trained: bool,
    /// An earlier process ran some of its rounds, whose seconds nobody knows.
    is_continued: bool,
}

impl<'a> Stopwatch<'a> {
    /// A stopwatch that writes into the folders of rows under `folder`. The clock's start does not matter.
    pub(super) fn new(clock: &'a mut dyn FnMut() -> Duration, folder: &Path) -> Self {
        Self { clock, folder: folder.to_owned(), running: None, fault: None }
    }

    /// A row begins whose results are in this folder.
    pub(super) fn begin(&mut self, folder: PathBuf) {
        self.stop();
        self.folder = folder;
    }

    /// Notes what the run reports.
    pub(super) fn note(&mut self, progress: &RunProgress) {
        match progress {
            RunProgress::Seed { seed, resumed } => {
                self.stop();
                let seed = SeedTiming { seed: *seed, start: None, has_trained: false, is_continued: false };
                self.running = (!resumed).then_some(seed);
            }
            RunProgress::Measured(_) => {
                let now = (self.clock)();
                if let Some(seed) = &mut self.running {
                    // Rounds of a checkpoint are reported one after another, without training between them.
                    seed.is_continued |= seed.start.is_some() && !seed.has_trained;
                    seed.start.get_or_insert(now);
                }
            }
            RunProgress::Training { .. } => {
                if let Some(seed) = &mut self.running {
                    seed.has_trained = true;
                }
            }
            _ => {}
        }
    }

    /// Ends the seed that is under way, if any, and keeps its seconds.
    fn stop(&mut self) {
        let now = (self.clock)();
        let Some(SeedTiming { seed, start: Some(start), is_continued: false, .. }) = self.running.take()
        else {
            return;
        };
        let mut seconds = read(&self.folder);
        seconds.insert(seed, now.saturating_sub(start).as_secs_f64());
        if let Err(fault) = write_json(&self.folder.join(FILE), &seconds) {
            self.fault.get_or_insert(fault);
        }
    }

    /// Ends the last seed.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub(super) fn finish(mut self) -> Result<(), LabError> {
        self.stop();
        self.fault.map_or(Ok(()), Err)
    }
}

/// Seconds of each seed of the row in this folder, as far as they are known.
pub(super) fn read(folder: &Path) -> BTreeMap<u64, f64> {
    // A file that cannot be read is like none: seconds are no result of the run.
    let text = fs::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::MeasuredRound;

    #[test]
    fn seconds_are_those_of_whole_seeds_and_stay_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("cloister-lab-stopwatch-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut now = 0;
        let mut clock = || {
            now += 1;
            Duration::from_secs(now)
        };
        let measured = RunProgress::Measured(MeasuredRound::before(None));
        let trained = RunProgress::Training { round: 1, member: 1, members: 1 };
        let mut watch = Stopwatch::new(&mut clock, &folder);
        let whole = [&measured, &trained, &measured];
        let continued = [&measured, &measured, &trained, &measured];
        for (seed, resumed, events) in [(4, false, &whole[..]), (5, false, &continued), (6, true, &[])] {
            watch.note(&RunProgress::Seed { seed, resumed });
            events.iter().for_each(|event| watch.note(event));
        }
        watch.finish().expect("it can be written");
        // The clock goes on by a second whenever it is asked: at the first round, at the second, and at the end.
        assert_eq!(read(&folder), BTreeMap::from([(4, 2.0)]));
        fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
