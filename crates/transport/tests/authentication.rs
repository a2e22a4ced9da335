//! Who is let in, who is not, and what each side is result.

mod common;

use cloister_params::id::PartyId;
use std::time::{Duration, UNIX_EPOCH};

use cloister_transport::{AcceptError, ConnectError, Identity, Validity, connect};
use common::{Consortium, FIRST, SECOND, failure, identity, raw, refusal};

#[tokio::test]
async fn both_sides_know_who_is_at_the_other_end() {
    let (at_coordinator, at_party) = Consortium::new().link().await;
    assert_eq!((at_coordinator.peer(), at_party.peer()), (FIRST, PartyId::COORDINATOR));
}

#[tokio::test]
async fn a_stranger_is_refused_with_both_sides_told_and_the_listener_goes_on() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let stranger = identity("first");
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &stranger, FIRST));

    let refusal = refusal(accepted);
    assert!(
        matches!(refusal, AcceptError::NotInConsortium { fingerprint, .. } if fingerprint == stranger.fingerprint())
    );
    let (text, from) = (refusal.to_string(), "a peer at 127.0.0.1:");
    let named =
        format!("presented certificate {}, which is not in the consortium file", stranger.fingerprint());
    assert!(text.starts_with(from) && text.contains(&named), "{text}");

    let failure = failure(connected);
    assert!(matches!(failure, ConnectError::NotInConsortium { ours, .. } if ours == stranger.fingerprint()));
    let ours =
        format!("its certificate {} is not in the coordinator's consortium file", stranger.fingerprint());
    assert!(failure.to_string().contains(&ours), "{failure}");

    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("an enrolled party");
}

#[tokio::test]
async fn a_party_that_takes_itself_for_another_is_refused() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, SECOND));
    let refusal = refusal(accepted);
    assert!(matches!(refusal, AcceptError::WrongParty { listed: FIRST, claimed: SECOND, .. }), "{refusal}");
    match failure(connected) {
        ConnectError::Refused { reason, .. } => assert_eq!(reason, refusal.to_string()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_coordinator_with_another_certificate_is_not_trusted() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let expected = identity("coordinator").fingerprint();
    let (accepted, connected) = tokio::join!(
        listener.accept(),
        connect(address, &consortium.first, expected, FIRST, &consortium.settings)
    );
    let presented = consortium.coordinator.fingerprint();
    let failure = failure(connected);
    assert!(
        matches!(failure, ConnectError::WrongCoordinator { expected: e, presented: p, .. } if e == expected && p == presented),
        "{failure}"
    );
    assert!(matches!(refusal(accepted), AcceptError::Handshake { .. }));
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let thief = raw::certificate_with_key_of(&consortium.first, &identity("thief"));
    let endpoint = raw::client(Some(thief), "cloister/1");
    let attempt = tokio::spawn(async move {
        let (connection, ..) = raw::greet(&endpoint, address, FIRST.0).await?;
        Err::<(), _>(connection.closed().await.into())
    });
    let refusal = refusal(listener.accept().await);
    assert!(
        matches!(refusal, AcceptError::KeyNotHeld { party: FIRST, fingerprint, .. } if fingerprint == consortium.first.fingerprint()),
        "{refusal}"
    );
    let result: Result<(), Box<dyn std::error::Error + Send + Sync>> = attempt.await.expect("no panic");
    assert!(result.is_err());

    // The control: the same client is let in once it holds the key.
    let endpoint = raw::honest_client(&consortium.first);
    let (accepted, greeted) = tokio::join!(listener.accept(), raw::greet(&endpoint, address, FIRST.0));
    assert_eq!(accepted.map(|link| link.peer()), Ok(FIRST));
    greeted.expect("let in");
}

#[tokio::test]
async fn a_server_with_a_copy_of_the_coordinators_certificate_is_not_trusted() {
    let consortium = Consortium::new();
    let impostor = raw::certificate_with_key_of(&consortium.coordinator, &identity("impostor"));
    let honest = raw::certificate_with_key_of(&consortium.coordinator, &consortium.coordinator);
    for (certificate, trusted) in [(impostor, false), (honest, true)] {
        let server = raw::server(certificate);
        let address = server.local_addr().expect("bound");
        let serving = tokio::spawn(async move { raw::answer(&server).await.is_some() });
        match consortium.connect(address, &consortium.first, FIRST).await {
            Ok(_) => assert!(trusted),
            Err(error) => assert!(!trusted && matches!(error, ConnectError::KeyNotHeld { .. }), "{error}"),
        }
        assert_eq!(serving.await.expect("no panic"), trusted);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let endpoint = raw::client(None, "cloister/1");
    let (accepted, greeted) = tokio::join!(listener.accept(), raw::greet(&endpoint, address, FIRST.0));
    assert!(matches!(refusal(accepted), AcceptError::NoCertificate { .. }));
    drop(greeted);
}

#[tokio::test]
async fn another_protocol_name_is_refused() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let certificate = raw::certificate_with_key_of(&consortium.first, &consortium.first);
    let endpoint = raw::client(Some(certificate), "cloister/2");
    let (accepted, greeted) = tokio::join!(listener.accept(), raw::greet(&endpoint, address, FIRST.0));
    assert!(matches!(refusal(accepted), AcceptError::Handshake { .. }));
    assert!(greeted.is_err());
}

/// WIRE-06
#[tokio::test]
async fn a_certificate_that_ended_is_refused_with_both_sides_told() {
    let mut consortium = Consortium::new();
    let in_2024 = UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    let ended = Validity::starting(in_2024, 90);
    consortium.first = Identity::generate("first", ended).expect("randomness");
    let (mut listener, address) = consortium.listen();
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    let refusal = refusal(accepted);
    assert!(matches!(refusal, AcceptError::Dates { party: FIRST, .. }), "{refusal}");
    assert!(refusal.to_string().contains(&format!("ended on {}", ended.last_day())), "{refusal}");
    let failure = failure(connected);
    assert!(matches!(failure, ConnectError::RejectedDates { .. }), "{failure}");

    // The same for the coordinator's certificate, which the party checks.
    consortium.coordinator = Identity::generate("coordinator", ended).expect("randomness");
    let (mut listener, address) = consortium.listen();
    let (_, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert!(matches!(connected, Err(ConnectError::Dates { .. })), "{connected:?}");
}
