//! What each hospital is doing, separate from how it is drawn.

use std::collections::{BTreeMap, BTreeSet};

use crate::byte_count::bytes;
use crate::whole_number::counted;

/// What a hospital is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It waits for others.
    Waiting,
    /// It reads its notes, in bytes or rows.
    Reading { done: u64, total: u64 },
    /// It trains in a round: steps done, of how many.
    Training { round: u64, done: u64, total: u64 },
    /// It trains on its own notes alone, for comparison, after the last round.
    TrainingAlone { done: u64, total: u64 },
    /// It has announced its sketches.
    Announced,
    /// It uploads masked blocks: bytes sent, of how many.
    Uploading { sent: u64, total: u64 },
    /// It is gone.
    Lost,
}

impl Phase {
    /// The phase in a few words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Reading { .. } => "reading notes".to_owned(),
            Self::TrainingAlone { done, total } => format!("training alone, step {done} of {total}"),
            Self::Training { round, done, total } => {
                format!("round {round}: training, step {done} of {total}")
            }
            Self::Uploading { sent, total } if sent < total => {
                format!("uploading {} of {}", bytes(sent), bytes(total))
            }
            Self::Uploading { total, .. } => format!("uploaded {}", bytes(total)),
            _ => self.name().to_owned(),
        }
    }

    /// Position and length of its bar.
    pub(super) fn progress(self) -> (u64, u64) {
        match self {
            Self::Reading { done, total }
            | Self::Training { done, total, .. }
            | Self::TrainingAlone { done, total } => (done.min(total), total),
            Self::Uploading { sent, total } => (sent.min(total), total),
            Self::Announced => (1, 1),
            Self::Waiting | Self::Lost => (0, 1),
        }
    }

    /// The phase's name without numbers, by which hospitals are counted.
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Reading { .. } => "reading notes",
            Self::Training { .. } => "training",
            Self::TrainingAlone { .. } => "training alone",
            Self::Announced => "announced",
            Self::Uploading { sent, total } if sent < total => "uploading",
            Self::Uploading { .. } => "uploaded",
            Self::Lost => "lost",
        }
    }
}

/// All hospitals' phases.
pub(super) struct Tracker {
    phases: BTreeMap<u32, Phase>,
    round: u64,
    announced: BTreeSet<u32>,
    all_announced: bool,
    /// How much of its training alone each hospital has done, from 0 to 1.
    trained_alone: BTreeMap<u32, f64>,
    /// How many tenths of all trainings alone were reported; none before the first report.
    reported_tenths: Option<u32>,
}

impl Tracker {
    pub(super) fn new(parties: impl Iterator<Item = u32>) -> Self {
        let phases = parties.map(|party| (party, Phase::Waiting)).collect();
        Self {
            phases,
            round: 0,
            announced: BTreeSet::new(),
            all_announced: false,
            trained_alone: BTreeMap::new(),
            reported_tenths: None,
        }
    }

    /// Records a hospital's phase. Returns whether it is a new phase, and the milestone that the run reaches
    /// with it, if any. Events from before a hospital was lost may arrive late, so only new training ends
    /// that phase.
    pub(super) fn enter(&mut self, party: u32, phase: Phase) -> (bool, Option<String>) {
        let Some(current) = self.phases.get_mut(&party) else {
            return (false, None);
        };
        if *current == Phase::Lost && !matches!(phase, Phase::Training { .. } | Phase::TrainingAlone { .. }) {
            return (false, None);
        }
        let before = std::mem::replace(current, phase);
        let milestone = match phase {
            Phase::Training { round, .. } if round > self.round => Some(self.begin(round)),
            Phase::Announced => {
                self.announced.insert(party);
                self.all_have_announced()
            }
            // The lost hospital may have been the only one that was still missing.
            Phase::Lost => self.all_have_announced(),
            Phase::TrainingAlone { done, total } => {
                self.trained_alone.insert(party, done.min(total) as f64 / total.max(1) as f64);
                self.next_tenth_alone()
            }
            _ => None,
        };
        (before.name() != phase.name(), milestone)
    }

    /// Whether a hospital is lost.
    pub(super) fn is_lost(&self, party: u32) -> bool {
        self.phases.get(&party) == Some(&Phase::Lost)
    }

    /// How many hospitals are in each phase, in one line.
    pub(super) fn summary(&self) -> String {
        let names = [
            "waiting",
            "reading notes",
            "training",
            "announced",
            "uploading",
            "uploaded",
            "training alone",
            "lost",
        ];
        let counts =
            names.map(|name| (name, self.phases.values().filter(|phase| phase.name() == name).count()));
        let parts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        format!("round {}: {}", self.round, parts.join(", "))
    }

    fn begin(&mut self, round: u64) -> String {
        self.round = round;
        self.announced.clear();
        self.all_announced = false;
        format!("round {round}: training on {}", counted(self.present().count(), "hospital"))
    }

    fn present(&self) -> impl Iterator<Item = u32> {
        self.phases.iter().filter(|(_, phase)| **phase != Phase::Lost).map(|(party, _)| *party)
    }

    /// The milestone that another tenth of all trainings alone is done. They take minutes on a busy machine
    /// and end at about the same time, so a line for each hospital would come too late.
    fn next_tenth_alone(&mut self) -> Option<String> {
        let hospitals = self.present().count();
        let done: f64 = self.present().filter_map(|party| self.trained_alone.get(&party)).sum();
        let tenths = (10.0 * done / hospitals.max(1) as f64) as u32;
        if self.reported_tenths.is_some_and(|reported| reported >= tenths) {
            return None;
        }
        let is_first = self.reported_tenths.replace(tenths).is_none();
        Some(match is_first {
            true => format!("for comparison: training alone on each of {}", counted(hospitals, "hospital")),
            false => format!("for comparison: {} % of the trainings alone are done", 10 * tenths),
        })
    }

