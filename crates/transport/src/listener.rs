//! The coordinator's end, which accepts parties.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloister_identity::{Fingerprint, Identity, ValidityError};
use cloister_params::id::PartyId;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt,
};
use rustls::AlertDescription;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::doorway::{Doorway, PeerSource};
use crate::greeting::{self, GreetingFailure, Streams};
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::pinning::{self, Presented, PresentedCertificate, alert_raised_here};
use crate::roster::Roster;
use crate::settings::TransportSettings;
use crate::socket;

/// Why the coordinator cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("UDP port {} is already in use at {}: another coordinator may be running; stop it, or choose \
             another port", address.port(), address.ip())]
    PortInUse {
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

/// Waits for parties at an address. Links that it has returned stay open when it is dropped.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    reception: Arc<Reception>,
    doorway: Doorway,
    handshakes: JoinSet<(PeerSource, Result<Link, AcceptError>)>,
}

impl Listener {
    /// Listens at an address; port 0 chooses a free port. It must be called within a tokio runtime, which
    /// also drives the links.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        roster: Roster,
        settings: &TransportSettings,
    ) -> Result<Self, BindError> {
        let reception = Reception::new(identity.clone(), roster, settings.clone());
        let endpoint = socket::bind(address)
            .and_then(|socket| {
                let config = Some(reception.config.clone());
                Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime))
            })
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => BindError::PortInUse { address },
                io::ErrorKind::PermissionDenied => BindError::Permission { address },
                io::ErrorKind::AddrNotAvailable => BindError::NotHere { address },
                _ => BindError::Socket { address, source },
            })?;
        let doorway = Doorway::new(settings.handshakes_per_source);
        Ok(Self { endpoint, reception: Arc::new(reception), doorway, handshakes: JoinSet::new() })
    }

    /// How many peers are shaking hands.
    pub fn handshakes(&self) -> usize {
        self.doorway.count()
    }

    /// The address at which it listens, with the port that was chosen.
    ///
    /// # Errors
    /// The system's error if the socket is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Waits for the next peer to finish its handshake: a party's link, or why a peer was rejected. Call it
    /// again after either. Handshakes run concurrently, so that a slow peer delays nobody; they make progress
    /// only while this is awaited.
    ///
    /// It is safe to cancel.
    ///
    /// # Errors
    /// Why a peer was rejected. After [`AcceptError::Stopped`] no other peer can connect.
    pub async fn accept(&mut self) -> Result<Link, AcceptError> {
        loop {
            let room = self.doorway.has_room();
            tokio::select! {
                Some(outcome) = self.handshakes.join_next() => {
                    let (source, outcome) = outcome.expect("a handshake neither panics nor is cancelled");
                    self.doorway.leave(source);
                    return outcome;
                }
                incoming = self.endpoint.accept(), if room => {
                    self.shake_hands(incoming.ok_or(AcceptError::Stopped)?);
                }
            }
        }
    }

    fn shake_hands(&mut self, incoming: Incoming) {
        if !incoming.remote_address_validated() {
            // The peer must send a token back, which shows that its address is not forged. If the token
            // cannot be sent, the peer is ignored.
            let _ = incoming.retry();
            return;
        }
        // Counted only now: with a forged address one peer could use up another's places.
        let source = PeerSource::new(incoming.remote_address().ip());
        // WIRE-05
        if !self.doorway.enter(source) {
            // The packet is dropped without an answer, so that an honest peer tries again: after a second,
            // and then after twice as long each time. A rejection would end its attempt.
            incoming.ignore();
            return;
        }
        let receiving = self.reception.clone().receive(incoming);
        self.handshakes.spawn(async move { (source, receiving.await) });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The socket lives on with the links. Without a configuration it accepts nobody else.
        self.endpoint.set_server_config(None);
    }
}

/// What is needed to accept a peer.
#[derive(Debug)]
struct Reception {
    identity: Identity,
    roster: Arc<Roster>,
    settings: TransportSettings,
    config: ServerConfig,
}

impl Reception {
    fn new(identity: Identity, roster: Roster, settings: TransportSettings) -> Self {
        let roster = Arc::new(roster);
        // For the endpoint, which needs a configuration. Each handshake replaces it by one of its own.
        let (tls, _) = pinning::server_side(&identity, roster.clone());
        let mut config = ServerConfig::with_crypto(tls);
        // One stream, which the party opens: a second one could only waste memory.
        config.transport_config(settings.transport(1));
        Self { identity, roster, settings, config }
    }

