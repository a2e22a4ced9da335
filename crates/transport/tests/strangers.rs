//! Strangers that begin handshakes and never end them.

#![allow(clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use cloister_transport::{AcceptError, Carrier, ConnectError, Listener, TransportSettings};
use common::{Consortium, FIRST, SECOND, failure, over_both_carriers, raw, refusal, settings_over};
use tokio::io::AsyncReadExt;
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
async fn silent_strangers_of_one_address_keep_no_party_out(carrier: Carrier) {
    let patient =
        TransportSettings { handshake_timeout: LONG, certificate_timeout: LONG, ..settings_over(carrier) };
    let consortium = Consortium { settings: patient.clone(), ..Consortium::over(carrier) };
    let (mut listener, address) = consortium.listen();
    let strangers = raw::silent_strangers(carrier, address, STRANGERS).await;
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
    let _strangers = raw::silent_strangers(carrier, address, STRANGERS).await;
    wait_for_handshakes(&mut listener, 256).await;
    let hurried = TransportSettings { handshake_timeout: Duration::from_secs(2), ..settings_over(carrier) };
    let consortium = Consortium { settings: hurried, ..consortium };
    let outcome = tokio::select! {
        connected = consortium.connect(address, &consortium.first, FIRST) => failure(connected),
        accepted = listener.accept() => panic!("{accepted:?}"),
    };
    assert!(matches!(outcome, ConnectError::Unreachable { .. }), "{outcome}");
}

/// WIRE-05
async fn a_place_is_a_strangers_for_a_short_time(carrier: Carrier) {
    let settings = TransportSettings {
        handshake_timeout: LONG,
        certificate_timeout: Duration::from_millis(300),
        ..settings_over(carrier)
    };
    let consortium = Consortium { settings, ..Consortium::over(carrier) };
    let (mut listener, address) = consortium.listen();
    let strangers = raw::silent_strangers(carrier, address, 1).await;
    let sent_away = timeout(LONG / 2, listener.accept()).await.expect("long before the handshake's end");
    assert!(matches!(refusal(sent_away), AcceptError::TooSlow { .. }));
    drop(strangers);

    // Control: a party whose certificate was seen has its place for longer, and holds nobody up.
    let client = raw::honest_client(carrier, &consortium.first);
    let (slow, nobody) =
        tokio::join!(client.shake_hands(address), timeout(Duration::from_secs(1), listener.accept()));
    let _slow = slow.expect("its certificate is in the roster");
    assert!(nobody.is_err(), "its place is still its own: {nobody:?}");
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("let in");
}

/// WIRE-05
#[tokio::test]
async fn strangers_over_both_carriers_share_the_places_of_their_source() {
    let patient = TransportSettings {
        handshake_timeout: LONG,
        certificate_timeout: LONG,
        ..TransportSettings::default()
    };
    for (most, is_sent_away) in [(4, true), (5, false)] {
        let settings = TransportSettings { handshakes_per_source: most, ..patient.clone() };
        let consortium = Consortium { settings, ..Consortium::new() };
        let (mut listener, address) = consortium.listen();
        let _over_quic = raw::silent_strangers(Carrier::Quic, address, 4).await;
        wait_for_handshakes(&mut listener, 4).await;
        let raw::SilentStrangers::Tcp { mut streams } = raw::silent_strangers(Carrier::Tcp, address, 1).await
        else {
            panic!("over TCP");
        };
        let reading = timeout(Duration::from_millis(500), streams[0].read_u8());
        let outcome = tokio::select! {
            outcome = reading => outcome,
            accepted = listener.accept() => panic!("{accepted:?}"),
        };
        assert_eq!(outcome.is_ok(), is_sent_away, "{outcome:?}");
        assert_eq!(listener.handshakes(), if is_sent_away { 4 } else { 5 });
    }
}

over_both_carriers! {
    /// WIRE-05
    silent_strangers_of_one_address_keep_no_party_out,
    /// WIRE-05
    a_place_is_a_strangers_for_a_short_time,
}
