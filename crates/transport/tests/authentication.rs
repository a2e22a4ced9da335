//! Who is let in, who is not, and what each side is result.

mod common;

use std::time::{Duration, UNIX_EPOCH};

use cloister_params::id::PartyId;
use cloister_transport::{AcceptError, Carrier, ConnectError, Identity, Validity, connect};
use common::{Consortium, FIRST, SECOND, failure, identity, over_both_carriers, raw, refusal};

async fn both_sides_know_who_is_at_the_other_end(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    assert_eq!((at_coordinator.peer(), at_party.peer()), (FIRST, PartyId::COORDINATOR));
}

async fn a_stranger_is_refused_with_both_sides_told_and_the_listener_goes_on(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
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

async fn a_party_that_takes_itself_for_another_is_refused(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
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

async fn a_coordinator_with_another_certificate_is_not_trusted(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
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

async fn a_copied_certificate_without_its_key_is_refused(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let thief = raw::certificate_with_key_of(&consortium.first, &identity("thief"));
    let client = raw::client(carrier, Some(thief), Some("cloister/1"));
    let attempt = tokio::spawn(async move {
        let words = client.greet(address, FIRST.0).await?.closed().await;
        Err::<(), _>(words.into())
    });
    let refusal = refusal(listener.accept().await);
    assert!(
        matches!(refusal, AcceptError::KeyNotHeld { party: FIRST, fingerprint, .. } if fingerprint == consortium.first.fingerprint()),
        "{refusal}"
    );
    let result: Result<(), Box<dyn std::error::Error + Send + Sync>> = attempt.await.expect("no panic");
    assert!(result.is_err());

    // The control: the same client is let in once it holds the key.
    let client = raw::honest_client(carrier, &consortium.first);
    let (accepted, greeted) = tokio::join!(listener.accept(), client.greet(address, FIRST.0));
    assert_eq!(accepted.map(|link| link.peer()), Ok(FIRST));
    greeted.expect("let in");
}

async fn a_server_with_a_copy_of_the_coordinators_certificate_is_not_trusted(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let impostor = raw::certificate_with_key_of(&consortium.coordinator, &identity("impostor"));
    let honest = raw::certificate_with_key_of(&consortium.coordinator, &consortium.coordinator);
    for (certificate, trusted) in [(impostor, false), (honest, true)] {
        let server = raw::server(carrier, certificate).await;
        let address = server.address();
        let serving = tokio::spawn(async move { server.answer().await.is_some() });
        match consortium.connect(address, &consortium.first, FIRST).await {
            Ok(_) => assert!(trusted),
            Err(error) => assert!(!trusted && matches!(error, ConnectError::KeyNotHeld { .. }), "{error}"),
        }
        assert_eq!(serving.await.expect("no panic"), trusted);
    }
}

async fn a_client_without_a_certificate_is_refused(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let client = raw::client(carrier, None, Some("cloister/1"));
    let (accepted, greeted) = tokio::join!(listener.accept(), client.greet(address, FIRST.0));
    assert!(matches!(refusal(accepted), AcceptError::NoCertificate { .. }));
    drop(greeted);
}

async fn another_protocol_name_or_none_is_refused(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    for name in [Some("cloister/2"), None] {
        let certificate = raw::certificate_with_key_of(&consortium.first, &consortium.first);
        let client = raw::client(carrier, Some(certificate), name);
        let attempt = async {
            let mut peer = client.greet(address, FIRST.0).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(peer.closed().await)
        };
        let (accepted, _) = tokio::join!(listener.accept(), attempt);
        assert!(matches!(refusal(accepted), AcceptError::Handshake { .. }), "{name:?}");
    }
}

/// WIRE-06
async fn a_certificate_that_ended_is_refused_with_both_sides_told(carrier: Carrier) {
    let mut consortium = Consortium::over(carrier);
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

over_both_carriers! {
    both_sides_know_who_is_at_the_other_end,
    a_stranger_is_refused_with_both_sides_told_and_the_listener_goes_on,
    a_party_that_takes_itself_for_another_is_refused,
    a_coordinator_with_another_certificate_is_not_trusted,
    a_copied_certificate_without_its_key_is_refused,
    a_server_with_a_copy_of_the_coordinators_certificate_is_not_trusted,
    a_client_without_a_certificate_is_refused,
    another_protocol_name_or_none_is_refused,
    /// WIRE-06
    a_certificate_that_ended_is_refused_with_both_sides_told,
}
