//! Counting what a link has carried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that a link has carried, frame lengths included, QUIC's own overhead not. Clones count together.
#[derive(Clone, Default, Debug)]
pub struct LinkCounters {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl LinkCounters {
    /// Bytes handed to QUIC for sending.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes that have come.
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
