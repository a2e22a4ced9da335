//! The order and the times at which ways to the coordinator are tried.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Candidate, Dialer, Handshaken};
use crate::address::HostPort;
use crate::carrier::Carrier;
use crate::connect_error::ConnectError;

/// How long QUIC is tried alone. A handshake takes two round trips, and QUIC repeats a lost packet after one second.
const QUIC_ALONE: Duration = Duration::from_secs(2);

/// How long an address is tried alone before the next one of the same carrier (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Tries the candidates, and goes on with the first one that answers.
pub(super) async fn connect_to_first<T, Going>(
    dialer: &Arc<Dialer>,
    candidates: Vec<Candidate>,
    go_on: impl Fn(Handshaken) -> Going,
) -> Result<T, ConnectError>
where
    Going: Future<Output = Result<T, ConnectError>>,
{
    let mut waiting = VecDeque::from(candidates);
    // Dropped on return, which ends the attempts that are still running.
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    let quic_until = Instant::now() + QUIC_ALONE;
    let mut next_start = Instant::now();
    loop {
        tokio::select! {
            Some(handshaken) = running.join_next() => {
                let handshaken = handshaken.expect("an attempt neither panics nor is cancelled");
                let outcome = match handshaken {
                    Ok(handshaken) => go_on(handshaken).await,
                    Err(failure) => Err(failure),
                };
                match outcome {
                    Err(failure) if failure.is_network_fault() => failures.push(failure),
                    // A coordinator that rejects this party does so over the other carrier too.
                    outcome => return outcome,
                }
                if running.is_empty() {
                    next_start = Instant::now();
                }
            }
            () = sleep_until(next_start), if !waiting.is_empty() => {
                let Some(candidate) = waiting.pop_front() else { continue };
                let carrier = candidate.route.carrier;
                running.spawn(dialer.clone().shake_hands(candidate));
                let next = waiting.front().map(|next| next.route.carrier);
                next_start = match (carrier, next) {
                    (Carrier::Quic, Some(Carrier::Tcp)) => quic_until.max(Instant::now()),
                    _ => Instant::now() + NEXT_ADDRESS,
                };
            }
            else => return Err(summary(&dialer.target, failures)),
        }
    }
}

/// One error for the failures of all ways.
fn summary(target: &HostPort, mut failures: Vec<ConnectError>) -> ConnectError {
    let is_local = failures.iter().all(|failure| matches!(failure, ConnectError::Socket { .. }));
    // A failure that is alone says more than a summary. So does a proxy's, which has the same route to all addresses.
    let is_proxys = failures.iter().any(|failure| {
        matches!(failure, ConnectError::ProxyUnreachable { .. } | ConnectError::ProxyRefused { .. })
    });
    if failures.len() == 1 || (is_local && !failures.is_empty()) || is_proxys {
        return failures.swap_remove(0);
    }
    let tried: Vec<String> = failures.iter().map(short).collect();
    ConnectError::Unreachable { target: target.clone(), tried: tried.join(", ") }
}

/// What came of one way.
fn short(failure: &ConnectError) -> String {
    match failure {
        ConnectError::Unreachable { tried, .. } => tried.clone(),
        ConnectError::Socket { route, detail } => format!("{route}: {detail}"),
        ConnectError::CutOff { route } => format!("{route}: the connection was cut during the handshake"),
        other => other.to_string(),
    }
}
