//! The settings of links. Each side's operator chooses its own.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// How often a silent peer is asked for a sign of life, or three times in an idle timeout if that is more
/// often. Three, so that one or two lost packets do not end a link.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How many bytes a stream may have in flight. Larger windows help only on networks with a large bandwidth
/// and a long delay.
const WINDOW: u32 = 8 << 20;

/// The settings of one side's links. If the idle timeouts of the two sides differ, the shorter one holds for
/// both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportSettings {
    /// A link is lost if nothing has come from the peer for this long. From 1 ms to 49 days; by default 30 s.
    pub idle_timeout: Duration,
    /// How long a new link may take from its first packet until both sides have accepted each other. By
    /// default 10 s.
    pub handshake_timeout: Duration,
    /// How long a peer may take until its certificate is accepted. By default 3 s: a stranger holds a place
    /// no longer.
    pub certificate_timeout: Duration,
    /// How many peers from one source (an IPv4 address, or an IPv6 network of 64 bits) may shake hands at a
    /// time. By default 16.
    pub handshakes_per_source: usize,
    /// The most bytes of frames that this side sends in a second on each link; `None` is no limit.
    pub uplink_bytes_per_second: Option<NonZeroU64>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            certificate_timeout: Duration::from_secs(3),
            handshakes_per_source: 16,
            uplink_bytes_per_second: None,
        }
    }
}

impl TransportSettings {
    /// The QUIC parameters of a side that lets the peer open at most this many streams.
    pub(crate) fn transport(&self, streams: u32) -> Arc<TransportConfig> {
        // Zero milliseconds would mean no timeout at all.
        let milliseconds = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(milliseconds))))
            .keep_alive_interval(Some(KEEP_ALIVE.min(self.idle_timeout / 3)))
            .stream_receive_window(VarInt::from_u32(WINDOW))
            .receive_window(VarInt::from_u32(WINDOW))
            .send_window(u64::from(WINDOW))
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            // The protocol uses one stream. What else QUIC offers is closed: a peer could fill memory by it.
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None);
        Arc::new(transport)
    }
}
