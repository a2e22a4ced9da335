//! A limit on what is sent in a second, for hospitals with a slow uplink.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much delay a sender may make up for. Timers wake it a little late each time; without this it would
/// stay below the limit.
const BURST: Duration = Duration::from_millis(50);

/// A token bucket, stored as the time at which the next byte may leave.
#[derive(Debug)]
pub(crate) struct UplinkCap {
    bytes_per_second: NonZeroU64,
    free_at: Instant,
}

impl UplinkCap {
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: Instant::now() }
    }

    /// Waits until this number of bytes may be sent.
    pub(crate) async fn admit(&mut self, bytes: usize) {
        // Before the bytes and not after them: the first piece leaves at once, and a pause costs nothing.
        sleep_until(self.free_at).await;
        // Time in which nothing was sent is saved up to `BURST` only, or it would flood a slow uplink later.
        let earliest = Instant::now().checked_sub(BURST).unwrap_or(self.free_at);
        self.free_at = self.free_at.max(earliest) + self.cost(bytes);
    }

    fn cost(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second)
    }
}
