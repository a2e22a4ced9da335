//! One attempt to connect.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_identity::{Fingerprint, Identity};
use cloister_params::id::PartyId;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::address::HostPort;
use crate::carrier::Carrier;
use crate::connect_error::ConnectError;
use crate::connection::{Established, LinkStreams};
use crate::greeting::{self, GreetingFailure};
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::loss::Loss;
use crate::pinning::{self, Pinning, Presented, PresentedCertificate};
use crate::proxy;
use crate::purpose::ConnectionPurpose;
use crate::roster::Roster;
use crate::route::Route;
use crate::settings::TransportSettings;
use crate::socket;

/// The server name in the handshake if the coordinator's host has no valid one.
const NO_NAME: &str = "coordinator";

/// A way to try, and the coordinator's or the proxy's address.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) route: Route,
    pub(super) address: SocketAddr,
}

/// What all attempts need.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) target: HostPort,
    pub(super) identity: Identity,
    pub(super) coordinator: Fingerprint,
    pub(super) purpose: ConnectionPurpose,
    pub(super) settings: TransportSettings,
}

/// An attempt whose TLS handshake is done, and the end of its time.
pub(super) struct Handshaken {
    attempt: Attempt,
    established: Established,
    deadline: Instant,
}

impl Handshaken {
    /// Opens the streams and talks to the coordinator, as long as there is time.
    pub(super) async fn converse<T, Talk>(
        self,
        talk: impl FnOnce(LinkStreams) -> Talk,
    ) -> Result<T, ConnectError>
    where
        Talk: Future<Output = Result<T, GreetingFailure>>,
    {
        let Self { attempt, established, deadline } = self;
        let talking = async { talk(established.open().await?).await };
        // A server that answers packets only must not hold this party.
        match timeout_at(deadline, talking).await {
            Err(_) => Err(attempt.silent()),
            Ok(Ok(result)) => Ok(result),
            Ok(Err(GreetingFailure::Lost(loss))) => Err(attempt.lost(&loss)),
            Ok(Err(GreetingFailure::Broken(detail))) => {
                Err(ConnectError::Handshake { route: attempt.route, detail: detail.to_owned() })
            }
        }
    }
}

impl Dialer {
    /// Connects and shakes hands in TLS.
    pub(super) async fn shake_hands(
        self: Arc<Self>,
        candidate: Candidate,
    ) -> Result<Handshaken, ConnectError> {
        let deadline = Instant::now() + self.settings.handshake_timeout;
        let roster = Roster::single(self.coordinator, PartyId::COORDINATOR);
        let Pinning { config, presented, .. } =
            pinning::client_side(&self.identity, Arc::new(roster), self.purpose);
        let (coordinator, ours) = (self.coordinator, self.identity.fingerprint());
        let attempt = Attempt { route: candidate.route, coordinator, ours, purpose: self.purpose, presented };
        let establishing = async {
            match attempt.route.carrier {
                Carrier::Quic => self.establish_quic(&attempt, candidate.address, config).await,
                Carrier::Tcp => self.establish_tcp(&attempt, candidate.address, config, deadline).await,
            }
        };
        let established =
            timeout_at(deadline, establishing).await.unwrap_or_else(|_| Err(attempt.silent()))?;
        Ok(Handshaken { attempt, established, deadline })
    }

    /// Greets the coordinator, which accepts or rejects this party.
    pub(super) async fn greet(&self, handshaken: Handshaken, party: PartyId) -> Result<Link, ConnectError> {
        let streams = handshaken.converse(|mut streams| async {
            greeting::introduce(&mut streams, party).await?;
            Ok(streams)
        });
        Ok(Link::new(streams.await?, PartyId::COORDINATOR, &self.settings))
    }

    async fn establish_quic(
        &self,
        attempt: &Attempt,
        address: SocketAddr,
        config: rustls::ClientConfig,
    ) -> Result<Established, ConnectError> {
        let endpoint = local_endpoint(address).map_err(|error| attempt.no_socket(error.to_string()))?;
        let mut config = ClientConfig::new(pinning::quic_client(config));
        // A coordinator opens no streams to a party.
        config.transport_config(self.settings.transport(0, self.purpose.window()));
        let name = self.server_name();
        // The endpoint may be dropped when this returns: its driver runs until its connections have ended.
        let connecting = endpoint
            .connect_with(config, address, &name.to_str())
            .map_err(|error| attempt.no_socket(error.to_string()))?;
        let connection = connecting.await.map_err(|error| attempt.lost(&error.into()))?;
        Ok(Established::Quic(connection))
    }

