//! How links begin, end and break, and what a listener survives.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cloister_params::id::PartyId;
use cloister_transport::{
    AcceptError, BindError, Carrier, ConnectError, LinkError, Listener, MAX_FRAME, Roster, TransportSettings,
};
use common::{
    Consortium, FIRST, SECOND, failure, identity, over_both_carriers, pattern, raw, refusal, settings_over,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

async fn closing_delivers_every_frame_and_the_reason(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
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

async fn a_peer_that_reads_late_still_gets_what_was_sent_before_closing(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    sender.send(b"last").await.expect("open");
    sender.close("done").await.expect("acknowledged");
    sleep(Duration::from_millis(100)).await;
    assert_eq!((receiver.recv().await, receiver.recv().await), (Ok(Some(b"last".to_vec())), Ok(None)));
}

async fn a_peer_that_hears_the_end_and_leaves_at_once_does_not_spoil_the_closing(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
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

/// Over QUIC an acknowledgement may wait for 25 ms, and is lost with the program.
#[tokio::test]
async fn a_program_that_hears_the_end_over_tcp_and_ends_at_once_does_not_spoil_the_closing() {
    for _ in 0..20 {
        let consortium = Consortium::over(Carrier::Tcp);
        let (mut listener, address) = consortium.listen();
        let party = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            let ended = runtime.block_on(async {
                let link = consortium.connect(address, &consortium.first, FIRST).await.expect("let in");
                link.split().1.recv().await
            });
            runtime.shutdown_background();
            ended
        });
        let link = listener.accept().await.expect("an enrolled party");
        assert_eq!(link.close("done").await, Ok(()));
        assert_eq!(party.join().expect("no panic"), Ok(None));
    }
}

async fn a_dropped_link_is_no_clean_end(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (mut sender, mut receiver) = at_coordinator.split();
    drop(at_party);
    assert_eq!(receiver.recv().await, Err(LinkError::Dropped { peer: FIRST }));
    assert_eq!(sender.send(b"more").await, Err(LinkError::Dropped { peer: FIRST }));
}

async fn an_end_in_the_middle_of_a_frame_is_no_clean_end(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let client = raw::honest_client(carrier, &consortium.first);
    let (link, peer) = tokio::join!(listener.accept(), client.greet(address, FIRST.0));
    let mut peer = peer.expect("an enrolled party");
    let (_sender, mut receiver) = link.expect("an enrolled party").split();
    peer.write(&[0, 0, 0, 9, 1, 2]).await.expect("open");
    peer.finish().await.expect("open");
    assert_eq!(receiver.recv().await, Err(LinkError::Dropped { peer: FIRST }));
}

async fn an_aborted_link_tells_the_reason(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    at_coordinator.handle().abort("the plan is void");
    let (_sender, mut receiver) = at_party.split();
    let closed =
        LinkError::ClosedByPeer { peer: PartyId::COORDINATOR, reason: "the plan is void".to_owned() };
    assert_eq!(receiver.recv().await, Err(closed));
    assert_eq!(at_coordinator.handle().closed().await, LinkError::AlreadyClosed { peer: FIRST });
}

async fn a_peer_that_vanishes_is_missed_within_the_idle_timeout(carrier: Carrier) {
    let consortium = Consortium::with_idle_timeout(carrier, Duration::from_secs(1));
    let (mut listener, address) = consortium.listen();
    let (first, coordinator) = (consortium.first.clone(), consortium.coordinator.fingerprint());
    let settings = settings_over(carrier);
    let party = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let link = cloister_transport::connect(address, &first, coordinator, FIRST, &settings);
        let link = runtime.block_on(link).expect("let in");
        // As behind a cut cable: nothing drives the link any more, so nothing is said, not even that a process ended.
        (runtime, link)
    });
    let link = listener.accept().await.expect("an enrolled party");
    let silent_since = Instant::now();
    let (_sender, mut receiver) = link.split();
    let outcome = timeout(Duration::from_secs(10), receiver.recv()).await.expect("noticed in time");
    assert_eq!(outcome, Err(LinkError::Vanished { peer: FIRST }));
    assert!(silent_since.elapsed() >= Duration::from_millis(500), "the idle timeout itself is to end it");
    let (runtime, _link) = party.join().expect("no panic");
    runtime.shutdown_background();
}

async fn a_silent_link_stays_open_past_the_idle_timeout(carrier: Carrier) {
    let (at_coordinator, at_party) =
        Consortium::with_idle_timeout(carrier, Duration::from_secs(2)).link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    timeout(Duration::from_secs(5), receiver.recv()).await.expect_err("nothing was sent");
    sender.send(b"still here").await.expect("kept alive");
    assert_eq!(receiver.recv().await, Ok(Some(b"still here".to_vec())));
}

async fn a_port_in_use_is_named(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (_listener, address) = consortium.listen();
    let error = Listener::bind(address, &consortium.coordinator, Roster::default(), &consortium.settings)
        .expect_err("taken");
    assert!(matches!(error, BindError::PortInUse { address: taken, .. } if taken == address));
    let kind = if carrier == Carrier::Quic { "UDP" } else { "TCP" };
    let named = format!("{kind} port {} is already in use", address.port());
    assert!(error.to_string().contains(&named), "{error}");
}

