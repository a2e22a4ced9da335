//! Probes, which tell a party about its coordinator and touch no link.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use cloister_params::id::PartyId;
use cloister_transport::{
    AcceptError, Carrier, ConnectError, Identity, Link, Listener, ProbeReport, ProgramVersion, Roster,
    TransportSettings, probe,
};
use common::{Consortium, FIRST, SECOND, identity, over_both_carriers, raw, settings_over};
use tokio::time::timeout;

const PROBE_NAME: &str = "cloister-probe/1";

impl Consortium {
    /// The outcome of the one way to a coordinator that listens over one carrier.
    async fn probe(
        &self,
        address: SocketAddr,
        identity: &Identity,
        party: PartyId,
    ) -> Result<ProbeReport, ConnectError> {
        let attempts = probe(address, identity, self.coordinator.fingerprint(), party, &self.settings).await;
        let [attempt] = attempts?.try_into().expect("one address and one carrier");
        attempt.outcome
    }
}

/// Accepts for as long as something else takes, and expects no link to come of it.
async fn without_a_link<T>(listener: &mut Listener, other: impl Future<Output = T>) -> T {
    tokio::select! {
        outcome = other => outcome,
        accepted = listener.accept() => panic!("{accepted:?}"),
    }
}

/// WIRE-09
async fn a_probe_is_answered_and_the_partys_link_stays(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let pins = [(consortium.first.fingerprint(), FIRST), (consortium.second.fingerprint(), SECOND)];
    listener.replace_roster(Roster::new(pins).expect("two parties").with_edition(7));
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    let (at_coordinator, at_party): (Link, Link) = (accepted.expect("a party"), connected.expect("let in"));

    let before = SystemTime::now() - Duration::from_millis(1);
    for _ in 0..3 {
        let probing = consortium.probe(address, &consortium.first, FIRST);
        let report = without_a_link(&mut listener, probing).await.expect("a party may probe");
        assert_eq!(report.answer.edition, 7);
        assert_eq!(report.answer.version, ProgramVersion::current());
        assert_eq!(report.answer.version.to_string(), env!("CARGO_PKG_VERSION"));
        assert!(report.answer.time >= before && report.answer.time <= SystemTime::now());
        assert!(report.answer.seen_from.ip().is_loopback() && report.answer.seen_from != address);
    }

    let (mut sender, _from) = at_party.split();
    let (_to, mut receiver) = at_coordinator.split();
    let (sent, received) = tokio::join!(sender.send(b"still here"), receiver.recv());
    assert_eq!((sent, received), (Ok(()), Ok(Some(b"still here".to_vec()))));
}

/// WIRE-09
async fn nobody_but_a_party_may_probe(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let stranger = identity("first");
    let (accepted, probed) = tokio::join!(listener.accept(), consortium.probe(address, &stranger, FIRST));
    assert!(matches!(accepted, Err(AcceptError::NotInConsortium { .. })), "{accepted:?}");
    assert!(matches!(probed, Err(ConnectError::NotInConsortium { .. })), "{probed:?}");
    let (accepted, probed) =
        tokio::join!(listener.accept(), consortium.probe(address, &consortium.first, SECOND));
    assert!(matches!(accepted, Err(AcceptError::WrongParty { .. })), "{accepted:?}");
    assert!(matches!(probed, Err(ConnectError::Refused { .. })), "{probed:?}");
    // Control: the same question from the party itself.
    let probing = consortium.probe(address, &consortium.first, FIRST);
    without_a_link(&mut listener, probing).await.expect("a party may probe");
}

/// WIRE-09
async fn a_probe_of_another_server_is_not_answered(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let expected = identity("coordinator").fingerprint();
    let (_, probed) = tokio::join!(
        listener.accept(),
        probe(address, &consortium.first, expected, FIRST, &consortium.settings)
    );
    let outcome = &probed.expect("an address")[0].outcome;
    assert!(matches!(outcome, Err(ConnectError::WrongCoordinator { .. })), "{outcome:?}");

    // A coordinator of a version without probes.
    let honest = raw::certificate_with_key_of(&consortium.coordinator, &consortium.coordinator);
    let server = raw::server(carrier, honest).await;
    let address = server.address();
    tokio::spawn(async move { server.answer().await });
    let probed = consortium.probe(address, &consortium.first, FIRST).await;
    match probed {
        Err(error @ ConnectError::OtherProtocol { .. }) => {
            assert!(error.to_string().contains("does not speak cloister-probe/1"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// WIRE-09
#[tokio::test]
async fn probes_that_never_end_are_few_and_end_in_time() {
    let settings = TransportSettings {
        handshakes_per_source: usize::MAX,
        handshake_timeout: Duration::from_secs(4),
        ..settings_over(Carrier::Tcp)
    };
    let consortium = Consortium { settings, ..Consortium::new() };
    let (mut listener, address) = consortium.listen();
    let certificate = raw::certificate_with_key_of(&consortium.first, &consortium.first);
    let client = raw::client(Carrier::Tcp, Some(certificate), Some(PROBE_NAME));
    let mut peers = Vec::new();
    for _ in 0..16 {
        // Such a peer takes the answer, and does not say that it has it.
        let greeting = without_a_link(&mut listener, client.greet(address, FIRST.0));
        peers.push(greeting.await.expect("a party"));
    }
    let probing = consortium.probe(address, &consortium.second, SECOND);
    let refused = without_a_link(&mut listener, probing).await;
    assert!(
        matches!(&refused, Err(ConnectError::Refused { reason, .. }) if reason.contains("too many probes"))
    );
    // Links have their places all the same.
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("let in");

    for _ in 0..16 {
        let ended = timeout(Duration::from_secs(10), listener.accept()).await.expect("in time");
        assert!(matches!(ended, Err(AcceptError::TooSlow { .. })), "{ended:?}");
    }
    let probing = consortium.probe(address, &consortium.second, SECOND);
    without_a_link(&mut listener, probing).await.expect("control: there is room again");
}

over_both_carriers! {
    /// WIRE-09
    a_probe_is_answered_and_the_partys_link_stays,
    /// WIRE-09
    nobody_but_a_party_may_probe,
    /// WIRE-09
    a_probe_of_another_server_is_not_answered,
}
