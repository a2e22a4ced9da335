//! How often a party may open a link, so that no party has the coordinator do nothing but send rounds anew
//! (`ROUND-32`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloister_params::id::PartyId;
use thiserror::Error;

/// How many links a party may open at once, after it has opened none for a while. A network that comes and goes needs a
/// few.
const BURST: u32 = 8;
/// How long it takes until a party may open one link more. A new link of a custodian that recomputes sums is sent masked
/// blocks of all members, and putting those in order takes seconds of a large model.
const EVERY: Duration = Duration::from_secs(5);

/// A party opens links too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "this party has opened more than {BURST} links in a short time; wait {} seconds, and look at its log for why its links end",
    wait.as_secs() + 1
)]
pub(crate) struct TooOften {
    wait: Duration,
}

/// For each party, when it would have all of its links again.
#[derive(Default, Debug)]
pub(crate) struct Arrivals {
    renewed_at: BTreeMap<PartyId, Instant>,
}

impl Arrivals {
    /// Counts a link that a party opens now.
    ///
    /// # Errors
    /// It has to wait. The link does not count.
    pub(crate) fn admit(&mut self, party: PartyId, now: Instant) -> Result<(), TooOften> {
        let renewed = self.renewed_at.get(&party).copied().unwrap_or(now).max(now) + EVERY;
        let wait = renewed.saturating_duration_since(now + EVERY * BURST);
        if !wait.is_zero() {
            return Err(TooOften { wait });
        }
        self.renewed_at.insert(party, renewed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-32
    #[test]
    fn a_party_opens_a_few_links_at_once_and_then_one_in_a_while() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let (one, other) = (PartyId(1), PartyId(2));
        for _ in 0..BURST {
            assert_eq!(arrivals.admit(one, start), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(arrivals.admit(one, start), Err(TooOften { wait: EVERY }));
        }
        assert_eq!(arrivals.admit(other, start), Ok(()), "control: another party");
        let mut opened = 0;
        for millisecond in (0..60_000).step_by(100) {
            let now = start + Duration::from_millis(millisecond);
            opened += u32::from(arrivals.admit(one, now).is_ok());
        }
        assert_eq!(opened, 11, "in a minute of tries, one each five seconds");
        let later = start + Duration::from_mins(5);
        let again = (0..20).filter(|_| arrivals.admit(one, later).is_ok()).count();
        assert_eq!(again, BURST as usize, "control: after a while it may open all of them");
    }
}