async fn nobody_at_the_address_is_unreachable(carrier: Carrier) {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound");
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(300), ..settings_over(carrier) };
    let consortium = Consortium { settings, ..Consortium::over(carrier) };
    let error = failure(consortium.connect(address, &consortium.first, FIRST).await);
    assert!(
        matches!(&error, ConnectError::Unreachable { target, .. } if *target == address.into()),
        "{error}"
    );
    assert!(error.is_network_fault());
    let tried = format!("{address} ({carrier}): ");
    assert!(error.to_string().contains(&tried), "{error}");
}

async fn an_address_that_cannot_be_reached_at_all_is_this_sides_fault(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let nowhere = match carrier {
        Carrier::Quic => SocketAddr::from(([127, 0, 0, 1], 0)),
        // The broadcast address is none of a machine.
        Carrier::Tcp => SocketAddr::from(([255, 255, 255, 255], 443)),
    };
    let error = failure(consortium.connect(nowhere, &consortium.first, FIRST).await);
    assert!(matches!(error, ConnectError::Socket { .. }), "{error}");
}

async fn a_slow_peer_holds_nobody_up(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let client = raw::honest_client(carrier, &consortium.first);
    // It finishes TLS and then never greets.
    let (slow, nobody) =
        tokio::join!(client.shake_hands(address), timeout(Duration::from_millis(300), listener.accept()));
    let _slow = slow.expect("let in as far as TLS");
    nobody.expect_err("no greeting came");

    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.second, SECOND));
    assert_eq!(accepted.map(|link| link.peer()), Ok(SECOND));
    connected.expect("let in");
}

async fn a_peer_that_never_greets_is_sent_away(carrier: Carrier) {
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(1000), ..settings_over(carrier) };
    let consortium = Consortium { settings, ..Consortium::over(carrier) };
    let (mut listener, address) = consortium.listen();
    let client = raw::honest_client(carrier, &consortium.first);
    let (slow, refused) = tokio::join!(client.shake_hands(address), listener.accept());
    assert!(matches!(refusal(refused), AcceptError::TooSlow { .. }));
    timeout(Duration::from_secs(5), slow.expect("let in as far as TLS").closed()).await.expect("sent away");
}

async fn rubbish_does_not_stop_a_listener(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    for length in [1, 20, 1200] {
        match carrier {
            Carrier::Quic => drop(socket.send_to(&pattern(length), address).await.expect("sent")),
            Carrier::Tcp => {
                let mut stream = TcpStream::connect(address).await.expect("a listener");
                stream.write_all(&pattern(length)).await.expect("sent");
                drop(stream);
                assert!(matches!(refusal(listener.accept().await), AcceptError::Handshake { .. }));
            }
        }
    }
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    assert_eq!(accepted.map(|link| link.peer()), Ok(FIRST));
    connected.expect("let in");
}

/// CONS-11
async fn a_replaced_roster_lets_in_its_parties_alone_and_ends_no_link(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let (accepted, connected) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    let new_certificate = identity("first");
    let pins = [(new_certificate.fingerprint(), FIRST), (consortium.second.fingerprint(), SECOND)];
    listener.replace_roster(Roster::new(pins).expect("two parties"));

    let (refused, failed) =
        tokio::join!(listener.accept(), consortium.connect(address, &consortium.first, FIRST));
    assert!(matches!(refusal(refused), AcceptError::NotInConsortium { .. }));
    assert!(matches!(failure(failed), ConnectError::NotInConsortium { .. }));
    let (let_in, linked) =
        tokio::join!(listener.accept(), consortium.connect(address, &new_certificate, FIRST));
    assert_eq!(let_in.map(|link| link.peer()), Ok(FIRST));
    linked.expect("in the new roster");

    let (mut sender, _party_receiver) = connected.expect("let in").split();
    let (_coordinator_sender, mut receiver) = accepted.expect("enrolled").split();
    sender.send(b"still here").await.expect("open");
    assert_eq!(receiver.recv().await, Ok(Some(b"still here".to_vec())));
}

async fn links_outlive_their_listener_which_lets_nobody_in_any_more(carrier: Carrier) {
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(2000), ..settings_over(carrier) };
    let consortium = Consortium { settings, ..Consortium::over(carrier) };
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

over_both_carriers! {
    a_port_in_use_is_named,
    nobody_at_the_address_is_unreachable,
    an_address_that_cannot_be_reached_at_all_is_this_sides_fault,
    rubbish_does_not_stop_a_listener,
    closing_delivers_every_frame_and_the_reason,
    a_peer_that_reads_late_still_gets_what_was_sent_before_closing,
    a_peer_that_hears_the_end_and_leaves_at_once_does_not_spoil_the_closing,
    a_dropped_link_is_no_clean_end,
    an_end_in_the_middle_of_a_frame_is_no_clean_end,
    an_aborted_link_tells_the_reason,
    a_peer_that_vanishes_is_missed_within_the_idle_timeout,
    a_silent_link_stays_open_past_the_idle_timeout,
    a_slow_peer_holds_nobody_up,
    a_peer_that_never_greets_is_sent_away,
    /// CONS-11
    a_replaced_roster_lets_in_its_parties_alone_and_ends_no_link,
    links_outlive_their_listener_which_lets_nobody_in_any_more,
}