    /// The milestone that every hospital that is not lost has announced; at most once a round.
    fn all_have_announced(&mut self) -> Option<String> {
        if self.all_announced || self.announced.is_empty() {
            return None;
        }
        let is_complete = self.present().all(|party| self.announced.contains(&party));
        self.all_announced = is_complete;
        let announced = counted(self.announced.len(), "hospital");
        self.all_announced.then(|| format!("round {}: {announced} announced", self.round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAINING: Phase = Phase::Training { round: 1, done: 0, total: 9 };

    fn tracker() -> Tracker {
        Tracker::new([1, 2, 3].into_iter())
    }

    fn milestone(tracker: &mut Tracker, party: u32, phase: Phase) -> Option<String> {
        tracker.enter(party, phase).1
    }

    #[test]
    fn a_round_has_two_milestones_each_told_once() {
        let mut tracker = tracker();
        assert_eq!(milestone(&mut tracker, 2, TRAINING).as_deref(), Some("round 1: training on 3 hospitals"));
        assert_eq!(milestone(&mut tracker, 1, TRAINING), None);
        assert_eq!(milestone(&mut tracker, 1, Phase::Announced), None);
        assert_eq!(milestone(&mut tracker, 2, Phase::Announced), None);
        assert_eq!(
            milestone(&mut tracker, 3, Phase::Announced).as_deref(),
            Some("round 1: 3 hospitals announced")
        );
        assert_eq!(milestone(&mut tracker, 3, Phase::Announced), None);
        let next = Phase::Training { round: 2, done: 0, total: 9 };
        assert_eq!(milestone(&mut tracker, 1, next).as_deref(), Some("round 2: training on 3 hospitals"));
        assert_eq!(milestone(&mut tracker, 1, Phase::Announced), None);
    }

    #[test]
    fn nobody_waits_for_the_announcement_of_a_lost_hospital() {
        let mut tracker = tracker();
        milestone(&mut tracker, 1, TRAINING);
        milestone(&mut tracker, 1, Phase::Announced);
        milestone(&mut tracker, 2, Phase::Announced);
        assert_eq!(
            milestone(&mut tracker, 3, Phase::Lost).as_deref(),
            Some("round 1: 2 hospitals announced")
        );
        assert_eq!(tracker.summary(), "round 1: 2 announced, 1 lost");
    }

    #[test]
    fn late_news_do_not_bring_a_lost_hospital_back() {
        let mut tracker = tracker();
        tracker.enter(2, Phase::Lost);
        assert_eq!(tracker.enter(2, Phase::Uploading { sent: 1, total: 2 }), (false, None));
        assert_eq!(tracker.enter(2, Phase::Waiting), (false, None));
        assert!(tracker.is_lost(2) && !tracker.is_lost(1) && !tracker.is_lost(9));
        assert!(tracker.enter(2, TRAINING).0);
        assert!(!tracker.is_lost(2));
    }

    #[test]
    fn trainings_alone_are_reported_at_each_tenth_of_them_all() {
        let mut tracker = tracker();
        let mut report =
            |party, done| milestone(&mut tracker, party, Phase::TrainingAlone { done, total: 10 });
        let first = report(1, 1);
        assert_eq!(first.as_deref(), Some("for comparison: training alone on each of 3 hospitals"));
        assert_eq!(report(2, 1), None);
        let tenth = report(3, 1);
        assert_eq!(tenth.as_deref(), Some("for comparison: 10 % of the trainings alone are done"));
        let all: Vec<Option<String>> = [1, 2, 3].map(|party| report(party, 10)).into();
        let last = all.last().cloned().flatten();
        assert_eq!(last.as_deref(), Some("for comparison: 100 % of the trainings alone are done"));
    }

    #[test]
    fn steps_within_a_phase_are_no_new_phase() {
        let mut tracker = tracker();
        assert!(tracker.enter(1, Phase::Uploading { sent: 0, total: 10 }).0);
        assert!(!tracker.enter(1, Phase::Uploading { sent: 9, total: 10 }).0);
        assert!(tracker.enter(1, Phase::Uploading { sent: 10, total: 10 }).0);
        assert_eq!(tracker.summary(), "round 0: 2 waiting, 1 uploaded");
    }

    #[test]
    fn a_stranger_is_not_counted() {
        let mut tracker = tracker();
        assert_eq!(tracker.enter(9, TRAINING), (false, None));
        assert_eq!(tracker.summary(), "round 0: 3 waiting");
    }

    #[test]
    fn phases_say_how_far_they_are() {
        assert_eq!(
            Phase::Training { round: 2, done: 30, total: 120 }.describe(),
            "round 2: training, step 30 of 120"
        );
        assert_eq!(
            Phase::Uploading { sent: 1_200_000, total: 3_400_000 }.describe(),
            "uploading 1.2 MB of 3.4 MB"
        );
        assert_eq!(Phase::TrainingAlone { done: 3, total: 9 }.describe(), "training alone, step 3 of 9");
        assert_eq!(Phase::Reading { done: 3, total: 9 }.progress(), (3, 9));
        assert_eq!(Phase::Uploading { sent: 7, total: 7 }.describe(), "uploaded 7 B");
        assert_eq!(Phase::Training { round: 1, done: 10, total: 9 }.progress(), (9, 9));
    }
}
