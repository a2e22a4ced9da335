//! Flags of links, which `cloister server` and `cloister client` share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use cloister_transport::{Carriers, TransportSettings};

/// How links are made and kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkFlags {
    /// Treat a link as lost after this many seconds of silence.
    #[arg(long, default_value_t = 30)]
    idle_timeout_s: u64,
    /// What carries links: quic (over UDP), tcp (TLS over TCP), or auto. With auto, a coordinator listens on both, and a
    /// hospital tries QUIC first, and TCP where nothing answers within two seconds.
    #[arg(long, value_enum, default_value = "auto", env = "CLOISTER_CARRIER")]
    carrier: CarrierFlag,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum CarrierFlag {
    Auto,
    Quic,
    Tcp,
}

impl LinkFlags {
    /// The settings that they name, and defaults for the rest.
    pub(crate) fn settings(&self) -> TransportSettings {
        TransportSettings {
            idle_timeout: Duration::from_secs(self.idle_timeout_s),
            carriers: match self.carrier {
                CarrierFlag::Auto => Carriers::Auto,
                CarrierFlag::Quic => Carriers::Quic,
                CarrierFlag::Tcp => Carriers::Tcp,
            },
            ..TransportSettings::default()
        }
    }
}
