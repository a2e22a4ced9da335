//! Enrolments, by which a party that is in no roster hands in one request and gets one answer.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use cloister_identity::online::MAX_REQUEST_BYTES;
use cloister_transport::{
    AcceptError, Carrier, ConnectError, EnrolmentVisit, Identity, Listener, TransportSettings, hand_in,
};
use common::{Consortium, FIRST, SECOND, identity, over_both_carriers, pattern, raw, refusal, settings_over};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ENROLMENT_NAME: &str = "cloister-enrolment/1";

/// A coordinator that answers each request with its length and its first byte.
struct Desk {
    consortium: Consortium,
    listener: Listener,
    visits: mpsc::Receiver<EnrolmentVisit>,
    address: SocketAddr,
}

impl Desk {
    fn open(consortium: Consortium) -> Self {
        let (mut listener, address) = consortium.listen();
        let visits = listener.serve_enrolments();
        Self { consortium, listener, visits, address }
    }

    fn over(carrier: Carrier) -> Self {
        Self::open(Consortium::over(carrier))
    }

    /// Serves for as long as something else takes, and expects no link and no rejection to come of it.
    async fn while_serving<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                outcome = &mut other => return outcome,
                accepted = self.listener.accept() => panic!("{accepted:?}"),
                Some(visit) = self.visits.recv() => {
                    let answer = format!("{} bytes from {}", visit.request.len(), visit.certificate);
                    visit.answer(answer.into_bytes());
                }
            }
        }
    }

    /// What comes of a request, if the coordinator rejects it before it is handed over.
    async fn rejected(&mut self, identity: &Identity, request: &[u8]) -> (AcceptError, ConnectError) {
        let handing_in = hand_in(
            self.address,
            identity,
            self.consortium.coordinator.fingerprint(),
            request,
            &self.consortium.settings,
        );
        let (accepted, handed_in) = tokio::join!(self.listener.accept(), handing_in);
        (refusal(accepted), handed_in.expect_err("it is to be rejected"))
    }

    /// What comes of a request with which nothing is wrong.
    async fn answer(&mut self, identity: &Identity, request: &[u8]) -> Result<String, ConnectError> {
        let (address, coordinator) = (self.address, self.consortium.coordinator.fingerprint());
        let settings = self.consortium.settings.clone();
        let handing_in = hand_in(address, identity, coordinator, request, &settings);
        let answer = self.while_serving(handing_in).await?;
        Ok(String::from_utf8(answer).expect("text"))
    }
}

/// WIRE-10
async fn a_stranger_gets_one_answer_and_a_partys_link_stays(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let (accepted, connected) = tokio::join!(
        desk.listener.accept(),
        desk.consortium.connect(desk.address, &desk.consortium.first, FIRST)
    );
    let (at_coordinator, at_party) = (accepted.expect("a party"), connected.expect("let in"));
    let stranger = identity("north");
    // A party of the roster may ask too: it gets nothing but an answer either.
    let first = desk.consortium.first.clone();
    for asks in [&stranger, &first] {
        for length in [1, 2000, MAX_REQUEST_BYTES] {
            let answer = desk.answer(asks, &pattern(length)).await.expect("an answer");
            assert_eq!(answer, format!("{length} bytes from {}", asks.fingerprint()));
        }
    }
    let (mut sender, _from) = at_party.split();
    let (_to, mut receiver) = at_coordinator.split();
    let (sent, received) = tokio::join!(sender.send(b"still here"), receiver.recv());
    assert_eq!((sent, received), (Ok(()), Ok(Some(b"still here".to_vec()))));
}

