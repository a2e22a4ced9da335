//! Handing an enrolment request to a coordinator (`WIRE-10`).

use std::sync::Arc;
use std::time::Duration;

use cloister_identity::online::MAX_ANSWER_BYTES;
use cloister_identity::{Fingerprint, Identity};
use tokio::time::timeout;

use super::attempt::{Dialer, Handshaken};
use super::{candidates, race};
use crate::address::HostPort;
use crate::connect_error::ConnectError;
use crate::exchange;
use crate::purpose::ConnectionPurpose;
use crate::settings::TransportSettings;

/// How long a party that has its answer waits for the coordinator to close.
const HANG_UP: Duration = Duration::from_secs(1);

/// Hands a request to the coordinator whose certificate this is, and returns its answer. The party need not be in the
/// consortium. If the connection breaks, the coordinator may have the request nevertheless.
///
/// It must be called within a tokio runtime.
///
/// # Errors
/// See [`ConnectError`].
pub async fn hand_in(
    target: impl Into<HostPort>,
    identity: &Identity,
    coordinator: Fingerprint,
    request: &[u8],
    settings: &TransportSettings,
) -> Result<Vec<u8>, ConnectError> {
    let target = target.into();
    let candidates = candidates(&target, settings).await?;
    let (identity, settings) = (identity.clone(), settings.clone());
    let purpose = ConnectionPurpose::Enrolment;
    let dialer = Arc::new(Dialer { target, identity, coordinator, purpose, settings });
    race::connect_to_first(&dialer, candidates, |handshaken| ask(handshaken, request)).await
}

async fn ask(handshaken: Handshaken, request: &[u8]) -> Result<Vec<u8>, ConnectError> {
    let asking = handshaken.converse(|mut streams| async move {
        exchange::write_frame(&mut streams.send, request).await?;
        streams.send.finish();
        let answer = exchange::read_frame(&mut streams.receive, MAX_ANSWER_BYTES).await?;
        // A program that ends at once would leave the coordinator waiting for an acknowledgement.
        let _ = timeout(HANG_UP, streams.connection.closed()).await;
        Ok(answer)
    });
    asking.await
}
