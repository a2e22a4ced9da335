//! The signal that tells a program to stop.

use tokio::sync::watch;

/// Becomes true when the operator asks the program to stop. Clones are of the same signal.
#[derive(Clone, Debug)]
pub struct StopSignal {
    requested: watch::Receiver<bool>,
}

/// The side that asks.
#[derive(Debug)]
pub struct StopSwitch {
    requested: watch::Sender<bool>,
}

impl StopSignal {
    /// A signal, and the switch that sets it.
    pub fn new() -> (StopSwitch, Self) {
        let (sender, requested) = watch::channel(false);
        (StopSwitch { requested: sender }, Self { requested })
    }

    /// A signal that nobody sets.
    pub fn never() -> Self {
        Self::new().1
    }

    /// Waits until the program is asked to stop. It is safe to cancel.
    pub async fn requested(&mut self) {
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            // The switch is gone, so nobody will ask.
            std::future::pending().await
        }
    }
}

impl StopSwitch {
    /// Asks the program to stop.
    pub fn request(&self) {
        let _ = self.requested.send(true);
    }
}
