//! TLS in which only pinned certificates count.
//!
//! Construction: TLS 1.3 with certificates on both sides. A peer is the party that the roster names if its
//! certificate's fingerprint is pinned, the time is within the certificate's dates, and its handshake signature
//! verifies under that certificate's key (`WIRE-06`). Chains, names and revocation lists are deliberately not
//! checked: removing a certificate from the roster revokes it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use cloister_identity::{Fingerprint, Identity, Validity, ValidityError};
use cloister_params::rule;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CommonState, ConfigBuilder, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, SignatureScheme,
};

use crate::loss::Loss;
use crate::purpose::ConnectionPurpose;
use crate::roster::Roster;

/// The protocol name (ALPN) of operators' connections.
const OPERATOR_PROTOCOL: &[u8] = b"http/1.1";

/// The certificate that the peer presented in one handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedCertificate {
    pub(crate) fingerprint: Fingerprint,
    /// Why it is not valid now, if it is not.
    pub(crate) dates: Option<ValidityError>,
}

/// What was presented is noted for the error message if the handshake fails.
pub(crate) type Presented = Arc<OnceLock<PresentedCertificate>>;

/// What the peer of one handshake asks for, once its first message has come.
pub(crate) type AskedFor = Arc<OnceLock<ConnectionPurpose>>;

/// Accepts the certificates of a roster, in one handshake.
#[derive(Debug)]
struct PinnedVerifier {
    roster: Arc<Roster>,
    presented: Presented,
    /// At a party it stays empty: the coordinator's certificate is always pinned.
    asked_for: AskedFor,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    fn new(roster: Arc<Roster>) -> Self {
        let (presented, asked_for) = (Presented::default(), AskedFor::default());
        Self { roster, presented, asked_for, provider: Arc::new(ring::default_provider()) }
    }

    /// `WIRE-06`
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let validity = Validity::from_certificate(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        // Noted before it is judged, so that the error can name a certificate that is not pinned.
        let presented = self.presented.get_or_init(|| PresentedCertificate {
            fingerprint: Fingerprint::from_certificate(certificate),
            dates: validity.check(now).err(),
        });
        // WIRE-10: a party that enrols is in no roster yet. Its key is checked as anybody's.
        if self.asked_for.get() == Some(&ConnectionPurpose::Enrolment) {
            return Ok(());
        }
        // The pin first: dates of a stranger's certificate are of no interest.
        match (self.roster.party(presented.fingerprint), presented.dates) {
            (None, _) => Err(CertificateError::ApplicationVerificationFailure.into()),
            (Some(_), Some(_)) if rule::in_force("WIRE-06") => Err(CertificateError::Expired.into()),
            (Some(_), _) => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never reached: only TLS 1.3 is configured.
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for PinnedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // There are no authorities to name, and naming parties would tell strangers who takes part.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// Presents one certificate to everybody, and notes what the peer asks for. This comes before the peer's certificate.
#[derive(Debug)]
struct NotingResolver {
    certified: Arc<CertifiedKey>,
    asked_for: AskedFor,
}

impl ResolvesServerCert for NotingResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A peer that names another protocol in a second attempt keeps what it asked for first, and is rejected.
        if let Some(purpose) = hello.alpn().and_then(ConnectionPurpose::first_named) {
            self.asked_for.get_or_init(|| purpose);
        }
        Some(self.certified.clone())
    }
}

/// A TLS configuration of one link, and where the peer's certificate will be noted, and what it asks for.
pub(crate) struct Pinning<Config> {
    pub(crate) config: Config,
    pub(crate) presented: Presented,
    pub(crate) asked_for: AskedFor,
}

/// For a connection at the coordinator, which serves these purposes.
pub(crate) fn server_side(
    identity: &Identity,
    roster: Arc<Roster>,
    purposes: impl Iterator<Item = ConnectionPurpose>,
) -> Pinning<ServerConfig> {
    let verifier = PinnedVerifier::new(roster);
    let (presented, asked_for) = (verifier.presented.clone(), verifier.asked_for.clone());
    let resolver = NotingResolver { certified: identity.certified_key(), asked_for: asked_for.clone() };
    let mut config = ServerConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = purposes.map(|purpose| purpose.name().into()).collect();
    // A resumed session would skip the check of the certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Pinning { config, presented, asked_for }
}

/// For a connection of a party, which wants this.
pub(crate) fn client_side(
    identity: &Identity,
    roster: Arc<Roster>,
    purpose: ConnectionPurpose,
) -> Pinning<ClientConfig> {
    let verifier = PinnedVerifier::new(roster);
    let (presented, asked_for) = (verifier.presented.clone(), verifier.asked_for.clone());
    let mut config = verified_client(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = vec![purpose.name().into()];
    // As at the server: each link checks the certificate.
    config.resumption = Resumption::disabled();
    Pinning { config, presented, asked_for }
}

/// For connections of operators at the coordinator: its certificate, and none of theirs (`CTRL-01`).
pub(crate) fn operator_server(identity: &Identity) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = vec![OPERATOR_PROTOCOL.into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// For a connection of an operator to the coordinator of a roster (`CTRL-01`).
pub(crate) fn operator_client(roster: Arc<Roster>) -> Pinning<ClientConfig> {
    let verifier = PinnedVerifier::new(roster);
    let (presented, asked_for) = (verifier.presented.clone(), verifier.asked_for.clone());
    let mut config = verified_client(verifier).with_no_client_auth();
    config.alpn_protocols = vec![OPERATOR_PROTOCOL.into()];
    config.resumption = Resumption::disabled();
    Pinning { config, presented, asked_for }
}

/// A client that accepts what this verifier does.
fn verified_client(verifier: PinnedVerifier) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        // What is dangerous is a verifier that accepts too much. This one accepts one certificate.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

/// A server's configuration in QUIC.
pub(crate) fn quic_server(config: ServerConfig) -> Arc<QuicServerConfig> {
    Arc::new(QuicServerConfig::try_from(config).expect("the provider has QUIC's initial cipher suite"))
}

/// A client's configuration in QUIC.
pub(crate) fn quic_client(config: ClientConfig) -> Arc<QuicClientConfig> {
    Arc::new(QuicClientConfig::try_from(config).expect("the provider has QUIC's initial cipher suite"))
}

/// What a connection over TCP is for: TLS, unlike QUIC, goes on without any protocol name.
pub(crate) fn purpose_over_tcp(connection: &CommonState) -> Result<ConnectionPurpose, Loss> {
    purpose(connection.alpn_protocol())
}

/// What a connection over QUIC is for.
pub(crate) fn purpose_over_quic(connection: &quinn::Connection) -> Result<ConnectionPurpose, Loss> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    purpose(data.and_then(|data| data.protocol).as_deref())
}

fn purpose(name: Option<&[u8]>) -> Result<ConnectionPurpose, Loss> {
    name.and_then(ConnectionPurpose::named)
        .ok_or_else(|| Loss::OtherProtocol("the peer named no protocol".to_owned()))
}