/// WIRE-10, WIRE-06
async fn a_stranger_gets_no_link_whatever_protocols_it_names(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let stranger = identity("first");
    for names in [
        &["cloister/1"][..],
        &[ENROLMENT_NAME, "cloister/1"],
        &["cloister/1", ENROLMENT_NAME],
        &[ENROLMENT_NAME, "cloister-probe/1"],
    ] {
        let certificate = raw::certificate_with_key_of(&stranger, &stranger);
        let client = raw::client(carrier, Some(certificate), names.iter().copied());
        let greeting = async {
            let mut peer = client.greet(desk.address, FIRST.0).await?;
            peer.closed().await;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        let (accepted, _) = tokio::join!(desk.listener.accept(), greeting);
        let refusal = refusal(accepted);
        assert!(matches!(refusal, AcceptError::NotInConsortium { .. }), "{names:?}: {refusal}");
    }
    desk.answer(&stranger, b"x").await.expect("control: it may enrol");
}

/// WIRE-10
async fn a_stranger_must_hold_the_key_of_its_certificate(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let (owner, thief) = (identity("owner"), identity("thief"));
    let stolen = raw::certificate_with_key_of(&owner, &thief);
    let client = raw::client(carrier, Some(stolen), [ENROLMENT_NAME]);
    let stealing = async {
        if let Ok(mut peer) = client.shake_hands(desk.address).await {
            peer.closed().await;
        }
    };
    let (accepted, ()) = tokio::join!(desk.listener.accept(), stealing);
    assert!(matches!(refusal(accepted), AcceptError::Handshake { .. }));
    desk.answer(&owner, b"x").await.expect("control");
}

/// WIRE-10
async fn a_request_that_is_too_large_is_refused_with_a_reason(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let stranger = identity("north");
    let (refused, error) = desk.rejected(&stranger, &pattern(MAX_REQUEST_BYTES + 1)).await;
    assert!(refused.to_string().contains("more bytes than it may send"), "{refused}");
    assert!(
        matches!(&error, ConnectError::Refused { reason, .. } if reason.contains("more bytes")),
        "{error}"
    );
    desk.answer(&stranger, &pattern(MAX_REQUEST_BYTES)).await.expect("control: the largest");
}

/// WIRE-10
async fn another_server_gets_nothing(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let (stranger, expected) = (identity("north"), identity("coordinator").fingerprint());
    let settings = desk.consortium.settings.clone();
    let handing_in = hand_in(desk.address, &stranger, expected, b"a token", &settings);
    let (accepted, handed_in) = tokio::join!(desk.listener.accept(), handing_in);
    assert!(matches!(handed_in, Err(ConnectError::WrongCoordinator { .. })), "{handed_in:?}");
    refusal(accepted);
    assert!(desk.visits.try_recv().is_err());
}

/// WIRE-10
async fn a_coordinator_that_serves_none_does_not_speak_the_protocol(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let (stranger, coordinator) = (identity("north"), consortium.coordinator.fingerprint());
    let handing_in = hand_in(address, &stranger, coordinator, b"x", &consortium.settings);
    let (accepted, handed_in) = tokio::join!(listener.accept(), handing_in);
    refusal(accepted);
    let error = handed_in.expect_err("nobody serves it");
    assert!(error.to_string().contains("does not speak cloister-enrolment/1"), "{error}");
}

/// WIRE-10
async fn strangers_that_never_end_are_few_and_end_in_time(carrier: Carrier) {
    let settings = TransportSettings { handshake_timeout: Duration::from_secs(4), ..settings_over(carrier) };
    let mut desk = Desk::open(Consortium { settings, ..Consortium::new() });
    let stranger = identity("north");
    let mut peers = Vec::new();
    for _ in 0..4 {
        let certificate = raw::certificate_with_key_of(&stranger, &stranger);
        let client = raw::client(carrier, Some(certificate), [ENROLMENT_NAME]);
        let address = desk.address;
        let peer = desk.while_serving(client.shake_hands(address)).await;
        peers.push((client, peer.expect("let in")));
    }
    // The coordinator has taken them in only a moment after their own handshake has ended.
    desk.while_serving(tokio::time::sleep(Duration::from_millis(200))).await;
    let refused = desk.answer(&stranger, b"x").await.expect_err("there is no place");
    assert!(
        matches!(&refused, ConnectError::Refused { reason, .. } if reason.contains("too many enrolments")),
        "{refused}"
    );
    // Links have their places all the same.
    let (accepted, connected) = tokio::join!(
        desk.listener.accept(),
        desk.consortium.connect(desk.address, &desk.consortium.second, SECOND)
    );
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    let _link = connected.expect("let in");
    for _ in 0..4 {
        let ended = timeout(Duration::from_secs(10), desk.listener.accept()).await.expect("in time");
        assert!(matches!(ended, Err(AcceptError::TooSlow { .. })), "{ended:?}");
    }
    desk.answer(&stranger, b"x").await.expect("control: there is room again");
}

/// WIRE-10: what a stranger sends beyond its request takes no memory of the coordinator.
async fn a_stranger_cannot_fill_memory(carrier: Carrier) {
    let mut desk = Desk::over(carrier);
    let stranger = identity("north");
    let certificate = raw::certificate_with_key_of(&stranger, &stranger);
    let client = raw::client(carrier, Some(certificate), [ENROLMENT_NAME]);
    let address = desk.address;
    let mut peer = desk.while_serving(client.shake_hands(address)).await.expect("let in");
    // A request of no bytes, and what nobody asked for.
    let flooding = async {
        match &mut peer {
            raw::Peer::Quic { send, .. } => {
                let sent = timeout(Duration::from_secs(2), send.write_all(&vec![0; 1 << 20])).await;
                assert!(sent.is_err(), "the coordinator took it all: {sent:?}");
            }
            tcp @ raw::Peer::Tcp(_) => {
                tcp.write_raw(&[0, 0, 4, 0, 0, 0xea, 0x60]).await.expect("a connection");
                let record = [&[1, 0x40, 0][..], &[0; 0x4000]].concat();
                let records = (1 << 20) / 0x4000;
                let mut sent = 0;
                while sent < records && tcp.write_raw(&record).await.is_ok() {
                    sent += 1;
                }
                let words = tcp.closed().await;
                assert!(sent < records || words.contains("credit"), "the coordinator took it all: {words}");
            }
        }
    };
    tokio::select! {
        () = flooding => {}
        () = async { while desk.listener.accept().await.is_err() {} } => panic!("a stranger has a link"),
    }
    drop(peer);

    // Control: a party may have as much on its way.
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (mut sender, _from) = at_party.split();
    let sent = timeout(Duration::from_secs(10), sender.send(&vec![0xee; 1 << 20])).await;
    assert_eq!(sent, Ok(Ok(())));
    drop(at_coordinator);
}

over_both_carriers! {
    /// WIRE-10
    a_stranger_gets_one_answer_and_a_partys_link_stays,
    /// WIRE-10, WIRE-06
    a_stranger_gets_no_link_whatever_protocols_it_names,
    /// WIRE-10
    a_stranger_must_hold_the_key_of_its_certificate,
    /// WIRE-10
    a_request_that_is_too_large_is_refused_with_a_reason,
    /// WIRE-10
    another_server_gets_nothing,
    /// WIRE-10
    a_coordinator_that_serves_none_does_not_speak_the_protocol,
    /// WIRE-10
    strangers_that_never_end_are_few_and_end_in_time,
    /// WIRE-10
    a_stranger_cannot_fill_memory,
}
