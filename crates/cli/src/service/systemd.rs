//! What a service tells systemd (`Type=notify`). Without systemd nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

/// Tells systemd that the service is ready, and what it does.
pub(crate) fn notify_ready(status: &str) {
    // Nobody listens if the service was not started by systemd.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd at half of its interval that the service is alive.
pub(super) struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|interval| interval / 2);
        Self { interval, next: Instant::now() }
    }

    /// Waits until systemd expects a sign of life; for ever without a watchdog.
    pub(super) async fn due(&self) {
        match self.interval {
            Some(_) => sleep_until(self.next).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn notify(&mut self) {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        self.next = Instant::now() + self.interval.unwrap_or_default();
    }
}
