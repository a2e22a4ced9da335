//! What a coordinator answers to a probe (`WIRE-09`).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of an answer. It always has this length, so that nothing is allocated for it.
pub(crate) const ANSWER: usize = 36;

/// What a coordinator says about itself to a party that probes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeAnswer {
    /// The coordinator's clock when it wrote this, in whole milliseconds.
    pub time: SystemTime,
    /// The number of the edition of the consortium file that the coordinator runs.
    pub edition: u32,
    /// The version of the coordinator's program.
    pub version: ProgramVersion,
    /// From where the party reached the coordinator: the address of the party's network, or of a proxy.
    pub seen_from: SocketAddr,
}

/// The version of a program of this workspace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProgramVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

impl ProgramVersion {
    /// The version of this build.
    pub fn current() -> Self {
        let parts = [
            env!("CARGO_PKG_VERSION_MAJOR"),
            env!("CARGO_PKG_VERSION_MINOR"),
            env!("CARGO_PKG_VERSION_PATCH"),
        ];
        let [major, minor, patch] = parts.map(|part| part.parse().expect("cargo admits numbers alone"));
        Self { major, minor, patch }
    }
}

impl fmt::Display for ProgramVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl ProbeAnswer {
    /// `time:u64 ‖ edition:u32 ‖ major:u16 ‖ minor:u16 ‖ patch:u16 ‖ address:16 ‖ port:u16`, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; ANSWER] {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let address = match self.seen_from.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let ProgramVersion { major, minor, patch } = self.version;
        let mut bytes = [0; ANSWER];
        bytes[..8].copy_from_slice(&time.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.edition.to_be_bytes());
        for (place, part) in [(12, major), (14, minor), (16, patch), (34, self.seen_from.port())] {
            bytes[place..place + 2].copy_from_slice(&part.to_be_bytes());
        }
        bytes[18..34].copy_from_slice(&address.octets());
        bytes
    }

    /// The answer in these bytes. All bytes are some answer.
    pub(crate) fn from_bytes(bytes: &[u8; ANSWER]) -> Self {
        let [major, minor, patch, port] = [12, 14, 16, 34].map(|at| u16::from_be_bytes(part(bytes, at)));
        let address = Ipv6Addr::from(part::<16>(bytes, 18));
        // The sum is beyond what the system's clock can express only for times that no clock has.
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes(part(bytes, 0))));
        Self {
            time: time.unwrap_or(UNIX_EPOCH),
            edition: u32::from_be_bytes(part(bytes, 8)),
            version: ProgramVersion { major, minor, patch },
            seen_from: (address.to_canonical(), port).into(),
        }
    }
}

fn part<const N: usize>(bytes: &[u8; ANSWER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// WIRE-09
    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let answer = ProbeAnswer {
            time: UNIX_EPOCH + Duration::from_millis(0x0102_0304),
            edition: 5,
            version: ProgramVersion { major: 1, minor: 2, patch: 3 },
            seen_from: ([192, 0, 2, 1], 443).into(),
        };
        let bytes = answer.to_bytes();
        assert_eq!(
            hex(&bytes),
            "000000000102030400000005000100020003\
             00000000000000000000ffffc000020101bb"
        );
        assert_eq!(ProbeAnswer::from_bytes(&bytes), answer);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    proptest! {
        /// WIRE-09
        #[test]
        fn whatever_a_coordinator_sends_is_an_answer(bytes in any::<[u8; ANSWER]>()) {
            let answer = ProbeAnswer::from_bytes(&bytes);
            prop_assert_eq!(ProbeAnswer::from_bytes(&answer.to_bytes()), answer);
        }
    }
}
