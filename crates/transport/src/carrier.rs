//! The two protocols that carry links.

use std::fmt;

/// What carries a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// QUIC, over UDP.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

impl Carrier {
    /// Its name in events and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Quic => Self::Tcp,
            Self::Tcp => Self::Quic,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "QUIC",
            Self::Tcp => "TCP",
        })
    }
}