    async fn establish_tcp(
        &self,
        attempt: &Attempt,
        address: SocketAddr,
        config: rustls::ClientConfig,
        deadline: Instant,
    ) -> Result<Established, ConnectError> {
        let connecting = timeout_at(deadline, TcpStream::connect(address));
        let connected = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut stream = connected.map_err(|error| attempt.not_connected(&error))?;
        socket::prepare_stream(&stream);
        if let Some(proxy) = self.settings.proxy.as_ref().filter(|_| attempt.route.proxy.is_some()) {
            proxy::open_tunnel(&mut stream, proxy, &self.target, deadline).await?;
        }
        let connecting = TlsConnector::from(Arc::new(config)).connect(self.server_name(), stream);
        let stream = connecting.await.map_err(|error| attempt.lost(&error.into()))?;
        // Without a name in its answer, the server speaks another protocol over TLS.
        pinning::purpose_over_tcp(stream.get_ref().1).map_err(|loss| attempt.lost(&loss))?;
        Ok(Established::Tcp(LinkStreams::tcp(stream.into(), address, self.purpose, &self.settings)))
    }

    /// The name that TLS sends. The certificate is pinned, so that it proves nothing. It is the coordinator's, because
    /// some firewalls let only names through that they know. An address is not sent.
    fn server_name(&self) -> ServerName<'static> {
        let name = ServerName::try_from(self.target.host().to_owned());
        name.unwrap_or_else(|_| NO_NAME.try_into().expect("a valid name"))
    }
}

fn local_endpoint(address: SocketAddr) -> io::Result<Endpoint> {
    let socket = socket::bind(socket::any_address_towards(address))?;
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// One attempt to connect, with what its error messages need.
struct Attempt {
    route: Route,
    coordinator: Fingerprint,
    ours: Fingerprint,
    purpose: ConnectionPurpose,
    presented: Presented,
}

impl Attempt {
    fn no_socket(&self, detail: String) -> ConnectError {
        ConnectError::Socket { route: self.route.clone(), detail }
    }

    fn silent(&self) -> ConnectError {
        self.unreachable("no answer")
    }

    fn unreachable(&self, detail: &str) -> ConnectError {
        let Route { target, .. } = &self.route;
        ConnectError::Unreachable { target: target.clone(), tried: format!("{}: {detail}", self.route) }
    }

    /// Why there is no TCP connection.
    fn not_connected(&self, error: &io::Error) -> ConnectError {
        let is_silence = error.kind() == io::ErrorKind::TimedOut;
        let detail = if is_silence { "no answer".to_owned() } else { error.to_string() };
        if let Some(proxy) = self.route.proxy.clone() {
            return ConnectError::ProxyUnreachable { proxy, detail };
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                self.unreachable(&detail)
            }
            _ => self.no_socket(detail),
        }
    }

    fn lost(&self, loss: &Loss) -> ConnectError {
        let route = self.route.clone();
        match loss {
            Loss::Silent => self.silent(),
            Loss::Cut => ConnectError::CutOff { route },
            Loss::AlertHere(alert, detail) => self
                .coordinators_certificate_fault(*alert)
                .unwrap_or_else(|| ConnectError::Handshake { route, detail: printable(detail.as_bytes()) }),
            Loss::AlertByPeer(AlertDescription::AccessDenied, _) => {
                ConnectError::NotInConsortium { route, ours: self.ours }
            }
            Loss::AlertByPeer(AlertDescription::CertificateExpired, _) => {
                ConnectError::RejectedDates { route, ours: self.ours }
            }
            Loss::AlertByPeer(
                AlertDescription::NoApplicationProtocol | AlertDescription::ProtocolVersion,
                _,
            )
            | Loss::OtherProtocol(_) => ConnectError::OtherProtocol { route, protocol: self.purpose.name() },
            Loss::ClosedByPeer { code, reason } if *code == REFUSED.into() => {
                ConnectError::Refused { route, reason: printable(reason) }
            }
            other => ConnectError::Handshake { route, detail: printable(other.to_string().as_bytes()) },
        }
    }

    /// What was wrong with the server's certificate, if this side ended the handshake over it with this alert. What a
    /// server says about its own certificate is no evidence, so alerts of the server do not count.
    fn coordinators_certificate_fault(&self, alert: AlertDescription) -> Option<ConnectError> {
        let (route, expected) = (self.route.clone(), self.coordinator);
        let &PresentedCertificate { fingerprint: presented, dates } = self.presented.get()?;
        match alert {
            AlertDescription::AccessDenied => {
                Some(ConnectError::WrongCoordinator { route, expected, presented })
            }
            AlertDescription::CertificateExpired => dates.map(|why| ConnectError::Dates { route, why }),
            AlertDescription::DecryptError => Some(ConnectError::KeyNotHeld { route }),
            _ => None,
        }
    }
}
