//! The settings of links. Each side's operator chooses its own.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::carrier::Carrier;
use crate::proxy::Proxy;

/// How often a side that has nothing to send gives a sign of life. Firewalls forget UDP flows after 30 s, and some
/// proxies idle connections after 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How many bytes a stream may have in flight; over TCP, how many of a sender's bytes a program need not have read. Larger windows help only on networks with a large bandwidth
/// and a long delay.
pub(crate) const WINDOW: u32 = 8 << 20;

/// The same before a peer is known to be a party, and while it enrols: an enrolment request, and as much again.
pub(crate) const STRANGERS_WINDOW: u32 = 128 << 10;

/// Over what links go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Carriers {
    /// A coordinator listens over both. A party tries QUIC, and TCP if nothing answers over QUIC. With a proxy it uses
    /// TCP alone.
    #[default]
    Auto,
    /// QUIC alone.
    Quic,
    /// TLS over TCP alone.
    Tcp,
}

impl Carriers {
    /// Whether this carrier may be used.
    pub fn include(self, carrier: Carrier) -> bool {
        match self {
            Self::Auto => true,
            Self::Quic => carrier == Carrier::Quic,
            Self::Tcp => carrier == Carrier::Tcp,
        }
    }
}

/// The settings of one side's links. If the idle timeouts of the two sides differ, the shorter one holds for
/// both.
#[derive(Clone, Debug)]
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
    /// What links may use. By default QUIC and TCP.
    pub carriers: Carriers,
    /// The proxy through which a party's links over TCP go. By default there is none.
    pub proxy: Option<Proxy>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            certificate_timeout: Duration::from_secs(3),
            handshakes_per_source: 16,
            uplink_bytes_per_second: None,
            carriers: Carriers::Auto,
            proxy: None,
        }
    }
}

impl TransportSettings {
    /// The QUIC parameters of a side that lets the peer open at most this many streams, and send so many bytes before
    /// they are read.
    pub(crate) fn transport(&self, streams: u32, window: u32) -> Arc<TransportConfig> {
        let idle_timeout = VarInt::from_u32(milliseconds(self.idle_timeout));
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(IdleTimeout::from(idle_timeout)))
            .keep_alive_interval(Some(keep_alive_interval(self.idle_timeout)))
            .stream_receive_window(VarInt::from_u32(WINDOW))
            .receive_window(VarInt::from_u32(window))
            .send_window(u64::from(WINDOW))
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            // The protocol uses one stream. What else QUIC offers is closed: a peer could fill memory by it.
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None);
        Arc::new(transport)
    }
}

/// How often a silent side gives a sign of life (`WIRE-08`): three times in an idle timeout if that is more often than
/// otherwise. Three, so that one or two lost packets do not end a link.
pub(crate) fn keep_alive_interval(idle_timeout: Duration) -> Duration {
    KEEP_ALIVE.min(idle_timeout / 3)
}

/// An idle timeout as it is sent to the peer. Zero milliseconds would mean no timeout at all.
pub(crate) fn milliseconds(idle_timeout: Duration) -> u32 {
    u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WIRE-08
    #[test]
    fn signs_of_life_are_frequent_enough_for_firewalls_and_for_the_peer() {
        for milliseconds in [1, 900, 29_000, 30_000, 3_600_000] {
            let idle_timeout = Duration::from_millis(milliseconds);
            let interval = keep_alive_interval(idle_timeout);
            assert!(interval < Duration::from_secs(25) && interval * 3 <= idle_timeout, "{idle_timeout:?}");
        }
    }
}
