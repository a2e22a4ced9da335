//! Peers made of bare QUIC, and of bare TLS over TCP, which can break the rules that this crate's sides keep.

use std::net::SocketAddr;
use std::sync::Arc;

use cloister_transport::{Carrier, Identity};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

const PROTOCOL_NAME: &str = "cloister/1";

/// One identity's certificate with another one's key.
pub(crate) fn certificate_with_key_of(certificate: &Identity, key: &Identity) -> Arc<SingleCertAndKey> {
    let certificate = CertificateDer::from_pem_slice(certificate.certificate_pem().as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.key_pem().as_bytes()).expect("PEM");
    let key = ring::sign::any_supported_type(&key).expect("an Ed25519 key");
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)))
}

/// A client that believes any server, names these protocols, and presents the certificate that it is given, or none.
pub(crate) struct Client {
    carrier: Carrier,
    tls: Arc<rustls::ClientConfig>,
    endpoint: Endpoint,
}

pub(crate) fn client<'a>(
    carrier: Carrier,
    certificate: Option<Arc<SingleCertAndKey>>,
    protocol_names: impl IntoIterator<Item = &'a str>,
) -> Client {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut tls = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = protocol_names.into_iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let quic = QuicClientConfig::try_from(tls.clone()).expect("TLS 1.3");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
    Client { carrier, tls: Arc::new(tls), endpoint }
}

/// A client that honestly presents an identity.
pub(crate) fn honest_client(carrier: Carrier, identity: &Identity) -> Client {
    client(carrier, Some(certificate_with_key_of(identity, identity)), Some(PROTOCOL_NAME))
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Shakes hands in TLS, and says nothing more.
    pub(crate) async fn shake_hands(&self, address: SocketAddr) -> Result<Peer, AnyError> {
        if self.carrier == Carrier::Tcp {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("coordinator").expect("a name");
            let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
            return Ok(Peer::Tcp(Box::new(stream.into())));
        }
        let connection = self.endpoint.connect(address, "coordinator")?.await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Peer::Quic { connection, send, receive })
    }

    /// Connects and greets as this party, without awaiting the answer.
    pub(crate) async fn greet(&self, address: SocketAddr, party: u32) -> Result<Peer, AnyError> {
        let mut peer = self.shake_hands(address).await?;
        if let Peer::Tcp(_) = peer {
            // The opening: an idle timeout of a minute.
            peer.write_raw(&[0, 0, 4, 0, 0, 0xea, 0x60]).await?;
        }
        peer.write(&party.to_be_bytes()).await?;
        Ok(peer)
    }
}

/// The end of a connection whose TLS handshake is done.
pub(crate) enum Peer {
    Quic { connection: Connection, send: SendStream, receive: RecvStream },
    Tcp(Box<TlsStream<TcpStream>>),
}

impl Peer {
    /// Writes a few bytes of the stream of frames.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), AnyError> {
        match self {
            Self::Quic { send, .. } => Ok(send.write_all(bytes).await?),
            Self::Tcp(_) => {
                let length = u8::try_from(bytes.len()).expect("a few bytes");
                self.write_raw(&[&[1, 0, length], bytes].concat()).await
            }
        }
    }

    /// Writes bytes of records.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) -> Result<(), AnyError> {
        let Self::Tcp(stream) = self else { panic!("QUIC has no records") };
        stream.write_all(bytes).await?;
        Ok(stream.flush().await?)
    }

    /// Ends the stream of frames.
    pub(crate) async fn finish(&mut self) -> Result<(), AnyError> {
        match self {
            Self::Quic { send, .. } => Ok(send.finish()?),
            Self::Tcp(_) => self.write_raw(&[4, 0, 0]).await,
        }
    }

    /// Waits until the other side has closed the connection, and returns its words.
    pub(crate) async fn closed(&mut self) -> String {
        match self {
            Self::Quic { connection, .. } => connection.closed().await.to_string(),
            Self::Tcp(stream) => {
                let mut bytes = Vec::new();
                let end = stream.read_to_end(&mut bytes).await;
                last_words(&bytes).unwrap_or_else(|| format!("{end:?}"))
            }
        }
    }
}

