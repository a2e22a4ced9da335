//! How a coordinator accepts one peer.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloister_identity::Identity;
use cloister_params::id::PartyId;
use quinn::{Incoming, ServerConfig};
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::connection::{Established, LinkStreams};
use crate::greeting::{self, GreetingFailure};
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::listener_error::AcceptError;
use crate::loss::Loss;
use crate::pinning::{self, Pinning, Presented, PresentedCertificate};
use crate::probe_answer::{ProbeAnswer, ProgramVersion};
use crate::purpose::ConnectionPurpose;
use crate::roster::Roster;
use crate::settings::TransportSettings;

/// How long a rejected peer may take to read the TLS alert with the reason, before its TCP connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// How many probes are answered at a time. Others are sent away with a reason.
const MOST_PROBES: usize = 16;

/// What came of a peer that was let in.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// A party has a link.
    Link(Box<Link>),
    /// A party has its answer, and its connection is closed.
    Probed,
}

/// What is needed to accept a peer.
#[derive(Debug)]
pub(crate) struct Reception {
    identity: Identity,
    roster: Arc<Roster>,
    settings: TransportSettings,
    quic: ServerConfig,
    probes: Semaphore,
}

impl Reception {
    pub(crate) fn new(identity: Identity, roster: Roster, settings: TransportSettings) -> Self {
        let roster = Arc::new(roster);
        // For the endpoint, which needs a configuration. Each handshake replaces it by one of its own.
        let tls = pinning::server_side(&identity, roster.clone()).config;
        let mut quic = ServerConfig::with_crypto(pinning::quic_server(tls));
        // One stream, which the party opens: a second one could only waste memory.
        quic.transport_config(settings.transport(1));
        Self { identity, roster, settings, quic, probes: Semaphore::new(MOST_PROBES) }
    }

    /// The same with another roster.
    pub(crate) fn with_roster(&self, roster: Roster) -> Self {
        Self::new(self.identity.clone(), roster, self.settings.clone())
    }

    /// How many peers of one source may shake hands at a time.
    pub(crate) fn handshakes_per_source(&self) -> usize {
        self.settings.handshakes_per_source
    }

    /// The configuration of the QUIC endpoint.
    pub(crate) fn quic(&self) -> ServerConfig {
        self.quic.clone()
    }

    /// Accepts a peer that comes over QUIC.
    pub(crate) async fn receive_quic(self: Arc<Self>, incoming: Incoming) -> Result<Admitted, AcceptError> {
        let (arrival, tls) = self.arrival(incoming.remote_address());
        let mut config = self.quic.clone();
        config.crypto = pinning::quic_server(tls);
        let establishing = async {
            let connecting = incoming.accept_with(Arc::new(config))?;
            let connection = connecting.await?;
            Ok((pinning::purpose_over_quic(&connection)?, Established::Quic(connection)))
        };
        // WIRE-05: a stranger holds a place for a short time only.
        let establishing = timeout(self.settings.certificate_timeout, establishing);
        self.admit(&arrival, async { establishing.await.unwrap_or(Err(Loss::Silent)) }).await
    }

