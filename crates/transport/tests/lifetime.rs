//! How links begin, end and break, and what a listener survives.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cloister_params::id::PartyId;
use cloister_transport::{
    AcceptError, BindError, ConnectError, LinkError, Listener, MAX_FRAME, Roster, TransportSettings,
};
use common::{Consortium, FIRST, SECOND, failure, pattern, raw, refusal};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn closing_delivers_every_frame_and_the_reason() {
    let (at_coordinator, at_party) = Consortium::new().link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (mut coordinator_sender, mut receiver) = at_coordinator.split();
    let closing = tokio::spawn(async move {
        sender.send(&pattern(MAX_FRAME)).await?;
        sender.send(b"last").await?;
        sender.close("the run is complete\n").await
    });
    assert!(receiver.recv().await.expect("open") == Some(pattern(MAX_FRAME)));
    assert_eq!(receiver.recv().await, Ok(Some(b"last".to_vec())));
    assert_eq!(receiver.closing_reason(), None);
    assert_eq!((receiver.recv().await, receiver.recv().await), (Ok(None), Ok(None)));
    assert_eq!(receiver.closing_reason(), Some("the run is complete\\n"));
    assert_eq!(closing.await.expect("no panic"), Ok(()));
    assert_eq!(coordinator_sender.send(b"more").await, Err(LinkError::AlreadyClosed { peer: FIRST }));
}

#[tokio::test]
async fn a_peer_that_reads_late_still_gets_what_was_sent_before_closing() {
    let (at_coordinator, at_party) = Consortium::new().link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    sender.send(b"last").await.expect("open");
    sender.close("done").await.expect("acknowledged");
    sleep(Duration::from_millis(100)).await;
    assert_eq!((receiver.recv().await, receiver.recv().await), (Ok(Some(b"last".to_vec())), Ok(None)));
}

#[tokio::test]
async fn a_peer_that_hears_the_end_and_leaves_at_once_does_not_spoil_the_closing() {
    let consortium = Consortium::new();
    for _ in 0..20 {
        let (at_coordinator, at_party) = consortium.link().await;
        let leaving = tokio::spawn(async move {
            let (_sender, mut receiver) = at_coordinator.split();
            receiver.recv().await
        });
        assert_eq!(at_party.close("done").await, Ok(()));
        assert_eq!(leaving.await.expect("no panic"), Ok(None));
    }
}

#[tokio::test]
async fn a_dropped_link_is_no_clean_end() {
    let (at_coordinator, at_party) = Consortium::new().link().await;
    let (mut sender, mut receiver) = at_coordinator.split();
    drop(at_party);
    assert_eq!(receiver.recv().await, Err(LinkError::Dropped { peer: FIRST }));
    assert_eq!(sender.send(b"more").await, Err(LinkError::Dropped { peer: FIRST }));
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_is_no_clean_end() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let endpoint = raw::honest_client(&consortium.first);
    let (link, peer) = tokio::join!(listener.accept(), raw::greet(&endpoint, address, FIRST.0));
    let (_connection, mut send, _receive) = peer.expect("an enrolled party");
    let (_sender, mut receiver) = link.expect("an enrolled party").split();
    send.write_all(&[0, 0, 0, 9, 1, 2]).await.expect("open");
    send.finish().expect("open");
    assert_eq!(receiver.recv().await, Err(LinkError::Dropped { peer: FIRST }));
}

#[tokio::test]
async fn an_aborted_link_tells_the_reason() {
    let (at_coordinator, at_party) = Consortium::new().link().await;
    at_coordinator.handle().abort("the plan is void");
    let (_sender, mut receiver) = at_party.split();
    let closed =
        LinkError::ClosedByPeer { peer: PartyId::COORDINATOR, reason: "the plan is void".to_owned() };
    assert_eq!(receiver.recv().await, Err(closed));
    assert_eq!(at_coordinator.handle().closed().await, LinkError::AlreadyClosed { peer: FIRST });
}

