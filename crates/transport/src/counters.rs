//! Counts of the bytes on a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes a link has carried: frames and their lengths, without the overhead of QUIC, TLS or TCP. Clones share
/// one count.
#[derive(Clone, Default, Debug)]
pub struct LinkCounters {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl LinkCounters {
    /// Bytes handed over for sending.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
