//! Strangers that begin handshakes and never end them.

#![allow(clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use cloister_transport::{AcceptError, ConnectError, Listener, TransportSettings};
use common::{Consortium, FIRST, SECOND, failure, raw, refusal};
use tokio::time::timeout;

const STRANGERS: usize = 300;
/// Longer than any of this takes: no place is left during a test but where it says so.
const LONG: Duration = Duration::from_secs(120);

/// Lets peers come until so many are on their way in.
async fn wait_for_handshakes(listener: &mut Listener, wanted: usize) {
    let coming = async {
        while listener.handshakes() < wanted {
            let nobody = timeout(Duration::from_millis(50), listener.accept()).await;
            assert!(nobody.is_err(), "strangers say nothing: {nobody:?}");
        }
    };
    timeout(LONG, coming).await.expect("they come");
}

/// WIRE-05
#[tokio::test]
async fn silent_strangers_of_one_address_keep_no_party_out() {
    let patient = TransportSettings {
        handshake_timeout: LONG,
        certificate_timeout: LONG,
        ..TransportSettings::default()
    };
    let consortium = Consortium { settings: patient.clone(), ..Consortium::new() };
    let (mut listener, address) = consortium.listen();
    let strangers = raw::silent_strangers(address, STRANGERS).await;
    wait_for_handshakes(&mut listener, patient.handshakes_per_source).await;
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    assert_eq!(accepted.map(|link| link.peer()), Ok(FIRST));
    connected.expect("let in");
    assert_eq!(listener.handshakes(), patient.handshakes_per_source, "the strangers are still there");
    drop(strangers);

    // Control: without the limit for each address there is no place left.
    let unlimited = TransportSettings { handshakes_per_source: usize::MAX, ..patient };
    let consortium = Consortium { settings: unlimited, ..consortium };
    let (mut listener, address) = consortium.listen();
    let _strangers = raw::silent_strangers(address, STRANGERS).await;
    wait_for_handshakes(&mut listener, 256).await;
    let hurried =
        TransportSettings { handshake_timeout: Duration::from_secs(2), ..TransportSettings::default() };
    let consortium = Consortium { settings: hurried, ..consortium };
    let outcome = tokio::select! {
        connected = consortium.connect(address, &consortium.first, FIRST) => failure(connected),
        accepted = listener.accept() => panic!("{accepted:?}"),
    };
    assert!(matches!(outcome, ConnectError::Unreachable { .. }), "{outcome}");
}

/// WIRE-05
#[tokio::test]
async fn a_place_is_a_strangers_for_a_short_time() {
    let settings = TransportSettings {
        handshake_timeout: LONG,
        certificate_timeout: Duration::from_millis(300),
        ..TransportSettings::default()
    };
    let consortium = Consortium { settings, ..Consortium::new() };
    let (mut listener, address) = consortium.listen();
    let strangers = raw::silent_strangers(address, 1).await;
    let sent_away = timeout(LONG / 2, listener.accept()).await.expect("long before the handshake's end");
    assert!(matches!(refusal(sent_away), AcceptError::TooSlow { .. }));
    drop(strangers);

    // Control: a party whose certificate was seen has its place for longer, and holds nobody up.
    let endpoint = raw::honest_client(&consortium.first);
    let connecting = endpoint.connect(address, "coordinator").expect("an address");
    let (slow, nobody) = tokio::join!(connecting, timeout(Duration::from_secs(1), listener.accept()));
    let _slow = slow.expect("its certificate is in the roster");
    assert!(nobody.is_err(), "its place is still its own: {nobody:?}");
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("let in");
}
