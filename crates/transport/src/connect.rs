//! A party's way to the coordinator.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_params::id::PartyId;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustls::AlertDescription;
use thiserror::Error;
use tokio::time::timeout;

use crate::fingerprint::Fingerprint;
use crate::greeting::{self, GreetingFailure, Streams};
use crate::identity::Identity;
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::pinning::{self, Presented, alert_raised_by_peer, alert_raised_here};
use crate::roster::Roster;
use crate::settings::TransportSettings;
use crate::socket;

/// TLS wants a name; the pinned certificate makes it irrelevant.
const SERVER_NAME: &str = "coordinator";

/// Why there is no link to the coordinator.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// This machine gave no socket, or the address cannot be one of a coordinator.
    #[error("cannot send to {address} from this machine: {detail}")]
    Socket {
        /// Where the coordinator should be.
        address: SocketAddr,
        /// What the system says.
        detail: String,
    },
    /// Nothing came back in time.
    #[error("no answer from {address}: check the address, that the coordinator runs, and that no firewall blocks its UDP port {}", address.port())]
    Unreachable {
        /// Where the coordinator should be.
        address: SocketAddr,
    },
    /// Something else answers at the address. It got nothing from this side.
    #[error(
        "the server at {address} presented certificate {presented}, but the coordinator's pinned one is {expected}; check the address, and ask the consortium before you change the pin"
    )]
    WrongCoordinator {
        /// Where the coordinator should be.
        address: SocketAddr,
        /// The pinned certificate.
        expected: Fingerprint,
        /// The one that came.
        presented: Fingerprint,
    },
    /// An impostor answers at the address with a copy of the coordinator's certificate.
    #[error(
        "the server at {address} presented the coordinator's certificate without holding its private key: it is an impostor; do not use this network until you know why"
    )]
    KeyNotHeld {
        /// Where the coordinator should be.
        address: SocketAddr,
    },
    /// The coordinator's name has no address.
    #[error("the host of {host} is not found: {detail}; check the name and this machine's name service")]
    Name {
        /// The host and port that were given.
        host: String,
        /// What the system says.
        detail: String,
    },
    /// The coordinator does not know this side's certificate.
    #[error(
        "the coordinator at {address} refused us: our certificate {ours} is not in the consortium file that it uses; ask for it to be added, or load the identity that was enrolled"
    )]
    NotInConsortium {
        /// Where the coordinator is.
        address: SocketAddr,
        /// This side's certificate.
        ours: Fingerprint,
    },
    /// The coordinator knows the certificate, and refused for the reason that it gives.
    #[error("the coordinator at {address} refused us: {reason}")]
    Refused {
        /// Where the coordinator is.
        address: SocketAddr,
        /// The coordinator's words, with control characters escaped.
        reason: String,
    },
    /// The server speaks QUIC but not this protocol.
    #[error(
        "the server at {address} does not speak cloister/1: it runs another version, or is another program"
    )]
    OtherProtocol {
        /// Where the coordinator should be.
        address: SocketAddr,
    },
    /// The handshake failed in another way.
    #[error("the handshake with {address} failed: {detail}")]
    Handshake {
        /// Where the coordinator should be.
        address: SocketAddr,
        /// What failed.
        detail: String,
    },
}

/// Connects to the coordinator and returns once each side has accepted the other.
///
/// `coordinator` is the coordinator's pinned certificate, `party` the number that the consortium file gives to
/// the identity. Must be called within a tokio runtime, which also drives the link.
///
/// # Errors
/// Whatever stood in the way, by whose fault it is: see [`ConnectError`].
pub async fn connect(
    address: SocketAddr,
    identity: &Identity,
    coordinator: Fingerprint,
    party: PartyId,
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    let endpoint = local_endpoint(address)
        .map_err(|error| ConnectError::Socket { address, detail: error.to_string() })?;
    let roster = Roster::of_one(coordinator, PartyId::COORDINATOR);
    let (tls, presented) = pinning::client_side(identity, Arc::new(roster));
    let mut config = ClientConfig::new(tls);
    config.transport_config(settings.transport(0));
    let attempt = Attempt { address, coordinator, ours: identity.fingerprint(), presented };
    let (connection, streams) = timeout(settings.handshake_timeout, attempt.run(endpoint, config, party))
        .await
        .unwrap_or(Err(ConnectError::Unreachable { address }))?;
    Ok(Link::new(connection, streams, PartyId::COORDINATOR, settings))
}

fn local_endpoint(address: SocketAddr) -> io::Result<Endpoint> {
    let socket = socket::bind(socket::any_address_towards(address))?;
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// One attempt to connect, with what its errors need.
struct Attempt {
    address: SocketAddr,
    coordinator: Fingerprint,
    ours: Fingerprint,
    presented: Presented,
}

impl Attempt {
    async fn run(
        &self,
        endpoint: Endpoint,
        config: ClientConfig,
        party: PartyId,
    ) -> Result<(Connection, Streams), ConnectError> {
        let address = self.address;
        let connecting = endpoint
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| ConnectError::Socket { address, detail: error.to_string() })?;
        let connection = connecting.await.map_err(|error| self.lost(error))?;
        let streams = greeting::introduce(&connection, party).await.map_err(|failure| match failure {
            GreetingFailure::Lost(error) => self.lost(error),
            GreetingFailure::Broken(detail) => ConnectError::Handshake { address, detail: detail.to_owned() },
        })?;
        Ok((connection, streams))
    }

    fn lost(&self, error: ConnectionError) -> ConnectError {
        let address = self.address;
        if let Some(fault) = self.coordinators_certificate_fault(&error) {
            return fault;
        }
        match alert_raised_by_peer(&error) {
            Some(AlertDescription::AccessDenied) => {
                return ConnectError::NotInConsortium { address, ours: self.ours };
            }
            Some(AlertDescription::NoApplicationProtocol) => return ConnectError::OtherProtocol { address },
            _ => {}
        }
        match error {
            ConnectionError::TimedOut => ConnectError::Unreachable { address },
            ConnectionError::VersionMismatch => ConnectError::OtherProtocol { address },
            ConnectionError::ApplicationClosed(close) if close.error_code == REFUSED.into() => {
                ConnectError::Refused { address, reason: printable(&close.reason) }
            }
            other => ConnectError::Handshake { address, detail: printable(other.to_string().as_bytes()) },
        }
    }

    /// What was wrong with the server's certificate, if this side ended the handshake over it.
    fn coordinators_certificate_fault(&self, error: &ConnectionError) -> Option<ConnectError> {
        let (address, expected) = (self.address, self.coordinator);
        let presented = *self.presented.get()?;
        match alert_raised_here(error)? {
            AlertDescription::AccessDenied => {
                Some(ConnectError::WrongCoordinator { address, expected, presented })
            }
            AlertDescription::DecryptError => Some(ConnectError::KeyNotHeld { address }),
            _ => None,
        }
    }
}