/// The reason in the last record, if it is a `close`.
fn last_words(mut bytes: &[u8]) -> Option<String> {
    loop {
        let &[kind, high, low] = bytes.first_chunk()?;
        let (record, rest) = bytes[3..].split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        if kind == 7 {
            return Some(String::from_utf8_lossy(&record[4..]).into_owned());
        }
        bytes = rest;
    }
}

/// A server that asks no client for a certificate, and presents the one that it is given.
pub(crate) enum Server {
    Quic(Endpoint),
    Tcp(TcpListener, TlsAcceptor),
}

pub(crate) async fn server(carrier: Carrier, certificate: Arc<SingleCertAndKey>) -> Server {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    tls.alpn_protocols = vec![PROTOCOL_NAME.as_bytes().to_vec()];
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if carrier == Carrier::Tcp {
        let listener = TcpListener::bind(any).await.expect("a free port");
        return Server::Tcp(listener, TlsAcceptor::from(Arc::new(tls)));
    }
    let tls = QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    Server::Quic(Endpoint::server(config, any).expect("a free port"))
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(endpoint) => endpoint.local_addr(),
            Self::Tcp(listener, _) => listener.local_addr(),
        }
        .expect("bound")
    }

    /// Answers the greeting of the next client, as a coordinator does, and waits until the client has gone.
    pub(crate) async fn answer(&self) -> Option<()> {
        match self {
            Self::Quic(endpoint) => {
                let connection = endpoint.accept().await?.await.ok()?;
                let (mut send, mut receive) = connection.accept_bi().await.ok()?;
                let mut party = [0; 4];
                receive.read_exact(&mut party).await.ok()?;
                send.write_all(&party).await.ok()?;
                connection.closed().await;
            }
            Self::Tcp(listener, acceptor) => {
                let (stream, _) = listener.accept().await.ok()?;
                let mut stream = acceptor.accept(stream).await.ok()?;
                // The opening, and the party's number in a record of data.
                let mut greeting = [0; 14];
                stream.read_exact(&mut greeting).await.ok()?;
                stream.write_all(&greeting).await.ok()?;
                stream.flush().await.ok()?;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
        Some(())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Peers that take part in a handshake up to where their address is known to be theirs, and say nothing from
/// then on. They are there as long as this is held.
pub(crate) enum SilentStrangers {
    Quic { _client: Client, _connecting: Vec<quinn::Connecting>, _relay: Relay },
    Tcp { streams: Vec<TcpStream> },
}

/// A task that ends when this is dropped.
pub(crate) struct Relay(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many silent strangers at one address, which is not the one that parties of these tests come from.
pub(crate) async fn silent_strangers(
    carrier: Carrier,
    coordinator: SocketAddr,
    count: usize,
) -> SilentStrangers {
    if carrier == Carrier::Tcp {
        let mut streams = Vec::new();
        for _ in 0..count {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(([127, 0, 0, 2], 0).into()).expect("a free port");
            streams.push(socket.connect(coordinator).await.expect("a listener"));
        }
        return SilentStrangers::Tcp { streams };
    }
    let (outside, inside) = (socket([127, 0, 0, 2]).await, socket([127, 0, 0, 1]).await);
    let client = client(carrier, None, Some(PROTOCOL_NAME));
    let strangers = client.endpoint.local_addr().expect("bound");
    let way_in = inside.local_addr().expect("bound");
    let relay = tokio::spawn(async move {
        let (mut out, mut back) = (vec![0; 2048], vec![0; 2048]);
        loop {
            tokio::select! {
                Ok((length, _)) = inside.recv_from(&mut out) => {
                    let _ = outside.send_to(&out[..length], coordinator).await;
                }
                Ok((length, _)) = outside.recv_from(&mut back) => {
                    // Of what the coordinator sends, only a Retry packet is heard.
                    // Long header, fixed bit, and type 3 (RFC 9000, section 17.2.5).
                    if back[0] & 0xf0 == 0xf0 {
                        let _ = inside.send_to(&back[..length], strangers).await;
                    }
                }
            }
        }
    });
    let connect = |_| client.endpoint.connect(way_in, "coordinator").expect("an address");
    let connecting = (0..count).map(connect).collect();
    SilentStrangers::Quic { _client: client, _connecting: connecting, _relay: Relay(relay) }
}

async fn socket(address: [u8; 4]) -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::bind((std::net::IpAddr::from(address), 0)).await.expect("a free port")
}
