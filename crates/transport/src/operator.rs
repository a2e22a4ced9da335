//! Connections of operators' programs to a coordinator: TLS 1.3 in which the coordinator alone has a certificate
//! (`CTRL-01`). What is spoken in them is HTTP, which this crate does not know.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use cloister_identity::{Fingerprint, Identity};
use cloister_params::id::PartyId;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::address::HostPort;
use crate::carrier::Carrier;
use crate::doorway::{Doorway, PeerSource};
use crate::listener_error::BindError;
use crate::pinning::{self, Pinning};
use crate::roster::Roster;
use crate::socket;

/// How many connections there may be (`CTRL-04`).
const MOST_CONNECTIONS: usize = 64;
/// How many of them may come from one source.
const MOST_PER_SOURCE: usize = 16;
/// How long a peer may take for the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait after the system gave no connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// After this time without a packet the system asks whether the peer is still there. A program that watches says nothing for
/// hours, and one whose machine has gone must not keep its place.
const ALIVE_AFTER: Duration = Duration::from_secs(30);

/// Waits for operators' programs at an address.
#[derive(Debug)]
pub struct OperatorListener {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    doorway: Arc<Mutex<Doorway>>,
    handshakes: JoinSet<Option<OperatorStream>>,
}

impl OperatorListener {
    /// Listens at an address, with the coordinator's certificate. It must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(address: SocketAddr, identity: &Identity) -> Result<Self, BindError> {
        let listener =
            socket::listen(address).map_err(|source| BindError::new(Carrier::Tcp, address, source))?;
        let doorway = Arc::new(Mutex::new(Doorway::new(MOST_CONNECTIONS, MOST_PER_SOURCE)));
        let tls = Arc::new(pinning::operator_server(identity));
        Ok(Self { listener, tls, doorway, handshakes: JoinSet::new() })
    }

    /// The address at which it listens, with the port that was chosen.
    ///
    /// # Errors
    /// The system's error if the socket is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the next program to finish its handshake. Handshakes run concurrently, and a peer without a place, or whose
    /// handshake fails, is closed without a word. It is safe to cancel.
    pub async fn accept(&mut self) -> OperatorStream {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(stream)) = shaken {
                        return stream;
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.shake_hands(stream, address),
                    // Connections end and free descriptors, so the listener goes on.
                    Err(_) => sleep(ACCEPT_AGAIN).await,
                },
            }
        }
    }

    fn shake_hands(&mut self, stream: TcpStream, address: SocketAddr) {
        // CTRL-04: dropped without an answer, so that a flood costs no handshakes.
        let Some(place) = Place::take(&self.doorway, address) else { return };
        let tls = TlsAcceptor::from(self.tls.clone());
        self.handshakes.spawn(async move {
            prepare(&stream);
            let shaken = timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await.ok()?;
            Some(OperatorStream { stream: shaken.ok()?.into(), peer: address, _place: Some(place) })
        });
    }
}

/// A connection, at either end. A connection at the coordinator has a place among all of them until it is dropped.
#[derive(Debug)]
pub struct OperatorStream {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    _place: Option<Place>,
}

impl OperatorStream {
    /// The address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for OperatorStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for OperatorStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A place among the connections, which is given back when this is dropped.
#[derive(Debug)]
struct Place {
    doorway: Arc<Mutex<Doorway>>,
    source: PeerSource,
}

impl Place {
    fn take(doorway: &Arc<Mutex<Doorway>>, address: SocketAddr) -> Option<Self> {
        let source = PeerSource::new(address.ip());
        lock(doorway).enter(source).then(|| Self { doorway: doorway.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.doorway).leave(self.source);
    }
}

fn lock(doorway: &Mutex<Doorway>) -> MutexGuard<'_, Doorway> {
    doorway.lock().expect("nothing panics while it holds the lock")
}

/// Connects an operator's program to the coordinator that has this certificate. Nothing is sent to another one.
///
/// # Errors
/// A sentence that says what is wrong, and what to do.
pub async fn dial_coordinator(
    target: &HostPort,
    coordinator: Fingerprint,
    within: Duration,
) -> Result<OperatorStream, String> {
    let dialing = timeout(within, dial(target, coordinator));
    dialing.await.unwrap_or_else(|_| {
        let seconds = within.as_secs();
        Err(format!("{target} gave no answer within {seconds} s; {}", advice(target)))
    })
}

fn advice(target: &HostPort) -> String {
    format!(
        "check the address, that the coordinator has --control-https, and that no firewall blocks TCP port {}",
        target.port()
    )
}

async fn dial(target: &HostPort, coordinator: Fingerprint) -> Result<OperatorStream, String> {
    let connected = TcpStream::connect((target.host(), target.port())).await;
    let unreachable = |error: io::Error| format!("{target} cannot be reached: {error}; {}", advice(target));
    let stream = connected.map_err(unreachable)?;
    let peer = stream.peer_addr().map_err(unreachable)?;
    prepare(&stream);
    let roster = Roster::single(coordinator, PartyId::COORDINATOR);
    let Pinning { config, presented, .. } = pinning::operator_client(Arc::new(roster));
    // The certificate is pinned, so that the name proves nothing.
    let name = ServerName::try_from(target.host().to_owned())
        .unwrap_or_else(|_| ServerName::try_from("coordinator").expect("a valid name"));
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    match shaken {
        Ok(stream) => Ok(OperatorStream { stream: stream.into(), peer, _place: None }),
        Err(error) => Err(match presented.get() {
            Some(certificate) if certificate.fingerprint != coordinator => format!(
                "the server at {target} presented certificate {}, but the coordinator's is {coordinator}; nothing was sent \
                 to it. Check the address, and whether this network inspects TLS",
                certificate.fingerprint
            ),
            Some(certificate) if certificate.dates.is_some() => format!(
                "the coordinator's certificate is not within its dates; check this machine's clock, and run `cloister \
                 identity show` at the coordinator: {error}"
            ),
            _ => format!("the handshake with {target} failed: {error}; {}", advice(target)),
        }),
    }
}

/// Prepares a TCP connection for requests and for events that come at any time.
fn prepare(stream: &TcpStream) {
    // Without them a connection is slower to end, and works.
    let _ = stream.set_nodelay(true);
    let alive = TcpKeepalive::new().with_time(ALIVE_AFTER).with_interval(ALIVE_AFTER);
    let _ = SockRef::from(stream).set_tcp_keepalive(&alive);
}
