//! Figures derived from a run's result, the same on the screen and in the report.

#[cfg(test)]
pub(crate) mod sample;

use super::format::{NONE, percent_or_none, seconds, span};
use super::result::{DemoResult, ExpertResult, MemberResult, RoundResult};
use crate::byte_count::bytes;

/// The columns of the table of rounds.
pub(crate) const ROUND_COLUMNS: [&str; 7] =
    ["round", "members", "experts aggregated", "cohort sizes", "held-out accuracy", "bytes up", "seconds"];

impl DemoResult {
    /// The last round that closed with sums.
    pub(crate) fn last_closed(&self) -> Option<&RoundResult> {
        self.rounds.iter().rev().find(|round| round.closed)
    }

    /// Held-out accuracy of the final federated model, on all held-out notes. If no hospital finished, that
    /// of the last round that has one.
    pub(crate) fn federated_accuracy(&self) -> Option<f64> {
        let in_round =
            || self.rounds.iter().rev().filter(|round| round.closed).find_map(|round| round.accuracy);
        // All hospitals hold the same model and evaluate it on the same notes, so their mean is its accuracy.
        mean(self.members.iter().filter_map(|member| member.federated_accuracy)).or_else(in_round)
    }

    /// Mean held-out accuracy of the models that hospitals trained on their own notes alone.
    pub(crate) fn mean_local_accuracy(&self) -> Option<f64> {
        mean(self.members.iter().filter_map(|member| member.local_accuracy))
    }

    /// All hospitals' notes.
    pub(crate) fn notes(&self) -> usize {
        self.members.iter().map(MemberResult::notes).sum()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl MemberResult {
    /// Its notes of all classes.
    pub(crate) fn notes(&self) -> usize {
        self.notes_by_class.iter().sum()
    }

    /// Federated minus local accuracy, as a share of 1; none if either is missing.
    pub(crate) fn gain(&self) -> Option<f64> {
        Some(self.federated_accuracy? - self.local_accuracy?)
    }
}

impl RoundResult {
    /// The members of an expert's cohort whose updates are in its sum; empty if it was not opened. A member
    /// that was lost between sealing and upload is in the cohort and not in the sum.
    pub(crate) fn summed(&self, expert: &ExpertResult) -> Vec<u32> {
        if !expert.opened {
            return Vec::new();
        }
        expert.members.iter().copied().filter(|party| self.uploaded.contains(party)).collect()
    }

    /// How many experts' sums were opened.
    pub(crate) fn opened(&self) -> usize {
        self.experts.iter().filter(|expert| expert.opened).count()
    }

    /// The sizes of the smallest and of the largest cohort that was opened.
    pub(crate) fn cohort_sizes(&self) -> Option<(usize, usize)> {
        let opened = self.experts.iter().filter(|expert| expert.opened);
        let sizes: Vec<usize> = opened.map(|expert| self.summed(expert).len()).collect();
        Some((*sizes.iter().min()?, *sizes.iter().max()?))
    }

    /// The round's row in the table of rounds, under [`ROUND_COLUMNS`].
    pub(crate) fn row(&self) -> [String; 7] {
        let (experts, sizes) = if self.closed {
            (format!("{} of {}", self.opened(), self.experts.len()), span(self.cohort_sizes()))
        } else {
            ("aborted".to_owned(), NONE.to_owned())
        };
        [
            self.round.to_string(),
            format!("{} of {}", self.uploaded.len(), self.announced.len()),
            experts,
            sizes,
            percent_or_none(self.accuracy),
            bytes(self.bytes_up),
            seconds(self.seconds),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_closed_rounds_and_of_hospitals_that_stayed() {
        let result = sample::run(8, 5);
        assert_eq!(result.last_closed().map(|round| round.round), Some(5));
        let federated = result.federated_accuracy().expect("known");
        assert!((federated - result.rounds[4].accuracy.expect("known")).abs() < 1e-9);
        let local: Vec<f64> = result.members.iter().filter_map(|member| member.local_accuracy).collect();
        assert_eq!(local.len(), 7);
        assert_eq!(result.mean_local_accuracy(), Some(local.iter().sum::<f64>() / 7.0));
        assert_eq!(result.members[6].gain(), None);
    }

    #[test]
    fn without_a_closed_round_there_are_no_figures() {
        let result = sample::without_rounds();
        assert!(result.last_closed().is_none());
        assert_eq!(result.federated_accuracy(), None);
        assert_eq!(result.mean_local_accuracy(), None);
    }

    #[test]
    fn a_member_that_was_lost_is_not_in_the_sum() {
        let mut round = sample::run(8, 1).rounds.remove(0);
        round.experts.truncate(1);
        round.experts[0].members = vec![1, 2, 3, 4];
        round.experts[0].opened = true;
        round.uploaded = vec![1, 2, 4, 5];
        assert_eq!(round.summed(&round.experts[0]), [1, 2, 4]);
        assert_eq!(round.cohort_sizes(), Some((3, 3)));
        round.experts[0].opened = false;
        assert_eq!(round.cohort_sizes(), None);
        assert_eq!(round.opened(), 0);
    }

    #[test]
    fn an_aborted_round_says_so() {
        let round = sample::aborted(2);
        assert_eq!(round.row()[2..5], ["aborted", "–", "–"]);
        assert_eq!(round.row().len(), ROUND_COLUMNS.len());
    }
}
