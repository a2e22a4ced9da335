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
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::connection::{Established, LinkStreams};
use crate::enrolling::{EnrolmentVisit, Enrolments};
use crate::greeting::{self, GreetingFailure};
use crate::link::Link;
use crate::link_error::{REFUSED, printable};
use crate::listener_error::AcceptError;
use crate::loss::Loss;
use crate::pinning::{self, AskedFor, Pinning, Presented, PresentedCertificate};
use crate::probe_answer::{ProbeAnswer, ProgramVersion};
use crate::purpose::ConnectionPurpose;
use crate::roster::Roster;
use crate::settings::{STRANGERS_WINDOW, TransportSettings};

/// How long a rejected peer may take to read the TLS alert with the reason, before its TCP connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// How many probes are answered at a time. Others are sent away with a reason.
const MOST_PROBES: usize = 16;

/// What came of a peer that was let in.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// A party has a link.
    Link(Box<Link>),
    /// A peer has its answer, and its connection is closed.
    Answered,
}

/// What is needed to accept a peer.
#[derive(Debug)]
pub(crate) struct Reception {
    identity: Identity,
    roster: Arc<Roster>,
    settings: TransportSettings,
    quic: ServerConfig,
    probes: Semaphore,
    services: Services,
}

/// What a coordinator does for peers beside rounds and probes.
#[derive(Clone, Default, Debug)]
struct Services {
    /// Where enrolment requests go, if this coordinator takes any.
    enrolments: Option<Enrolments>,
    /// Where the links of members go that ask for models, if this coordinator has any.
    models: Option<mpsc::Sender<Link>>,
}

impl Services {
    fn include(&self, purpose: ConnectionPurpose) -> bool {
        match purpose {
            ConnectionPurpose::Rounds | ConnectionPurpose::Probe => true,
            ConnectionPurpose::Model => self.models.is_some(),
            ConnectionPurpose::Enrolment => self.enrolments.is_some(),
        }
    }
}

impl Reception {
    pub(crate) fn new(identity: Identity, roster: Roster, settings: TransportSettings) -> Self {
        let roster = Arc::new(roster);
        // For the endpoint, which needs a configuration. Each handshake replaces it by one of its own.
        let tls = pinning::server_side(&identity, roster.clone(), ConnectionPurpose::ALL.into_iter()).config;
        let mut quic = ServerConfig::with_crypto(pinning::quic_server(tls));
        // One stream, which the party opens: a second one could only waste memory.
        quic.transport_config(settings.transport(1, STRANGERS_WINDOW));
        let probes = Semaphore::new(MOST_PROBES);
        Self { identity, roster, settings, quic, probes, services: Services::default() }
    }

    /// The same with another roster.
    pub(crate) fn with_roster(&self, roster: Roster) -> Self {
        let services = self.services.clone();
        Self { services, ..Self::new(self.identity.clone(), roster, self.settings.clone()) }
    }

    /// The same, with enrolment requests going there.
    pub(crate) fn with_enrolments(&self, visits: mpsc::Sender<EnrolmentVisit>) -> Self {
        let enrolments = Some(Enrolments::new(visits));
        self.with_services(Services { enrolments, ..self.services.clone() })
    }

    /// The same, with the links of members that ask for models going there.
    pub(crate) fn with_models(&self, links: mpsc::Sender<Link>) -> Self {
        self.with_services(Services { models: Some(links), ..self.services.clone() })
    }

    fn with_services(&self, services: Services) -> Self {
        let roster = Roster::clone(&self.roster);
        Self { services, ..Self::new(self.identity.clone(), roster, self.settings.clone()) }
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
            Ok((purpose, Established::Tcp(LinkStreams::tcp(stream, address, purpose, &self.settings))))
        };
        self.admit(&arrival, establishing).await
    }

    /// Each handshake has a TLS configuration of its own, which notes the certificate that this peer presents.
    fn arrival(&self, address: SocketAddr) -> (Arrival<'_>, rustls::ServerConfig) {
        let purposes = ConnectionPurpose::ALL.into_iter().filter(|purpose| self.services.include(*purpose));
        let Pinning { config, presented, asked_for } =
            pinning::server_side(&self.identity, self.roster.clone(), purposes);
        (Arrival { address, roster: &self.roster, presented, asked_for }, config)
    }

    /// Waits for TLS and for the greeting, and does what the peer wants.
    async fn admit(
        &self,
        arrival: &Arrival<'_>,
        establishing: impl Future<Output = Result<(ConnectionPurpose, Established), Loss>>,
    ) -> Result<Admitted, AcceptError> {
        let admitting = async {
            let (purpose, established) = establishing.await.map_err(|loss| arrival.lost(&loss))?;
            // WIRE-10: what the certificate was accepted for is what the peer gets.
            if arrival.asked_for.get() != Some(&purpose) {
                return Err(arrival.handshake("the peer named another protocol than before"));
            }
            match purpose {
                ConnectionPurpose::Rounds => {
                    let link = self.open_link(arrival, established).await?;
                    Ok(Admitted::Link(Box::new(link)))
                }
                ConnectionPurpose::Model => {
                    let link = self.open_link(arrival, established).await?;
                    self.serve_models(arrival, link).await.map(|()| Admitted::Answered)
                }
                ConnectionPurpose::Probe => {
                    let (streams, _) = arrival.greet(established).await?;
                    self.answer_probe(arrival, streams).await.map(|()| Admitted::Answered)
                }
                ConnectionPurpose::Enrolment => {
                    self.serve_enrolment(arrival, established).await.map(|()| Admitted::Answered)
                }
            }
        };
        let admitted = timeout(self.settings.handshake_timeout, admitting).await;
        admitted.unwrap_or(Err(AcceptError::TooSlow { address: arrival.address }))
    }

    async fn open_link(&self, arrival: &Arrival<'_>, established: Established) -> Result<Link, AcceptError> {
        let (streams, peer) = arrival.greet(established).await?;
        streams.connection.widen();
        Ok(Link::new(streams, peer, &self.settings))
    }

    /// `WIRE-11`: whoever serves rounds does not see this link.
    async fn serve_models(&self, arrival: &Arrival<'_>, link: Link) -> Result<(), AcceptError> {
        let refused = || arrival.handshake("the peer asks for models, and this coordinator serves none");
        let models = self.services.models.as_ref().ok_or_else(refused)?;
        // It waits while the coordinator takes another one, and no longer than the handshake may take.
        models.send(link).await.map_err(|_| refused())
    }

    /// `WIRE-10`: one request and one answer, without a greeting and without a link.
    async fn serve_enrolment(
        &self,
        arrival: &Arrival<'_>,
        established: Established,
    ) -> Result<(), AcceptError> {
        let address = arrival.address;
        let presented = arrival.presented.get().ok_or(AcceptError::NoCertificate { address })?;
        let Some(enrolments) = &self.services.enrolments else {
            return Err(arrival.handshake("the peer enrols, and this coordinator takes no enrolments"));
        };
        let serving = enrolments.serve(established, address, presented.fingerprint);
        serving.await.map_err(|failure| arrival.failed(failure))
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
    asked_for: AskedFor,
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
            // Its certificate need not be in the roster.
            (loss, Some(_)) if self.asked_for.get() == Some(&ConnectionPurpose::Enrolment) => {
                self.handshake(&loss.to_string())
            }
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
