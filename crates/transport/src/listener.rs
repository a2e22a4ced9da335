//! The coordinator's end, which accepts parties over QUIC, and over TLS and TCP at the same port number.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloister_identity::Identity;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::carrier::Carrier;
use crate::doorway::{Doorway, PeerSource};
use crate::enrolling::EnrolmentVisit;
use crate::link::Link;
use crate::listener_error::{AcceptError, BindError};
use crate::reception::{Admitted, Reception};
use crate::roster::Roster;
use crate::settings::TransportSettings;
use crate::socket;

/// How often another free port is tried, if the one that UDP got is taken for TCP.
const TRIES: usize = 16;

/// How many peers may shake hands at a time (`WIRE-05`). Others wait.
const MOST_HANDSHAKES: usize = 256;

/// How long to wait after the system gave no connection: usually all of its file descriptors are in use.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Waits for parties at an address. Links that it has returned stay open when it is dropped.
#[derive(Debug)]
pub struct Listener {
    quic: Option<Endpoint>,
    tcp: Option<TcpListener>,
    reception: Arc<Reception>,
    doorway: Doorway,
    handshakes: JoinSet<(PeerSource, Result<Admitted, AcceptError>)>,
}

impl Listener {
    /// Listens at an address, over the carriers of the settings. Port 0 chooses a free port, the same one for both. It
    /// must be called within a tokio runtime, which also drives the links.
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
        let mut bound = bind_both(address, settings, &reception);
        for _ in 1..TRIES {
            // Another program may have this port for TCP.
            let is_taken = matches!(bound, Err(BindError::PortInUse { .. }));
            if address.port() != 0 || !is_taken {
                break;
            }
            bound = bind_both(address, settings, &reception);
        }
        let (quic, tcp) = bound?;
        let doorway = Doorway::new(MOST_HANDSHAKES, settings.handshakes_per_source);
        Ok(Self { quic, tcp, reception: Arc::new(reception), doorway, handshakes: JoinSet::new() })
    }

    /// Accepts the parties of another roster from now on. Links stay open; end those of parties that have left.
    pub fn replace_roster(&mut self, roster: Roster) {
        self.reception = Arc::new(self.reception.with_roster(roster));
        // Handshakes that began with the old roster must not end with a link. Dropping the set ends them.
        self.handshakes = JoinSet::new();
        self.doorway = Doorway::new(MOST_HANDSHAKES, self.reception.handshakes_per_source());
        if let Some(endpoint) = &self.quic {
            endpoint.set_server_config(Some(self.reception.quic()));
        }
    }

    /// Lets parties that are in no roster hand in one request each (`WIRE-10`), and returns where the requests come.
    /// Without this, a listener does not speak the protocol of enrolment.
    pub fn serve_enrolments(&mut self) -> mpsc::Receiver<EnrolmentVisit> {
        let (visits, incoming) = mpsc::channel(1);
        self.reception = Arc::new(self.reception.with_enrolments(visits));
        incoming
    }

    /// Lets parties ask for models over links of their own (`WIRE-11`), and returns where these links come. Without
    /// this, a listener does not speak the protocol of models.
    pub fn serve_models(&mut self) -> mpsc::Receiver<Link> {
        let (links, incoming) = mpsc::channel(1);
        self.reception = Arc::new(self.reception.with_models(links));
        incoming
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
        match (&self.quic, &self.tcp) {
            (Some(endpoint), _) => endpoint.local_addr(),
            (None, Some(listener)) => listener.local_addr(),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
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
                    match outcome? {
                        Admitted::Link(link) => return Ok(*link),
                        Admitted::Answered => {}
                    }
                }
                incoming = accept_quic(self.quic.as_ref()), if room => {
                    self.shake_hands_quic(incoming.ok_or(AcceptError::Stopped)?);
                }
                (stream, address) = accept_tcp(self.tcp.as_ref()), if room => {
                    self.shake_hands_tcp(stream, address);
                }
            }
        }
    }

    fn shake_hands_quic(&mut self, incoming: Incoming) {
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
        let receiving = self.reception.clone().receive_quic(incoming);
        self.spawn(source, receiving);
    }

    fn shake_hands_tcp(&mut self, stream: TcpStream, address: SocketAddr) {
        // TCP's own handshake has shown that the address is not forged.
        let source = PeerSource::new(address.ip());
        // WIRE-05: the connection is closed without an answer, and an honest peer tries again.
        if self.doorway.enter(source) {
            let receiving = self.reception.clone().receive_tcp(stream, address);
            self.spawn(source, receiving);
        }
    }

    fn spawn(
        &mut self,
        source: PeerSource,
        receiving: impl Future<Output = Result<Admitted, AcceptError>> + Send + 'static,
    ) {
        self.handshakes.spawn(async move { (source, receiving.await) });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The socket lives on with the links. Without a configuration it accepts nobody else.
        if let Some(endpoint) = &self.quic {
            endpoint.set_server_config(None);
        }
    }
}

/// Checks that a coordinator could listen at an address over this carrier: listens for a moment, and accepts nobody. It
/// must be called within a tokio runtime.
///
/// # Errors
/// See [`BindError`].
pub fn check_port(carrier: Carrier, address: SocketAddr) -> Result<(), BindError> {
    let bound = match carrier {
        Carrier::Quic => socket::bind(address).map(drop),
        Carrier::Tcp => socket::listen(address).map(drop),
    };
    bound.map_err(|source| BindError::new(carrier, address, source))
}

type Sockets = (Option<Endpoint>, Option<TcpListener>);

fn bind_both(
    mut address: SocketAddr,
    settings: &TransportSettings,
    reception: &Reception,
) -> Result<Sockets, BindError> {
    let (mut quic, mut tcp) = (None, None);
    if settings.carriers.include(Carrier::Quic) {
        let endpoint =
            bind_quic(address, reception).map_err(|source| BindError::new(Carrier::Quic, address, source))?;
        if let Ok(bound) = endpoint.local_addr() {
            address.set_port(bound.port());
        }
        quic = Some(endpoint);
    }
    if settings.carriers.include(Carrier::Tcp) {
        let listener =
            socket::listen(address).map_err(|source| BindError::new(Carrier::Tcp, address, source))?;
        tcp = Some(listener);
    }
    Ok((quic, tcp))
}

fn bind_quic(address: SocketAddr, reception: &Reception) -> io::Result<Endpoint> {
    let socket = socket::bind(address)?;
    Endpoint::new(EndpointConfig::default(), Some(reception.quic()), socket, Arc::new(TokioRuntime))
}

/// The next peer over QUIC; `None` if the socket is gone. Without QUIC it waits for ever.
async fn accept_quic(endpoint: Option<&Endpoint>) -> Option<Incoming> {
    match endpoint {
        Some(endpoint) => endpoint.accept().await,
        None => std::future::pending().await,
    }
}

/// The next peer over TCP. Without TCP it waits for ever.
async fn accept_tcp(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                socket::prepare_stream(&stream);
                return (stream, address);
            }
            // Links end and free descriptors, so the listener goes on. Without the pause it would use a whole core.
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}
