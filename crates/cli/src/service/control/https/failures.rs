//! Sources whose requests had no valid token (`CTRL-04`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cloister_transport::PeerSource;

/// How many such requests of one source get a reason in each span of time.
pub(super) const MOST_FAILURES: u32 = 10;
/// The span.
pub(super) const SPAN: Duration = Duration::from_mins(1);
/// How many sources are remembered, so that a flood from many addresses fills no memory.
const MOST_SOURCES: usize = 4096;

/// Counts requests without a valid token. One with a valid token is answered whatever its source did before: tokens have 256 random
/// bits, so that slowing down guards the log and the processor, and must not lock out an operator behind the same address.
#[derive(Debug, Default)]
pub(super) struct FailedTokens(Mutex<BTreeMap<PeerSource, (Instant, u32)>>);

impl FailedTokens {
    /// Counts a failure; returns whether the source has had too many of late.
    pub(super) fn count(&self, source: PeerSource, now: Instant) -> bool {
        let mut sources = self.0.lock().expect("nothing panics while it holds the lock");
        if sources.len() >= MOST_SOURCES {
            sources.retain(|_, (since, _)| now.duration_since(*since) < SPAN);
        }
        if sources.len() >= MOST_SOURCES && !sources.contains_key(&source) {
            return true;
        }
        let (since, failures) = sources.entry(source).or_insert((now, 0));
        if now.duration_since(*since) >= SPAN {
            (*since, *failures) = (now, 0);
        }
        *failures = failures.saturating_add(1);
        *failures > MOST_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> PeerSource {
        PeerSource::new(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// CTRL-04
    #[test]
    fn a_source_has_few_failures_in_a_minute_and_many_sources_fill_no_memory() {
        let (failures, start) = (FailedTokens::default(), Instant::now());
        let slowed = (0..30).filter(|_| failures.count(source(1), start)).count();
        assert_eq!(slowed, 20);
        assert!(!failures.count(source(2), start), "another source has its own");
        assert!(!failures.count(source(1), start + SPAN), "a minute later it has them again");
        for number in 0..10_000 {
            failures.count(source(number), start + SPAN);
        }
        assert_eq!(failures.0.lock().expect("no panic").len(), MOST_SOURCES);
        assert!(failures.count(source(u32::MAX), start + SPAN), "no room is no favour");
        assert!(!failures.count(source(u32::MAX), start + 2 * SPAN));
    }
}
