//! What an operator may set about links.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// A peer that has nothing to say is asked for a sign of life this often, or three times in an idle timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What a stream may hold in flight, in bytes. Larger windows help only on long fat networks.
const WINDOW: u32 = 8 << 20;

/// TransportSettings of a side. Of two idle timeouts, the shorter one counts for both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportSettings {
    /// A link is lost when nothing has come from the peer for this long. From 1 ms to 49 days.
    pub idle_timeout: Duration,
    /// How long a new link may take from its first packet until both sides have accepted each other.
    pub handshake_timeout: Duration,
    /// How long a peer may take until its certificate is accepted, before it has said which party it is.
    pub certificate_timeout: Duration,
    /// The peers of one source (an IPv4 address, or an IPv6 network of 64 bits) that may be on their way in at once.
    pub handshakes_of_one_source: usize,
    /// The most that this side sends on each link, in bytes of frames a second; `None` is no limit.
    pub uplink_bytes_per_second: Option<NonZeroU64>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            certificate_timeout: Duration::from_secs(3),
            handshakes_of_one_source: 16,
            uplink_bytes_per_second: None,
        }
    }
}

impl TransportSettings {
    /// The transport parameters of a side that accepts at most this many streams, opened by the peer.
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
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None);
        Arc::new(transport)
    }
}
