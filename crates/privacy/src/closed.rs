//! What became of a charge: the sums that a round opened, and the noise that is in them.

use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::plan::RoundSettings;
use serde::{Deserialize, Serialize};

use crate::release::Released;

/// A round that closed with sums.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedRound {
    /// The round that closed: after an abort a later one than was charged for.
    pub round: Round,
    /// Digest of its closing, which a quorum of custodians signed.
    pub closing: Digest,
    /// What was opened, by kind.
    pub sums: Vec<OpenedSums>,
}

/// The sums of one kind that a round opened.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedSums {
    /// Of what.
    pub released: Released,
    /// How many.
    pub count: u32,
    /// Members whose upload, with its noise, is in each at least.
    pub members: u32,
    /// Variance of the noise in each at least, in units of what a single member adds, where sums are in units of its own weight.
    pub noises: f64,
}

impl OpenedSums {
    fn and(self, other: Self) -> Self {
        Self {
            released: self.released,
            count: self.count + other.count,
            members: self.members.min(other.members),
            noises: self.noises.min(other.noises),
        }
    }
}

impl ClosedRound {
    /// The round in which these blocks were opened, each over so many members.
    pub fn new(
        settings: &RoundSettings,
        (round, closing): (Round, Digest),
        opened: impl IntoIterator<Item = (BlockId, u32)>,
    ) -> Self {
        let heaviest = f64::from(settings.max_weight).powi(2);
        let mut sums: Vec<OpenedSums> = Vec::new();
        for (block, members) in opened {
            let Some(planned) = settings.block(block) else { continue };
            // Whatever the weights: its own noise, and the others' at least as if it had the largest weight and they 1.
            let noises = 1.0 + f64::from(members.saturating_sub(1)) / heaviest;
            let own =
                OpenedSums { released: Released::sum_of(planned.shape.kind), count: 1, members, noises };
            match sums.iter_mut().find(|known| known.released == own.released) {
                Some(known) => *known = known.and(own),
                None => sums.push(own),
            }
        }
        Self { round, closing, sums }
    }

    /// The sums of this kind, if any was opened.
    pub fn sums_of(&self, released: Released) -> Option<&OpenedSums> {
        self.sums.iter().find(|sums| sums.released == released)
    }

    /// Whether it can be: a decoded one may not.
    pub(crate) fn is_valid(&self) -> bool {
        self.sums.iter().all(|sums| sums.members > 0 && sums.noises.is_finite() && sums.noises >= 1.0)
    }
}
