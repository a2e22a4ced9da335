//! Seeds by their purpose.
//!
//! Everything random in a run follows the run's seed. Two purposes must not share a stream of random numbers, or what
//! looks independent is not; so each has a seed of its own, which [`seed_for`] derives. A purpose that is added here is
//! hashed. Those of the published figures keep the formulas that they were measured with, because other streams would
//! give other figures.

use cloister_params::id::BlockId;
use sha2::{Digest, Sha256};

/// What a seed is for. Rounds are from 1, except where 0 stands for what precedes them; members are from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Which texts nobody trains on.
    HeldOut,
    /// Who gets which texts.
    Division,
    /// The initial parameters of the routers.
    InitialModel,
    /// The order of a member's batches, and the noise of its private training.
    Training {
        /// The member.
        member: usize,
        /// The round.
        round: usize,
    },
    /// The noise of the members' contributions to a round, one member after another.
    ContributionNoise {
        /// The round.
        round: usize,
    },
    /// The noise of the sums that a head is fitted from.
    HeadNoise {
        /// The round that it is fitted after; 0 before training.
        round: usize,
    },
    /// A cohort that is drawn in place of the aligned one.
    RandomCohort {
        /// The expert.
        block: BlockId,
        /// The round.
        round: usize,
    },
    /// The noise of sketches that are compared with what they stand for. It is the same for every size and amount of
    /// noise, so that nothing else differs.
    SketchNoise,
    /// Cohorts drawn at random that sketches are compared with.
    ChanceCohort {
        /// The number of the expert, from 0.
        expert: usize,
    },
    /// The noise of a score that a member computes of itself.
    ScoreNoise {
        /// The member, from 0.
        member: usize,
        /// The group of experts, from 0.
        group: usize,
        /// The round.
        round: usize,
    },
    /// Keys, masks and everything else that the parties of an in-memory consortium draw while they train. Their sums do
    /// not depend on it.
    Consortium,
    /// The same of the consortium that takes the place of one whose model the server has changed.
    RestartedConsortium {
        /// Rounds that the consortia before it ran.
        rounds: usize,
    },
    /// The same of a consortium that sums statistics for a head.
    HeadConsortium {
        /// The round that the head is fitted after; 0 before training.
        round: usize,
    },
}

/// The seed for a purpose in a run with this seed.
pub(crate) fn seed_for(run: u64, purpose: Purpose) -> u64 {
    match published(purpose) {
        Some(difference) => run ^ difference,
        None => hashed(run, purpose),
    }
}

/// What a purpose's seed differs by from the run's, for those of the published figures.
///
/// These are not all distinct. `HeldOut`, `Division`, `InitialModel`, `SketchNoise` and `HeadNoise` before training
/// share the run's seed (though not all of them the generator), and so do `RandomCohort` of a block and `Training` of
/// the member before it in number. `Training` of one run in one round is that of another run in another round, as in
/// runs 0 and 1 in rounds 3 and 2.
fn published(purpose: Purpose) -> Option<u64> {
    Some(match purpose {
        Purpose::HeldOut | Purpose::Division | Purpose::InitialModel | Purpose::SketchNoise => 0,
        Purpose::Training { member, round } => (member as u64 + 1) << 32 ^ round as u64,
        Purpose::ContributionNoise { round } => (round as u64) << 16,
        Purpose::HeadNoise { round } => (round as u64) << 48,
        Purpose::RandomCohort { block, round } => u64::from(block.0) << 32 ^ round as u64,
        Purpose::ChanceCohort { expert } => (expert as u64) << 32,
        Purpose::ScoreNoise { .. } => return None,
        // No figure depends on these.
        Purpose::Consortium | Purpose::RestartedConsortium { .. } | Purpose::HeadConsortium { .. } => {
            return None;
        }
    })
}

/// A purpose is hashed by its name and numbers, as `Debug` writes them.
fn hashed(run: u64, purpose: Purpose) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"cloister lab seed\0");
    hash.update(run.to_le_bytes());
    // `Debug` writes the variant's name and its fields, so two purposes never have the same bytes. Renaming
    // either changes seeds.
    hash.update(format!("{purpose:?}"));
    let digest: [u8; 32] = hash.finalize().into();
    let [first, ..] = digest.as_chunks::<8>().0 else { unreachable!("a digest has 32 bytes") };
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_published_figures_are_as_they_were() {
        let run = 5;
        let published = [
            (Purpose::Division, 5),
            (Purpose::Training { member: 2, round: 7 }, 5 ^ 3 << 32 ^ 7),
            (Purpose::ContributionNoise { round: 7 }, 5 ^ 7 << 16),
            (Purpose::HeadNoise { round: 7 }, 5 ^ 7 << 48),
            (Purpose::RandomCohort { block: BlockId(9), round: 7 }, 5 ^ 9 << 32 ^ 7),
            (Purpose::ChanceCohort { expert: 3 }, 5 ^ 3 << 32),
        ];
        for (purpose, seed) in published {
            assert_eq!(seed_for(run, purpose), seed, "{purpose:?}");
        }
    }

    #[test]
    fn hashed_seeds_differ_by_run_purpose_and_number() {
        let head = |run, round| seed_for(run, Purpose::HeadConsortium { round });
        assert_eq!(head(0, 0), head(0, 0));
        assert_ne!(head(0, 0), head(1, 0));
        assert_ne!(head(0, 0), head(0, 1));
        assert_ne!(head(0, 0), seed_for(0, Purpose::RestartedConsortium { rounds: 0 }));
        assert_ne!(
            head(0, 0),
            seed_for(0, Purpose::HeadNoise { round: 0 }),
            "keys are not drawn as noise is"
        );
    }
}