    async fn receive(self: Arc<Self>, incoming: Incoming) -> Result<Link, AcceptError> {
        let address = incoming.remote_address();
        // Each handshake has a TLS configuration of its own, which notes the certificate that this peer
        // presents.
        let (tls, presented) = pinning::server_side(&self.identity, self.roster.clone());
        let mut config = self.config.clone();
        config.crypto = tls;
        let arrival = Arrival { address, roster: &self.roster, presented };
        let admitting = arrival.admit(incoming, config, self.settings.certificate_timeout);
        let (connection, streams, peer) = timeout(self.settings.handshake_timeout, admitting)
            .await
            .unwrap_or(Err(AcceptError::TooSlow { address }))?;
        Ok(Link::new(connection, streams, peer, &self.settings))
    }
}

/// A peer that is shaking hands.
struct Arrival<'a> {
    address: SocketAddr,
    roster: &'a Roster,
    presented: Presented,
}

impl Arrival<'_> {
    async fn admit(
        &self,
        incoming: Incoming,
        config: ServerConfig,
        certificate_timeout: Duration,
    ) -> Result<(Connection, Streams, PartyId), AcceptError> {
        let connecting = incoming.accept_with(Arc::new(config)).map_err(|error| self.lost(error))?;
        // WIRE-05: a stranger holds a place for a short time only.
        let connection = timeout(certificate_timeout, connecting)
            .await
            .map_err(|_| AcceptError::TooSlow { address: self.address })?
            .map_err(|error| self.lost(error))?;
        let (mut streams, claimed) =
            greeting::await_introduction(&connection).await.map_err(|failure| self.failed(failure))?;
        // The party learns the reason before the connection ends; a wrong number is its operator's mistake.
        let peer = self.check_claim(claimed).inspect_err(|error| {
            connection.close(VarInt::from_u32(REFUSED), error.to_string().as_bytes());
        })?;
        greeting::write_party(&mut streams.0, peer).await.map_err(|failure| self.failed(failure))?;
        Ok((connection, streams, peer))
    }

    /// The party to which the certificate belongs, if the peer sent the same number.
    fn check_claim(&self, claimed: PartyId) -> Result<PartyId, AcceptError> {
        let address = self.address;
        let presented = self.presented.get().ok_or(AcceptError::NoCertificate { address })?;
        let fingerprint = presented.fingerprint;
        match self.roster.party(fingerprint) {
            None => Err(AcceptError::NotInConsortium { address, fingerprint }),
            Some(listed) if listed == claimed => Ok(listed),
            Some(listed) => Err(AcceptError::WrongParty { address, fingerprint, listed, claimed }),
        }
    }

    fn failed(&self, failure: GreetingFailure) -> AcceptError {
        match failure {
            GreetingFailure::Lost(error) => self.lost(error),
            GreetingFailure::Broken(detail) => self.handshake(detail),
        }
    }

    fn lost(&self, error: ConnectionError) -> AcceptError {
        let address = self.address;
        let Some(&PresentedCertificate { fingerprint, dates }) = self.presented.get() else {
            return match alert_raised_here(&error) {
                Some(AlertDescription::CertificateRequired) => AcceptError::NoCertificate { address },
                _ if error == ConnectionError::TimedOut => AcceptError::TooSlow { address },
                _ => self.handshake(&error.to_string()),
            };
        };
        match (alert_raised_here(&error), self.roster.party(fingerprint), dates) {
            // Any alert: a certificate that is not in the roster is the reason, whatever failed after it.
            (Some(_), None, _) => AcceptError::NotInConsortium { address, fingerprint },
            (Some(_), Some(party), Some(why)) => AcceptError::Dates { address, party, why },
            (Some(AlertDescription::DecryptError), Some(party), None) => {
                AcceptError::KeyNotHeld { address, fingerprint, party }
            }
            _ if error == ConnectionError::TimedOut => AcceptError::TooSlow { address },
            _ => self.handshake(&error.to_string()),
        }
    }

    fn handshake(&self, detail: &str) -> AcceptError {
        AcceptError::Handshake { address: self.address, detail: printable(detail.as_bytes()) }
    }
}
