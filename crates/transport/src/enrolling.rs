//! Enrolment at a coordinator: one request and one answer, of a peer that is in no roster (`WIRE-10`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use cloister_identity::Fingerprint;
use cloister_identity::online::MAX_REQUEST_BYTES;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::connection::{Established, LinkStreams};
use crate::doorway::{Doorway, PeerSource};
use crate::exchange;
use crate::greeting::GreetingFailure;
use crate::link_error::REFUSED;

/// How many enrolments may be open at a time, and how many of one source. Others are sent away with a reason.
const MOST: usize = 16;
const MOST_PER_SOURCE: usize = 4;

/// A request of a party that is in no roster, and the way back for its answer. A visit that is dropped is rejected.
#[derive(Debug)]
pub struct EnrolmentVisit {
    /// Where the party came from.
    pub address: SocketAddr,
    /// The certificate that it presented. It holds the certificate's key.
    pub certificate: Fingerprint,
    /// What it sent, which nobody has checked.
    pub request: Zeroizing<Vec<u8>>,
    reply: oneshot::Sender<Vec<u8>>,
}

impl EnrolmentVisit {
    /// Answers the party, if it is still there.
    pub fn answer(self, bytes: Vec<u8>) {
        let _ = self.reply.send(bytes);
    }
}

/// Where requests go, and how many may be on their way.
#[derive(Clone, Debug)]
pub(crate) struct Enrolments {
    visits: mpsc::Sender<EnrolmentVisit>,
    places: Arc<Mutex<Doorway>>,
}

/// The place of one peer, which is free again when this is dropped.
struct Place {
    places: Arc<Mutex<Doorway>>,
    source: PeerSource,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).leave(self.source);
    }
}

impl Enrolments {
    pub(crate) fn new(visits: mpsc::Sender<EnrolmentVisit>) -> Self {
        Self { visits, places: Arc::new(Mutex::new(Doorway::new(MOST, MOST_PER_SOURCE))) }
    }

    /// Serves one peer. It never has a link, and whoever serves rounds does not see it (`WIRE-10`). The caller limits
    /// the time.
    pub(crate) async fn serve(
        &self,
        established: Established,
        address: SocketAddr,
        certificate: Fingerprint,
    ) -> Result<(), GreetingFailure> {
        // Before the peer may send anything that takes memory.
        let Some(_place) = self.enter(PeerSource::new(address.ip())) else {
            established.close(REFUSED, "too many enrolments at this time; try again in a minute");
            return Ok(());
        };
        let mut streams = established.accept().await?;
        let outcome = self.exchange(&mut streams, address, certificate).await;
        if let Err(GreetingFailure::Broken(reason)) = &outcome {
            streams.connection.close(REFUSED, reason);
        }
        outcome
    }

    async fn exchange(
        &self,
        streams: &mut LinkStreams,
        address: SocketAddr,
        certificate: Fingerprint,
    ) -> Result<(), GreetingFailure> {
        let request = exchange::read_frame(&mut streams.receive, MAX_REQUEST_BYTES).await?;
        let (reply, answer) = oneshot::channel();
        let visit = EnrolmentVisit { address, certificate, request: Zeroizing::new(request), reply };
        // It waits while the coordinator has another request, and no longer than the caller allows.
        let stopping = GreetingFailure::Broken("the coordinator is stopping; try again in a minute");
        self.visits.send(visit).await.map_err(|_| stopping)?;
        let unread = GreetingFailure::Broken(
            "the coordinator could not read the enrolment request: use the same version of the program on both sides",
        );
        let answer = answer.await.map_err(|_| unread)?;
        exchange::write_frame(&mut streams.send, &answer).await?;
        streams.send.finish();
        // The peer may close as soon as it has the answer, which is no fault.
        let _ = streams.send.acknowledged().await;
        Ok(())
    }

    fn enter(&self, source: PeerSource) -> Option<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.enter(source).then(|| Place { places: self.places.clone(), source })
    }
}
