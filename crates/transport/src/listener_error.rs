//! Why a coordinator does not listen, and why it rejects a peer.

use std::io;
use std::net::SocketAddr;

use cloister_identity::{Fingerprint, ValidityError};
use cloister_params::id::PartyId;
use thiserror::Error;

use crate::carrier::Carrier;

/// Why the coordinator cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("{} port {} is already in use at {}: another coordinator or a web server may be running; stop it, choose \
             another port, or listen on {} alone (--carrier {})", port_kind(*carrier), address.port(), address.ip(),
             carrier.other(), carrier.other().name())]
    PortInUse {
        /// QUIC for a UDP port, or TCP.
        carrier: Carrier,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The port needs a permission.
    #[error(
        "no permission to listen at {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE (with systemd, \
         AmbientCapabilities=CAP_NET_BIND_SERVICE); give it, or choose a port from 1024 on"
    )]
    Permission {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address is not one of this machine.
    #[error("{address} is not an address of this machine; listen at 0.0.0.0:{} for all of its addresses", address.port())]
    NotHere {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The system refused the address.
    #[error("cannot listen at {address}: {source}")]
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a peer was rejected. Only [`AcceptError::Stopped`] concerns the listener itself.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AcceptError {
    /// The peer's certificate is not in the roster.
    #[error(
        "a peer at {address} presented certificate {fingerprint}, which is not in the consortium file; if \
         it belongs to a party, add it there"
    )]
    NotInConsortium {
        /// Where the peer came from.
        address: SocketAddr,
        /// The certificate that it presented.
        fingerprint: Fingerprint,
    },
    /// The peer has a copy of a party's certificate, but not its key.
    #[error(
        "a peer at {address} presented the certificate {fingerprint} of {party} without holding its \
         private key: it is an impostor"
    )]
    KeyNotHeld {
        /// Where the peer came from.
        address: SocketAddr,
        /// The certificate that it presented.
        fingerprint: Fingerprint,
        /// Whose certificate that is.
        party: PartyId,
    },
    /// The party's certificate is not valid at this time.
    #[error("{party} at {address} was rejected: {why}")]
    Dates {
        /// Where the peer came from.
        address: SocketAddr,
        /// Whose certificate it is.
        party: PartyId,
        /// What its dates are.
        why: ValidityError,
    },
    /// The peer presented no certificate.
    #[error("a peer at {address} presented no certificate: it is not a Cloister client")]
    NoCertificate {
        /// Where the peer came from.
        address: SocketAddr,
    },
    /// The peer is a party, but sent another party's number.
    #[error(
        "a peer at {address} says that it is {claimed}, but the consortium file gives its certificate \
         {fingerprint} to {listed}; correct its configuration"
    )]
    WrongParty {
        /// Where the peer came from.
        address: SocketAddr,
        /// The certificate that it presented.
        fingerprint: Fingerprint,
        /// The party to which the certificate belongs.
        listed: PartyId,
        /// The number that the peer sent.
        claimed: PartyId,
    },
    /// The peer did not finish the handshake in time.
    #[error("a peer at {address} did not finish its handshake in time")]
    TooSlow {
        /// Where the peer came from.
        address: SocketAddr,
    },
    /// The handshake failed in another way.
    #[error("the handshake with a peer at {address} failed: {detail}")]
    Handshake {
        /// Where the peer came from.
        address: SocketAddr,
        /// What failed, with control characters escaped.
        detail: String,
    },
    /// The listener's socket is gone, so that no further peer can connect.
    #[error("the listener has lost its socket; restart the coordinator")]
    Stopped,
}

impl AcceptError {
    /// Whether nothing shows that the peer is a party, or once was one: so does whatever knocks at a public port.
    pub fn is_strangers(&self) -> bool {
        matches!(self, Self::NoCertificate { .. } | Self::TooSlow { .. } | Self::Handshake { .. })
    }
}

fn port_kind(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Quic => "UDP",
        Carrier::Tcp => "TCP",
    }
}

impl BindError {
    /// Why the system gave no socket.
    pub(crate) fn new(carrier: Carrier, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { carrier, address },
            io::ErrorKind::PermissionDenied => Self::Permission { address },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address },
            _ => Self::Socket { address, source },
        }
    }
}
