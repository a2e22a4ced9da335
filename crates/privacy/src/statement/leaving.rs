//! What left a hospital, kind by kind, in the words of the privacy statement.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::History;
use crate::release::{Release, Released};

/// Who can read a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ReadableAs {
    /// It can be read only as a sum with those of other hospitals.
    Sum,
    /// The coordinator reads it as this hospital's own.
    ThisHospitals,
    /// Part of it can be read as a sum only, part of it as this hospital's own.
    SumAndThisHospitals,
}

/// Which of the releases of a kind have noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Noise {
    All,
    Some,
    None,
}

/// One kind of what left a hospital.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Leaving {
    released: Released,
    what: &'static str,
    readable_as: ReadableAs,
    noise: Noise,
    /// How many releases there were, over all rounds.
    count: u64,
}

impl Leaving {
    fn new(released: Released, releases: &[&Release]) -> Self {
        let noised = releases.iter().filter(|release| release.noise_per_member > 0).count();
        let noise = match noised {
            0 => Noise::None,
            all if all == releases.len() => Noise::All,
            _ => Noise::Some,
        };
        let count = releases.iter().fold(0, |sum: u64, release| sum.saturating_add(release.count));
        let (what, readable_as) = described(released);
        Self { released, what, readable_as, noise, count }
    }

    /// The kind, as a part of a sentence for a patient board.
    pub(super) fn in_words(&self) -> String {
        let readable = match self.readable_as {
            ReadableAs::Sum => "which can be read only added up with those of other hospitals",
            ReadableAs::ThisHospitals => "which the coordinator reads as this hospital's own",
            ReadableAs::SumAndThisHospitals => {
                "which can be read only added up with those of other hospitals, and short summaries of \
                 them, which the coordinator reads as this hospital's own"
            }
        };
        let noise = match self.noise {
            Noise::All => "with noise",
            Noise::Some => "some of them without noise",
            Noise::None => "without noise",
        };
        format!("{}, {readable} ({noise})", self.what)
    }
}

fn described(released: Released) -> (&'static str, ReadableAs) {
    match released {
        Released::ExpertSum => ("changes to the model's experts", ReadableAs::Sum),
        Released::RouterSum => ("changes to the model's routers", ReadableAs::Sum),
        Released::SharedSum => ("changes to the model's shared parameters", ReadableAs::Sum),
        Released::RoutingHistogram => ("how the notes spread over the experts", ReadableAs::Sum),
        Released::EvaluationSum => ("how many held-out records the model answers correctly", ReadableAs::Sum),
        Released::RegionSketch => {
            ("short summaries of the notes that each expert sees", ReadableAs::ThisHospitals)
        }
        Released::UpdateSketch => ("short summaries of each expert's change", ReadableAs::ThisHospitals),
        Released::RegionSigns => (
            "one bit for each number of a short summary of the notes that each expert sees",
            ReadableAs::ThisHospitals,
        ),
        Released::UpdateSigns => {
            ("one bit for each number of a short summary of each expert's change", ReadableAs::ThisHospitals)
        }
        Released::RegionSum => ("short summaries of the notes that each expert sees", ReadableAs::Sum),
        Released::Score => (
            "how well groups of experts agree with what was published, one number for each group",
            ReadableAs::ThisHospitals,
        ),
        Released::TokenCount => ("how many tokens each expert sees", ReadableAs::ThisHospitals),
        Released::PrivateStep => {
            ("changes to the model from private training", ReadableAs::SumAndThisHospitals)
        }
    }
}

/// Everything that left, grouped by kind.
pub(super) fn leaving(history: &History) -> Vec<Leaving> {
    let mut kinds: BTreeMap<Released, Vec<&Release>> = BTreeMap::new();
    for release in history.releases() {
        kinds.entry(release.released).or_default().push(release);
    }
    kinds.into_iter().map(|(released, releases)| Leaving::new(released, &releases)).collect()
}
