//! How much of one party the journal takes in a round, so that nobody fills the coordinator's disk.

use std::collections::BTreeMap;

use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;

/// How often a party may send everything of a round: links are lost in the middle of uploads.
const TIMES: u64 = 8;
/// Bytes for everything but masked blocks: announcement, letters, votes, sketches.
const BESIDE_BLOCKS: u64 = 64 << 20;
/// Bytes of a coordinate in the widest ring.
const WIDEST: u64 = 4;

/// The bytes of frames that each party may still send in a round: eight times all blocks in the widest ring and 64 MiB.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u64,
    taken: BTreeMap<PartyId, u64>,
}

impl Allowance {
    pub(crate) fn of(settings: &RoundSettings) -> Self {
        let blocks: u64 = settings.blocks.iter().map(|block| WIDEST * block.shape.length).sum();
        Self { most: TIMES * (blocks + BESIDE_BLOCKS), taken: BTreeMap::new() }
    }

    /// Whether a frame of so many bytes is within the party's allowance; it counts if so.
    pub(crate) fn admits(&mut self, party: PartyId, bytes: usize) -> bool {
        let taken = self.taken.entry(party).or_default();
        let next = *taken + bytes as u64;
        let admitted = next <= self.most;
        if admitted {
            *taken = next;
        }
        admitted
    }

    /// Bytes for each party.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// The next round begins.
    pub(crate) fn renew(&mut self) {
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-27
    #[test]
    fn one_party_cannot_fill_the_disk_nor_use_up_what_another_may_send() {
        let mut allowance = Allowance { most: 10, taken: BTreeMap::new() };
        let (one, other) = (PartyId(1), PartyId(2));
        assert!(allowance.admits(one, 9));
        assert!(!allowance.admits(one, 2));
        assert!(allowance.admits(one, 1) && allowance.admits(other, 10));
        allowance.renew();
        assert!(allowance.admits(one, 10));
    }
}