    /// Accepts a peer that comes over TCP.
    pub(crate) async fn receive_tcp(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Admitted, AcceptError> {
        let (arrival, tls) = self.arrival(address);
        let establishing = async {
            // WIRE-05
            let deadline = Instant::now() + self.settings.certificate_timeout;
            let stream = shake_hands(stream, tls, deadline).await?;
            let purpose = pinning::purpose_over_tcp(stream.get_ref().1)?;
            Ok((purpose, Established::Tcp(LinkStreams::tcp(stream, address, &self.settings))))
        };
        self.admit(&arrival, establishing).await
    }

    /// Each handshake has a TLS configuration of its own, which notes the certificate that this peer presents.
    fn arrival(&self, address: SocketAddr) -> (Arrival<'_>, rustls::ServerConfig) {
        let Pinning { config, presented } = pinning::server_side(&self.identity, self.roster.clone());
        (Arrival { address, roster: &self.roster, presented }, config)
    }

    /// Waits for TLS and for the greeting, and does what the peer wants.
    async fn admit(
        &self,
        arrival: &Arrival<'_>,
        establishing: impl Future<Output = Result<(ConnectionPurpose, Established), Loss>>,
    ) -> Result<Admitted, AcceptError> {
        let admitting = async {
            let (purpose, established) = establishing.await.map_err(|loss| arrival.lost(&loss))?;
            let (streams, peer) = arrival.greet(established).await?;
            match purpose {
                ConnectionPurpose::Rounds => {
                    Ok(Admitted::Link(Box::new(Link::new(streams, peer, &self.settings))))
                }
                ConnectionPurpose::Probe => {
                    self.answer_probe(arrival, streams).await.map(|()| Admitted::Probed)
                }
            }
        };
        let admitted = timeout(self.settings.handshake_timeout, admitting).await;
        admitted.unwrap_or(Err(AcceptError::TooSlow { address: arrival.address }))
    }

    /// `WIRE-09`: one answer. It keeps its place in the doorway until the peer has it, and never becomes a link.
    async fn answer_probe(&self, arrival: &Arrival<'_>, mut streams: LinkStreams) -> Result<(), AcceptError> {
        let Ok(_place) = self.probes.try_acquire() else {
            streams.connection.close(REFUSED, "too many probes at this time; try again in ten seconds");
            return Ok(());
        };
        let answer = ProbeAnswer {
            time: SystemTime::now(),
            edition: self.roster.edition(),
            version: ProgramVersion::current(),
            seen_from: arrival.address,
        };
        let written = streams.send.write_all(&answer.to_bytes()).await;
        written.map_err(|fault| arrival.failed(fault.into()))?;
        streams.send.finish();
        // The peer may close as soon as it has the answer, which is no fault.
        let _ = streams.send.acknowledged().await;
        Ok(())
    }
}

/// TLS over TCP. A peer that is rejected gets the alert that says why.
async fn shake_hands(
    stream: TcpStream,
    config: rustls::ServerConfig,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, Loss> {
    let accepting = TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible();
    match timeout_at(deadline, accepting).await {
        Err(_) => Err(Loss::Silent),
        Ok(Err((error, stream))) => {
            let loss = Loss::from(error);
            if matches!(loss, Loss::AlertHere(..)) {
                let until = deadline.min(Instant::now() + LINGER);
                let _ = timeout_at(until, hang_up_softly(stream)).await;
            }
            Err(loss)
        }
        Ok(Ok(stream)) => Ok(stream.into()),
    }
}

/// Closes a TCP connection after the peer has. Otherwise what the peer still sends would be answered with a reset, and
/// that could overtake the alert.
async fn hang_up_softly(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A peer that is shaking hands.
struct Arrival<'a> {
    address: SocketAddr,
    roster: &'a Roster,
    presented: Presented,
}

impl Arrival<'_> {
    /// Waits for the peer's number, and answers it.
    async fn greet(&self, established: Established) -> Result<(LinkStreams, PartyId), AcceptError> {
        let mut streams = established.accept().await.map_err(|loss| self.lost(&loss))?;
        let claimed = greeting::read_party(&mut streams.receive).await;
        // The party learns the reason before the connection ends; a wrong number is its operator's mistake.
        let peer =
            self.check_claim(claimed.map_err(|failure| self.failed(failure))?).inspect_err(|error| {
                streams.connection.close(REFUSED, &error.to_string());
            })?;
        greeting::write_party(&mut streams.send, peer).await.map_err(|failure| self.failed(failure))?;
        Ok((streams, peer))
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
            GreetingFailure::Lost(loss) => self.lost(&loss),
            GreetingFailure::Broken(detail) => self.handshake(detail),
        }
    }

    fn lost(&self, loss: &Loss) -> AcceptError {
        let address = self.address;
        let presented =
            self.presented.get().map(|presented| (presented, self.roster.party(presented.fingerprint)));
        match (loss, presented) {
            (Loss::Silent, _) => AcceptError::TooSlow { address },
            (Loss::AlertHere(AlertDescription::CertificateRequired, _), None) => {
                AcceptError::NoCertificate { address }
            }
            // Any alert: a certificate that is not in the roster is the reason, whatever failed after it.
            (Loss::AlertHere(..), Some((&PresentedCertificate { fingerprint, .. }, None))) => {
                AcceptError::NotInConsortium { address, fingerprint }
            }
            (Loss::AlertHere(..), Some((&PresentedCertificate { dates: Some(why), .. }, Some(party)))) => {
                AcceptError::Dates { address, party, why }
            }
            (
                Loss::AlertHere(AlertDescription::DecryptError, _),
                Some((&PresentedCertificate { fingerprint, .. }, Some(party))),
            ) => AcceptError::KeyNotHeld { address, fingerprint, party },
            (loss, _) => self.handshake(&loss.to_string()),
        }
    }

    fn handshake(&self, detail: &str) -> AcceptError {
        AcceptError::Handshake { address: self.address, detail: printable(detail.as_bytes()) }
    }
}
