//! How a hospital finds its coordinator again.

use std::time::{Duration, Instant};

use cloister_transport::{Fingerprint, Link, connect};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};

use super::Client;
use crate::config::ClientLifetime;
use crate::events::{ClientError, ClientEvent};

/// The first wait before the next try to connect.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often the same reason is reported again.
const REPORT_EVERY: Duration = Duration::from_hours(1);

/// How long to wait before the next try: twice as long each time, and up to half of it less at random. Otherwise all
/// hospitals would come back at the same moment after a coordinator's restart.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: RETRY_AFTER }
    }

    /// The next wait. `random` is a uniform 32-bit number.
    fn wait(&mut self, random: u32) -> Duration {
        let longest = self.next;
        self.next = (2 * longest).min(LONGEST_WAIT);
        longest - longest.mul_f64(0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

/// Why connecting failed, so that the same reason is not reported at each try.
#[derive(Default)]
struct ReportedReason {
    text: String,
    at: Option<Instant>,
}

impl ReportedReason {
    /// Whether the reason is new, or was reported long ago.
    fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let is_recent = self.at.is_some_and(|at| now.duration_since(at) < REPORT_EVERY);
        if self.text == text && is_recent {
            return false;
        }
        (self.text, self.at) = (text.to_owned(), Some(now));
        true
    }
}

impl Client<'_> {
    /// Tries to connect until the coordinator answers, for as long as the configuration says.
    pub(super) async fn reach_coordinator(&mut self) -> Result<Link, ClientError> {
        let pinned = Fingerprint(self.config.epoch.consortium().coordinator().certificate.0);
        let (started, mut backoff) = (Instant::now(), Backoff::new());
        let mut reported = ReportedReason::default();
        loop {
            let config = self.config;
            let connecting = connect(
                config.coordinator.clone(),
                &config.identity,
                pinned,
                config.party,
                &config.transport,
            );
            let error = match connecting.await {
                Ok(link) => {
                    (self.events)(ClientEvent::Connected(link.carrier()));
                    return Ok(link);
                }
                Err(error) => error,
            };
            match self.config.lifetime {
                ClientLifetime::UntilFinished { reach_within } => {
                    // Networks come and go, but a coordinator that answers and rejects this hospital will do so again.
                    if !error.is_network_fault() || started.elapsed() >= reach_within {
                        return Err(error.into());
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                // Whatever the reason is, it may pass without anybody at this hospital: a coordinator that does not list
                // this hospital yet, a network that leads elsewhere for an hour.
                ClientLifetime::UntilStopped => {
                    let text = error.to_string();
                    if reported.is_due(&text, Instant::now()) {
                        (self.events)(ClientEvent::Unreachable(text));
                    }
                    tokio::time::sleep(backoff.wait(UnwrapErr(SysRng).next_u32())).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_differ() {
        let mut backoff = Backoff::new();
        let longest: Vec<Duration> = (0..9).map(|_| backoff.wait(0)).collect();
        assert_eq!(longest[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(longest[8], LONGEST_WAIT);
        assert_eq!(backoff.wait(u32::MAX), LONGEST_WAIT / 2);
    }

    #[test]
    fn a_reason_is_reported_once_and_again_after_an_hour() {
        let (mut reported, start) = (ReportedReason::default(), Instant::now());
        assert!(reported.is_due("no answer", start));
        assert!(!reported.is_due("no answer", start + REPORT_EVERY / 2));
        assert!(reported.is_due("not in the consortium", start + REPORT_EVERY / 2));
        assert!(reported.is_due("no answer", start + REPORT_EVERY / 2), "another one came between");
        assert!(reported.is_due("no answer", start + 2 * REPORT_EVERY));
    }
}
