//! Probes: one answer of the coordinator over each way to it (`WIRE-09`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloister_identity::{Fingerprint, Identity};
use cloister_params::id::PartyId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{Candidate, Dialer};
use super::candidates;
use crate::address::HostPort;
use crate::connect_error::ConnectError;
use crate::greeting;
use crate::probe_answer::ProbeAnswer;
use crate::purpose::ConnectionPurpose;
use crate::route::Route;
use crate::settings::TransportSettings;

/// One way to the coordinator, and what came of it.
#[derive(Debug)]
pub struct ProbeAttempt {
    /// The way.
    pub route: Route,
    /// The coordinator's answer, or why there is none.
    pub outcome: Result<ProbeReport, ConnectError>,
}

/// An answer, with the times that it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeReport {
    /// From the first packet, a proxy's part included, to the end of the TLS handshake on this side.
    pub handshake: Duration,
    /// From the question to the answer.
    pub round_trip: Duration,
    /// This machine's clock when it asked.
    pub asked_at: SystemTime,
    /// The answer.
    pub answer: ProbeAnswer,
}

/// Probes the coordinator over each way that the settings admit: each address of its name, over each carrier. A link of
/// the same party stays as it is. The ways are in the order in which [`connect`](super::connect()) would try them.
///
/// Arguments are those of [`connect`](super::connect()).
///
/// # Errors
/// The coordinator's name or the proxy's has no address. What fails later is the outcome of one way.
pub async fn probe(
    target: impl Into<HostPort>,
    identity: &Identity,
    coordinator: Fingerprint,
    party: PartyId,
    settings: &TransportSettings,
) -> Result<Vec<ProbeAttempt>, ConnectError> {
    let target = target.into();
    let candidates = candidates(&target, settings).await?;
    let (identity, settings) = (identity.clone(), settings.clone());
    let purpose = ConnectionPurpose::Probe;
    let dialer = Arc::new(Dialer { target, identity, coordinator, purpose, settings });
    let mut running = JoinSet::new();
    for (place, candidate) in candidates.into_iter().enumerate() {
        let dialer = dialer.clone();
        running.spawn(async move { (place, dialer.probe(candidate, party).await) });
    }
    let mut attempts = running.join_all().await;
    attempts.sort_unstable_by_key(|(place, _)| *place);
    Ok(attempts.into_iter().map(|(_, attempt)| attempt).collect())
}

impl Dialer {
    async fn probe(self: Arc<Self>, candidate: Candidate, party: PartyId) -> ProbeAttempt {
        let route = candidate.route.clone();
        ProbeAttempt { route, outcome: self.ask(candidate, party).await }
    }

    async fn ask(self: Arc<Self>, candidate: Candidate, party: PartyId) -> Result<ProbeReport, ConnectError> {
        let started = Instant::now();
        let handshaken = self.shake_hands(candidate).await?;
        let handshake = started.elapsed();
        let (asked_at, asked) = (SystemTime::now(), Instant::now());
        let asking = handshaken.converse(|mut streams| async move {
            greeting::introduce(&mut streams, party).await?;
            Ok(ProbeAnswer::from_bytes(&greeting::read_array(&mut streams.receive).await?))
        });
        Ok(ProbeReport { answer: asking.await?, round_trip: asked.elapsed(), handshake, asked_at })
    }
}
