//! What became of a charge: which sums a round opened, and how much noise is in them.

use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;
use serde::{Deserialize, Serialize};

use crate::release::Released;

/// A round that closed with sums.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedRound {
    /// The round that closed. After an abort it is a later one than the round that was charged.
    pub round: Round,
    /// Digest of the round's closing, which a quorum of custodians signed.
    pub closing: Digest,
    /// What was opened: one entry for each kind.
    pub sums: Vec<OpenedSums>,
    /// When the line was written, by the clock of whoever keeps the ledger. Lines of earlier versions have none. It
    /// changes no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UtcTime>,
}

/// The sums of one kind that a round opened.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedSums {
    /// What was summed.
    pub released: Released,
    /// How many sums of this kind were opened.
    pub count: u32,
    /// How many members' uploads are at least in each of them, each with its noise.
    pub members: u32,
    /// The least variance of the noise in any of them, where one member's own noise has variance 1 and sums
    /// are in units of that member's weight. At least 1, and the number of members if all weights are 1.
    pub noises: f64,
}

impl OpenedSums {
    /// Both together: counts add up, and the least of the others holds for all.
    fn merged(self, other: Self) -> Self {
        Self {
            released: self.released,
            count: self.count + other.count,
            members: self.members.min(other.members),
            noises: self.noises.min(other.noises),
        }
    }
}

impl ClosedRound {
    /// The round in which these blocks were opened, each with the number of members in its sum, as known at a time.
    pub fn new(
        settings: &RoundSettings,
        (round, closing): (Round, Digest),
        opened: impl IntoIterator<Item = (BlockId, u32)>,
        at: UtcTime,
    ) -> Self {
        let heaviest = f64::from(settings.max_weight).powi(2);
        let mut sums: Vec<OpenedSums> = Vec::new();
        for (block, members) in opened {
            // A block that the plan does not have was not charged, so it has no place beside the charges.
            let Some(planned) = settings.block(block) else { continue };
            // The weights are not known here. The member's own noise has variance 1. The others' is least, in
            // units of this member's weight, if this member has the largest weight and each of them the
            // weight 1.
            let noises = 1.0 + f64::from(members.saturating_sub(1)) / heaviest;
            let released = Released::sum_of(planned.shape.kind);
            let opened_sum = OpenedSums { released, count: 1, members, noises };
            match sums.iter_mut().find(|known| known.released == released) {
                Some(known) => *known = known.merged(opened_sum),
                None => sums.push(opened_sum),
            }
        }
        Self { round, closing, sums, at: Some(at) }
    }

    /// The sums of this kind; `None` if none was opened.
    pub fn sums_of(&self, released: Released) -> Option<&OpenedSums> {
        self.sums.iter().find(|sums| sums.released == released)
    }

    /// Whether its numbers are possible. Those of a decoded one may not be.
    pub(crate) fn is_valid(&self) -> bool {
        // Written so that NaN fails it. Fewer than one member's own noise is impossible.
        self.sums.iter().all(|sums| sums.members > 0 && sums.noises.is_finite() && sums.noises >= 1.0)
    }
}
