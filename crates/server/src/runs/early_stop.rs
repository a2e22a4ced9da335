//! When a run ends before its last round, because the model has stopped getting better (`RUN-05`).

use cloister_params::id::{Digest, Round};
use serde::{Deserialize, Serialize};

use crate::history::RoundRecord;
use crate::times::RoundCounts;

/// When a run ends early. It is for tasks whose rounds evaluate the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// After how many evaluations in a row without a new best, at least 1.
    pub patience: u32,
    /// By how many thousandths an accuracy must be above the best one before to be a new best.
    pub least_gain_milli: u32,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEvaluation {
    /// The edition of the consortium file of the round that published it.
    pub edition: u32,
    /// That round. The evaluated model is the one that it started from.
    pub round: Round,
    /// Digest of the evaluated model.
    pub model: Digest,
    /// The share of correct records, from 0 to 1.
    pub accuracy: f64,
}

impl EarlyStop {
    /// The best evaluation of a run's rounds, in their order, and whether the run is to end.
    pub(crate) fn best(self, rounds: &[RoundRecord]) -> Option<(BestEvaluation, bool)> {
        let least_gain = f64::from(self.least_gain_milli) / 1e3;
        let mut best: Option<BestEvaluation> = None;
        let mut since_best = 0;
        for record in rounds {
            let Some((accuracy, model)) = record.ended().and_then(|(_, counts)| evaluated(counts)) else {
                continue;
            };
            if best.is_none_or(|best| accuracy > best.accuracy + least_gain) {
                let (edition, round) = (record.edition, record.round);
                best = Some(BestEvaluation { edition, round, model, accuracy });
                since_best = 0;
            } else {
                since_best += 1;
            }
        }
        best.map(|best| (best, since_best >= self.patience))
    }
}

/// The accuracy that a round published, and the model that has it.
fn evaluated(counts: RoundCounts) -> Option<(f64, Digest)> {
    Some((counts.evaluation?.accuracy()?, counts.started_from?))
}

#[cfg(test)]
mod tests {
    use cloister_params::evaluation::PublishedEvaluation;
    use cloister_params::time::UtcTime;

    use super::*;
    use crate::history::RecordedOutcome;
    use crate::times::{RoundStep, TimedStep};

    fn rounds(percents: &[f64]) -> Vec<RoundRecord> {
        let time = UtcTime::try_from("2026-12-03T05:58:12Z".to_owned()).expect("a time");
        let round = |(number, percent): (u64, &f64)| {
            // 0 stands for a round that published nothing.
            let evaluation = (*percent > 0.0).then_some(PublishedEvaluation {
                correct: 10.0 * percent,
                records: 1000.0,
                noise: 1.0,
            });
            let (announced, uploaded, summed, bytes_up) = (5, 5, 5, 1);
            let counts = RoundCounts {
                announced,
                uploaded,
                summed,
                bytes_up,
                rehearsal: false,
                evaluation,
                started_from: Some(Digest([number as u8; 32])),
            };
            let steps = vec![TimedStep { time, step: RoundStep::Ended(counts) }];
            let outcome = RecordedOutcome::Closed { blocks: 1 };
            RoundRecord { edition: 1, round: Round(number), outcome, steps }
        };
        (1..).zip(percents).map(round).collect()
    }

    /// RUN-05
    #[test]
    fn a_run_ends_after_enough_evaluations_without_a_new_best() {
        let stop = EarlyStop { patience: 2, least_gain_milli: 5 };
        let best_round = |percents: &[f64]| {
            let best = stop.best(&rounds(percents)).filter(|(_, ends)| *ends);
            best.map(|(best, _)| best.round.0)
        };
        assert_eq!(best_round(&[]), None);
        assert_eq!(best_round(&[50.0, 60.0, 70.0]), None, "it still gets better");
        assert_eq!(best_round(&[50.0, 60.0, 59.0]), None, "one evaluation is too few");
        assert_eq!(best_round(&[50.0, 60.0, 59.0, 60.4]), Some(2), "a gain that is too small is none");
        assert_eq!(best_round(&[50.0, 60.0, 59.0, 60.6]), None, "a gain that is large enough");
        assert_eq!(best_round(&[60.0, 0.0, 59.0, 0.0]), None, "rounds without an evaluation do not count");
        assert_eq!(best_round(&[60.0, 0.0, 59.0, 0.0, 58.0]), Some(1));
        let (best, ends) =
            EarlyStop { patience: 3, ..stop }.best(&rounds(&[50.0, 60.0, 1.0])).expect("evaluations");
        assert_eq!((best.model, ends), (Digest([2; 32]), false), "the best so far");
    }
}
