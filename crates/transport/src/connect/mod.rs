//! How a party connects to the coordinator: over QUIC, and over TLS and TCP where QUIC gets no answer.
//!
//! The ways are tried as in "Happy Eyeballs" (RFC 8305): a way that answers late does not hold up the next one. The
//! party greets on one of them only, so that the coordinator has one link.

mod attempt;
mod enrolment;
mod probe;
mod race;

use std::sync::Arc;

use cloister_identity::{Fingerprint, Identity};
use cloister_params::id::PartyId;

use crate::address::HostPort;
use crate::carrier::Carrier;
use crate::connect_error::ConnectError;
use crate::link::Link;
use crate::purpose::ConnectionPurpose;
use crate::route::Route;
use crate::settings::{Carriers, TransportSettings};
use attempt::{Candidate, Dialer};

pub use enrolment::hand_in;
pub use probe::{ProbeAttempt, ProbeReport, probe};

/// How many of a name's addresses are tried.
const MOST_ADDRESSES: usize = 8;

/// Connects to the coordinator, and returns after each side has accepted the other.
///
/// `coordinator` is the coordinator's pinned certificate. `party` is this party's number in the consortium
/// file. It must be called within a tokio runtime, which also drives the link.
///
/// # Errors
/// See [`ConnectError`], which says whose fault it is.
pub async fn connect(
    target: impl Into<HostPort>,
    identity: &Identity,
    coordinator: Fingerprint,
    party: PartyId,
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    open_link(ConnectionPurpose::Rounds, target.into(), (identity, coordinator, party), settings).await
}

/// Connects to the coordinator to ask for models (`WIRE-11`). The party's link for rounds stays as it is.
///
/// Arguments are those of [`connect`].
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_for_models(
    target: impl Into<HostPort>,
    identity: &Identity,
    coordinator: Fingerprint,
    party: PartyId,
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    open_link(ConnectionPurpose::Model, target.into(), (identity, coordinator, party), settings).await
}

async fn open_link(
    purpose: ConnectionPurpose,
    target: HostPort,
    (identity, coordinator, party): (&Identity, Fingerprint, PartyId),
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    let candidates = candidates(&target, settings).await?;
    let (identity, settings) = (identity.clone(), settings.clone());
    let dialer = Arc::new(Dialer { target, identity, coordinator, purpose, settings });
    race::connect_to_first(&dialer, candidates, |handshaken| dialer.greet(handshaken, party)).await
}

/// All ways to the coordinator, in the order in which they are tried.
async fn candidates(target: &HostPort, settings: &TransportSettings) -> Result<Vec<Candidate>, ConnectError> {
    let proxy = settings.proxy.as_ref().filter(|_| settings.carriers != Carriers::Quic);
    if let Some(proxy) = proxy {
        let address = proxy.address();
        let found = address.resolve().await.map_err(|error| ConnectError::ProxyUnreachable {
            proxy: address.clone(),
            detail: error.to_string(),
        })?;
        // The proxy looks up the coordinator's name: many networks behind proxies look up no names outside.
        let route = Route { target: target.clone(), carrier: Carrier::Tcp, proxy: Some(address.clone()) };
        let routed = found.into_iter().take(MOST_ADDRESSES);
        return Ok(routed.map(|address| Candidate { route: route.clone(), address }).collect());
    }
    let found = target
        .resolve()
        .await
        .map_err(|error| ConnectError::Name { host: target.to_string(), detail: error.to_string() })?;
    let mut candidates = Vec::new();
    for carrier in [Carrier::Quic, Carrier::Tcp] {
        if settings.carriers.include(carrier) {
            for &address in found.iter().take(MOST_ADDRESSES) {
                let route = Route { target: address.into(), carrier, proxy: None };
                candidates.push(Candidate { route, address });
            }
        }
    }
    Ok(candidates)
}
