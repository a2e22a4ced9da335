//! How many bytes the journal accepts from one party in a round, so that no party can fill the coordinator's
//! disk.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use thiserror::Error;

/// How often a party may send everything of a round. An honest party sends parts again when its link is lost
/// in an upload.
const TIMES: u64 = 8;
/// Bytes for everything but masked blocks: announcement, letters, votes, sketches.
const BESIDE_BLOCKS: u64 = 64 << 20;
/// Bytes of a coordinate in the widest ring.
const WIDEST: u64 = 4;

/// How many bytes a new link counts as: the journal records that the party came, and the party is sent the
/// round so far.
pub(crate) const NEW_LINK: usize = 64 << 10;

/// How many bytes of frames each party may still send in a round: eight times all blocks in the widest ring
/// and 64 MiB.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u64,
    /// Bytes that were accepted of each party in this round.
    taken: BTreeMap<PartyId, u64>,
    /// Parties that have sent more in this round. They have nothing left, whatever `taken` says.
    exceeded: BTreeSet<PartyId>,
}

/// A party sent more than a round needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("it sent more than {most} bytes in one round; further frames are rejected until the next round")]
pub(crate) struct Exceeded {
    most: u64,
}

impl Allowance {
    pub(crate) fn new(settings: &RoundSettings) -> Self {
        let blocks: u64 = settings.blocks.iter().map(|block| WIDEST * block.shape.length).sum();
        Self::with_bytes(TIMES * (blocks + BESIDE_BLOCKS))
    }

    /// This number of bytes for each party.
    pub(crate) fn with_bytes(most: u64) -> Self {
        Self { most, taken: BTreeMap::new(), exceeded: BTreeSet::new() }
    }

    /// Counts bytes of a party (`ROUND-32`). A party that has exceeded its allowance has none left, also for
    /// a smaller frame.
    ///
    /// # Errors
    /// The bytes are more than the party has left.
    pub(crate) fn take(&mut self, party: PartyId, bytes: usize) -> Result<(), Exceeded> {
        let taken = self.taken.entry(party).or_default();
        let next = taken.saturating_add(bytes as u64);
        if next > self.most || self.exceeded.contains(&party) {
            self.exceeded.insert(party);
            return Err(Exceeded { most: self.most });
        }
        *taken = next;
        Ok(())
    }

    /// Gives every party its whole allowance again, for the next round.
    pub(crate) fn renew(&mut self) {
        self.taken.clear();
        self.exceeded.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-27, ROUND-32
    #[test]
    fn one_party_cannot_fill_the_disk_nor_use_up_what_another_may_send() {
        let mut allowance = Allowance::with_bytes(10);
        let (one, other) = (PartyId(1), PartyId(2));
        assert_eq!(allowance.take(one, 9), Ok(()));
        assert_eq!(allowance.take(one, 1), Ok(()), "control: up to the last byte");
        assert_eq!(allowance.take(other, 9), Ok(()));
        assert_eq!(allowance.take(other, 2), Err(Exceeded { most: 10 }));
        assert!(allowance.take(other, 1).is_err(), "whoever exceeded it is not heard any more");
        allowance.renew();
        assert_eq!(allowance.take(other, 10), Ok(()));
    }
}
