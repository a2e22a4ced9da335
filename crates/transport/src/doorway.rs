//! How many peers are there at a time, altogether and from each source: in their handshake (`WIRE-05`), and in an
//! enrolment (`WIRE-10`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Where a peer comes from: an IPv4 address, or an IPv6 network of 64 bits, which usually has one owner. An
/// owner with all addresses of its network counts once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerSource(IpAddr);

impl PeerSource {
    /// The source of a peer with this address.
    pub fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            // An IPv4 address mapped into IPv6 is an IPv4 address here: all of them lie in one such network.
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// The peers that have a place.
#[derive(Debug)]
pub(crate) struct Doorway {
    most: usize,
    most_per_source: usize,
    count: usize,
    by_source: BTreeMap<PeerSource, usize>,
}

impl Doorway {
    pub(crate) fn new(most: usize, most_per_source: usize) -> Self {
        Self { most, most_per_source, count: 0, by_source: BTreeMap::new() }
    }

    /// Whether another peer may come.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.most
    }

    /// How many peers there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Counts a peer from this source if it may come; returns whether it may.
    pub(crate) fn enter(&mut self, source: PeerSource) -> bool {
        let from_source = self.by_source.get(&source).copied().unwrap_or(0);
        if !self.has_room() || from_source >= self.most_per_source {
            return false;
        }
        self.by_source.insert(source, from_source + 1);
        self.count += 1;
        true
    }

    /// Gives a peer's place back, whatever came of it.
    pub(crate) fn leave(&mut self, source: PeerSource) {
        let Some(from_source) = self.by_source.get_mut(&source) else { return };
        self.count -= 1;
        *from_source -= 1;
        // Removed, or the map would grow with every address that ever came.
        if *from_source == 0 {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> PeerSource {
        PeerSource::new(address.parse().expect("an address"))
    }

    /// WIRE-05
    #[test]
    fn one_source_does_not_take_every_place() {
        for (strangers, party) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")] {
            let (strangers, party) = (source(strangers), source(party));
            let mut doorway = Doorway::new(256, 16);
            let taken = (0..300).filter(|_| doorway.enter(strangers)).count();
            assert_eq!((taken, doorway.count()), (16, 16));
            assert!(doorway.enter(party));
            doorway.leave(strangers);
            assert!(doorway.enter(strangers) && !doorway.enter(strangers), "a place that was left is free");
            // Control: without the limit the strangers take all places, and the party has none.
            let mut unlimited = Doorway::new(256, usize::MAX);
            assert_eq!((0..300).filter(|_| unlimited.enter(strangers)).count(), 256);
            assert!(!unlimited.enter(party));
        }
    }

    /// WIRE-05
    #[test]
    fn an_owner_of_a_network_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"), "control");
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"), "control");
    }
}
