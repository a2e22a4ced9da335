//! How a party connects to the coordinator.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_identity::{Fingerprint, Identity, ValidityError};
use cloister_params::id::PartyId;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustls::AlertDescription;
use thiserror::Error;
use tokio::time::timeout;

use crate::greeting::{self, GreetingFailure, Streams};
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::pinning::{self, Presented, PresentedCertificate, alert_raised_by_peer, alert_raised_here};
use crate::roster::Roster;
use crate::settings::TransportSettings;
use crate::socket;

/// TLS needs a server name. The certificate is pinned, so that the name does not matter.
const SERVER_NAME: &str = "coordinator";

/// Why there is no link to the coordinator.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// This machine gave no socket, or nothing can be sent to the address.
    #[error("cannot send to {address} from this machine: {detail}")]
    Socket {
        /// Where the coordinator should be.
        address: SocketAddr,
        /// What the system says.
        detail: String,
    },
    /// Nothing came back in time.
    #[error("no answer from {address}: check the address, that the coordinator runs, and that no firewall \
             blocks its UDP port {}", address.port())]
    Unreachable {
        /// Where the coordinator should be.
        address: SocketAddr,
    },
    /// Another server answers at the address. It received nothing from this side.
    #[error(
        "the server at {address} presented certificate {presented}, but the coordinator's pinned one is \
         {expected}; check the address, and ask the consortium before you change the pin"
    )]
    WrongCoordinator {
        /// Where the coordinator should be.
        address: SocketAddr,
        /// The pinned certificate.
        expected: Fingerprint,
        /// The certificate that the server presented.
        presented: Fingerprint,
    },
    /// A server answers with a copy of the coordinator's certificate, but without its private key.
    #[error(
        "the server at {address} presented the coordinator's certificate without holding its private key: \
         it is an impostor; do not use this network until you know why"
    )]
    KeyNotHeld {
        /// Where the coordinator should be.
        address: SocketAddr,
    },
    /// The coordinator's certificate is not valid at this time.
    #[error("the coordinator at {address} cannot be used: {why}")]
    Dates {
        /// Where the coordinator is.
        address: SocketAddr,
        /// What its certificate's dates are.
        why: ValidityError,
    },
    /// The coordinator says that this side's certificate is not valid at this time.
    #[error(
        "the coordinator at {address} rejected this party, because by its clock the certificate {ours} is not within its \
         dates; run `cloister identity show`, check both clocks, and have the consortium list a new identity"
    )]
    RejectedDates {
        /// Where the coordinator is.
        address: SocketAddr,
        /// This side's certificate.
        ours: Fingerprint,
    },
    /// The coordinator's name has no address.
    #[error("the host of {host} is not found: {detail}; check the name and this machine's name resolution")]
    Name {
        /// The host and port that were given.
        host: String,
        /// What the system says.
        detail: String,
    },
    /// The coordinator does not know this side's certificate.
    #[error(
        "the coordinator at {address} rejected this party: its certificate {ours} is not in the \
         coordinator's consortium file; ask the consortium to add it, or load the identity that was \
         enrolled"
    )]
    NotInConsortium {
        /// Where the coordinator is.
        address: SocketAddr,
        /// This side's certificate.
        ours: Fingerprint,
    },
    /// The coordinator knows the certificate, and rejected the link for the reason that it gives.
    #[error("the coordinator at {address} rejected this party: {reason}")]
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

/// Connects to the coordinator, and returns after each side has accepted the other.
///
/// `coordinator` is the coordinator's pinned certificate. `party` is this party's number in the consortium
/// file. It must be called within a tokio runtime, which also drives the link.
///
/// # Errors
/// See [`ConnectError`], which says whose fault it is.
pub async fn connect(
    address: SocketAddr,
    identity: &Identity,
    coordinator: Fingerprint,
    party: PartyId,
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    let endpoint = local_endpoint(address)
        .map_err(|error| ConnectError::Socket { address, detail: error.to_string() })?;
    let roster = Roster::single(coordinator, PartyId::COORDINATOR);
    let (tls, presented) = pinning::client_side(identity, Arc::new(roster));
    let mut config = ClientConfig::new(tls);
    // A coordinator opens no streams to a party.
    config.transport_config(settings.transport(0));
    let attempt = Attempt { address, coordinator, ours: identity.fingerprint(), presented };
    // One limit for TLS and greeting: a server that answers packets only must not hold this party.
    let (connection, streams) = timeout(settings.handshake_timeout, attempt.run(endpoint, config, party))
        .await
        .unwrap_or(Err(ConnectError::Unreachable { address }))?;
    Ok(Link::new(connection, streams, PartyId::COORDINATOR, settings))
}

fn local_endpoint(address: SocketAddr) -> io::Result<Endpoint> {
    let socket = socket::bind(socket::any_address_towards(address))?;
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// One attempt to connect, with what its error messages need.
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
        // The endpoint may be dropped when this returns: its driver runs until its connections have ended.
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
            Some(AlertDescription::CertificateExpired) => {
                return ConnectError::RejectedDates { address, ours: self.ours };
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
        let &PresentedCertificate { fingerprint: presented, dates } = self.presented.get()?;
        // Only for alerts of this side: what a server says about its own certificate is no evidence.
        match alert_raised_here(error)? {
            AlertDescription::AccessDenied => {
                Some(ConnectError::WrongCoordinator { address, expected, presented })
            }
            AlertDescription::CertificateExpired => dates.map(|why| ConnectError::Dates { address, why }),
            AlertDescription::DecryptError => Some(ConnectError::KeyNotHeld { address }),
            _ => None,
        }
    }
}
