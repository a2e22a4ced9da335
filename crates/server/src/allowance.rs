//! How much of one party the journal takes in a round, so that nobody fills the coordinator's disk.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use thiserror::Error;

/// How often a party may send everything of a round: links are lost in the middle of uploads.
const TIMES: u64 = 8;
/// Bytes for everything but masked blocks: announcement, letters, votes, sketches.
const BESIDE_BLOCKS: u64 = 64 << 20;
/// Bytes of a coordinate in the widest ring.
const WIDEST: u64 = 4;

/// What a new link counts as: the coordinator keeps that a party came, and sends it the round so far.
pub(crate) const NEW_LINK: usize = 64 << 10;

/// The bytes of frames that each party may still send in a round: eight times all blocks in the widest ring and 64 MiB.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u64,
    taken: BTreeMap<PartyId, u64>,
    exceeded: BTreeSet<PartyId>,
}

/// A party sent more than a round needs of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("it sent more than {most} bytes in one round, and is not heard before the next")]
pub(crate) struct Exceeded {
    most: u64,
}

impl Allowance {
    pub(crate) fn new(settings: &RoundSettings) -> Self {
        let blocks: u64 = settings.blocks.iter().map(|block| WIDEST * block.shape.length).sum();
        let most = TIMES * (blocks + BESIDE_BLOCKS);
        Self::of_bytes(most)
    }

    /// So many bytes for each party.
    pub(crate) fn of_bytes(most: u64) -> Self {
        Self { most, taken: BTreeMap::new(), exceeded: BTreeSet::new() }
    }

    /// Counts so many bytes of a party. Whoever once exceeded its allowance has none left (`ROUND-32`).
    ///
    /// # Errors
    /// They are more than it has left.
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

    /// The next round begins.
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
        let mut allowance = Allowance::of_bytes(10);
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