#[tokio::test]
async fn a_peer_that_vanishes_is_missed_within_the_idle_timeout() {
    let consortium = Consortium::with_idle_timeout(Duration::from_secs(1));
    let (mut listener, address) = consortium.listen();
    let (first, coordinator) = (consortium.first.clone(), consortium.coordinator.fingerprint());
    let settings = TransportSettings::default();
    let party = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let link = cloister_transport::connect(address, &first, coordinator, FIRST, &settings);
        let link = runtime.block_on(link).expect("let in");
        // Like a killed process: nothing drives the link any more, so nothing is said.
        drop(runtime);
        link
    });
    let link = listener.accept().await.expect("an enrolled party");
    let silent_since = Instant::now();
    let (_sender, mut receiver) = link.split();
    let outcome = timeout(Duration::from_secs(10), receiver.recv()).await.expect("noticed in time");
    assert_eq!(outcome, Err(LinkError::Vanished { peer: FIRST }));
    assert!(silent_since.elapsed() >= Duration::from_millis(500), "the idle timeout itself is to end it");
    drop(party.join().expect("no panic"));
}

#[tokio::test]
async fn a_silent_link_stays_open_past_the_idle_timeout() {
    let (at_coordinator, at_party) = Consortium::with_idle_timeout(Duration::from_secs(2)).link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    timeout(Duration::from_secs(5), receiver.recv()).await.expect_err("nothing was sent");
    sender.send(b"still here").await.expect("kept alive");
    assert_eq!(receiver.recv().await, Ok(Some(b"still here".to_vec())));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let consortium = Consortium::new();
    let (_listener, address) = consortium.listen();
    let error = Listener::bind(address, &consortium.coordinator, Roster::default(), &consortium.settings)
        .expect_err("taken");
    assert!(matches!(error, BindError::PortInUse { address: taken } if taken == address));
    assert!(error.to_string().contains(&format!("UDP port {} is already in use", address.port())), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound");
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(300), ..TransportSettings::default() };
    let consortium = Consortium { settings, ..Consortium::new() };
    let error = failure(consortium.connect(address, &consortium.first, FIRST).await);
    assert!(matches!(error, ConnectError::Unreachable { address: tried } if tried == address), "{error}");
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_at_all_is_this_sides_fault() {
    let consortium = Consortium::new();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = failure(consortium.connect(nowhere, &consortium.first, FIRST).await);
    assert!(matches!(error, ConnectError::Socket { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_peer_holds_nobody_up() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let endpoint = raw::honest_client(&consortium.first);
    // It finishes TLS and then never greets.
    let connecting = endpoint.connect(address, "coordinator").expect("an address");
    let (slow, nobody) = tokio::join!(connecting, timeout(Duration::from_millis(300), listener.accept()));
    let _slow = slow.expect("let in as far as TLS");
    nobody.expect_err("no greeting came");

    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("let in");
}

#[tokio::test]
async fn a_peer_that_never_greets_is_sent_away() {
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(1000), ..TransportSettings::default() };
    let consortium = Consortium { settings, ..Consortium::new() };
    let (mut listener, address) = consortium.listen();
    let endpoint = raw::honest_client(&consortium.first);
    let connecting = endpoint.connect(address, "coordinator").expect("an address");
    let (slow, refused) = tokio::join!(connecting, listener.accept());
    assert!(matches!(refusal(refused), AcceptError::TooSlow { .. }));
    slow.expect("let in as far as TLS").closed().await;
}

#[tokio::test]
async fn rubbish_does_not_stop_a_listener() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    for length in [1, 20, 1200] {
        socket.send_to(&pattern(length), address).await.expect("sent");
    }
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    assert_eq!(accepted.map(|link| link.peer()), Ok(FIRST));
    connected.expect("let in");
}

#[tokio::test]
async fn links_outlive_their_listener_which_lets_nobody_in_any_more() {
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(2000), ..TransportSettings::default() };
    let consortium = Consortium { settings, ..Consortium::new() };
    let (mut listener, address) = consortium.listen();
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    drop(listener);
    let (mut sender, _party_receiver) = connected.expect("let in").split();
    let (_coordinator_sender, mut receiver) = accepted.expect("enrolled").split();
    sender.send(b"still here").await.expect("open");
    assert_eq!(receiver.recv().await, Ok(Some(b"still here".to_vec())));
    failure(consortium.connect(address, &consortium.second, SECOND).await);
}
