//! How the training thread comes to rest when the program ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long to wait for the end of a step of training, or of an evaluation.
const REST_WITHIN: Duration = Duration::from_secs(45);

/// Stops the thread between two steps. The end of the process takes libtorch down, and a thread that computes meanwhile
/// fails in ways that look like a crash.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    is_requested: AtomicBool,
    at_rest: Notify,
}

impl Halt {
    /// Asks the thread to rest, and waits until it does.
    pub(crate) async fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        // A step of a large model may take longer. The process ends all the same: nothing is lost by that.
        let _ = timeout(REST_WITHIN, self.at_rest.notified()).await;
    }

    /// Called by the thread between two steps. If it is to rest, this never returns.
    pub(crate) fn check(&self) {
        if self.is_requested.load(Ordering::Acquire) {
            self.rest();
            loop {
                std::thread::park();
            }
        }
    }

    /// Called by the thread when it ends or rests.
    pub(crate) fn rest(&self) {
        self.at_rest.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_computes_rests_between_two_steps() {
        let halt = Arc::new(Halt::default());
        let (thread, steps) = (halt.clone(), Arc::new(AtomicBool::new(false)));
        let in_step = steps.clone();
        std::thread::spawn(move || {
            loop {
                thread.check();
                in_step.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                in_step.store(false, Ordering::SeqCst);
            }
        });
        std::thread::sleep(Duration::from_millis(5));
        halt.request().await;
        assert!(!steps.load(Ordering::SeqCst), "no step is in progress");
        std::thread::sleep(Duration::from_millis(50));
        assert!(!steps.load(Ordering::SeqCst), "and none begins");
    }
}
