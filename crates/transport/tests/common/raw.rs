//! Peers made of bare QUIC, which can break the rules that this crate's own sides keep.

use std::net::SocketAddr;
use std::sync::Arc;

use cloister_transport::Identity;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

const PROTOCOL_NAME: &str = "cloister/1";

/// One identity's certificate with another one's key.
pub(crate) fn certificate_with_key_of(certificate: &Identity, key: &Identity) -> Arc<SingleCertAndKey> {
    let certificate = CertificateDer::from_pem_slice(certificate.certificate_pem().as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.key_pem().as_bytes()).expect("PEM");
    let key = ring::sign::any_supported_type(&key).expect("an Ed25519 key");
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)))
}

/// A client that believes any server, and presents what it is told to, or nothing.
pub(crate) fn client(certificate: Option<Arc<SingleCertAndKey>>, protocol_name: &str) -> Endpoint {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut tls = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![protocol_name.as_bytes().to_vec()];
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    endpoint
}

/// A client that honestly presents an identity.
pub(crate) fn honest_client(identity: &Identity) -> Endpoint {
    client(Some(certificate_with_key_of(identity, identity)), PROTOCOL_NAME)
}

/// A server that asks no client for a certificate, and presents what it is told to.
pub(crate) fn server(certificate: Arc<SingleCertAndKey>) -> Endpoint {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    tls.alpn_protocols = vec![PROTOCOL_NAME.as_bytes().to_vec()];
    let tls = QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port")
}

/// Connects and greets as this party, without awaiting the answer.
pub(crate) async fn greet(
    endpoint: &Endpoint,
    address: SocketAddr,
    party: u32,
) -> Result<(Connection, SendStream, RecvStream), Box<dyn std::error::Error + Send + Sync>> {
    let connection = endpoint.connect(address, "coordinator")?.await?;
    let (mut send, receive) = connection.open_bi().await?;
    send.write_all(&party.to_be_bytes()).await?;
    Ok((connection, send, receive))
}

/// Answers the greeting of the next client, as a coordinator does.
pub(crate) async fn answer(endpoint: &Endpoint) -> Option<Connection> {
    let connection = endpoint.accept().await?.await.ok()?;
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let mut party = [0; 4];
    receive.read_exact(&mut party).await.ok()?;
    send.write_all(&party).await.ok()?;
    connection.closed().await;
    Some(connection)
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
pub(crate) struct SilentStrangers {
    _endpoint: Endpoint,
    _connecting: Vec<quinn::Connecting>,
    relay: tokio::task::JoinHandle<()>,
}

impl Drop for SilentStrangers {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// So many silent strangers at one address, which is not the one that parties of these tests come from.
pub(crate) async fn silent_strangers(coordinator: SocketAddr, count: usize) -> SilentStrangers {
    let (outside, inside) = (socket([127, 0, 0, 2]).await, socket([127, 0, 0, 1]).await);
    let endpoint = client(None, PROTOCOL_NAME);
    let (way_in, strangers) = (inside.local_addr().expect("bound"), endpoint.local_addr().expect("bound"));
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
    let connecting =
        (0..count).map(|_| endpoint.connect(way_in, "coordinator").expect("an address")).collect();
    SilentStrangers { _endpoint: endpoint, _connecting: connecting, relay }
}

async fn socket(address: [u8; 4]) -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::bind((std::net::IpAddr::from(address), 0)).await.expect("a free port")
}
