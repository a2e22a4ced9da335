//! QUIC and TCP side by side: which one a party gets, and how it comes back to QUIC.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloister_transport::{
    Carrier, Carriers, ConnectError, Link, Listener, Roster, TransportSettings, connect,
};
use common::raw::Relay;
use common::{Consortium, FIRST, failure, identity, pattern, settings_over};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

/// A coordinator at an address.
fn listen_at(consortium: &Consortium, address: SocketAddr, carriers: Carriers) -> Listener {
    let roster = Roster::new([(consortium.first.fingerprint(), FIRST)]).expect("one party");
    let settings = TransportSettings { carriers, ..TransportSettings::default() };
    Listener::bind(address, &consortium.coordinator, roster, &settings).expect("a free port")
}

/// Links the first party, and returns both ends.
async fn link_to(listener: &mut Listener, consortium: &Consortium, address: SocketAddr) -> (Link, Link) {
    let connecting = consortium.connect(address, &consortium.first, FIRST);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    (accepted.expect("an enrolled party"), connected.expect("the pinned coordinator"))
}

async fn carries_frames((at_coordinator, at_party): (Link, Link)) {
    let frame = pattern(100_000);
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    sender.send(&frame).await.expect("open");
    assert!(receiver.recv().await.expect("open") == Some(frame));
}

#[tokio::test]
async fn a_party_gets_quic_from_a_coordinator_that_has_both() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let start = Instant::now();
    let (at_coordinator, at_party) = link_to(&mut listener, &consortium, address).await;
    assert_eq!((at_coordinator.carrier(), at_party.carrier()), (Carrier::Quic, Carrier::Quic));
    assert!(start.elapsed() < Duration::from_secs(2), "QUIC answers before TCP is tried");

    // The same port has TCP.
    let over_tcp = Consortium { settings: settings_over(Carrier::Tcp), ..consortium };
    let (at_coordinator, at_party) = link_to(&mut listener, &over_tcp, address).await;
    assert_eq!((at_coordinator.carrier(), at_party.carrier()), (Carrier::Tcp, Carrier::Tcp));
    assert_eq!(at_party.handle().carrier(), Carrier::Tcp);
    assert_eq!(at_party.handle().address(), address);
}

#[tokio::test]
async fn a_party_behind_a_firewall_without_udp_gets_tcp_and_returns_to_quic() {
    let consortium = Consortium::new();
    // The firewall: packets to this socket go nowhere.
    let firewall = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = firewall.local_addr().expect("bound");
    let mut listener = listen_at(&consortium, address, Carriers::Tcp);
    let start = Instant::now();
    let links = link_to(&mut listener, &consortium, address).await;
    assert_eq!(links.1.carrier(), Carrier::Tcp);
    let waited = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
    carries_frames(links).await;

    drop((firewall, listener));
    let mut listener = listen_at(&consortium, address, Carriers::Auto);
    let links = link_to(&mut listener, &consortium, address).await;
    assert_eq!(links.1.carrier(), Carrier::Quic, "UDP gets through again");
    carries_frames(links).await;
}

#[tokio::test]
async fn a_coordinator_without_quic_is_another_one_or_unreachable_by_both_names() {
    let settings =
        TransportSettings { handshake_timeout: Duration::from_millis(500), ..TransportSettings::default() };
    let consortium = Consortium { settings, ..Consortium::new() };
    let firewall = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = firewall.local_addr().expect("bound");
    let error = failure(consortium.connect(address, &consortium.first, FIRST).await);
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_network_fault(), "{error}");
    for tried in [format!("{address} (QUIC): no answer"), format!("{address} (TCP): ")] {
        assert!(error.to_string().contains(&tried), "{error}");
    }

    let mut listener = listen_at(&consortium, address, Carriers::Tcp);
    let other = identity("coordinator").fingerprint();
    let connecting = connect(address, &consortium.first, other, FIRST, &consortium.settings);
    let (_, connected) = tokio::join!(listener.accept(), connecting);
    let error = failure(connected);
    assert!(matches!(error, ConnectError::WrongCoordinator { .. }) && !error.is_network_fault(), "{error}");
    assert!(error.to_string().contains(&format!("{address} (TCP)")), "{error}");
}

#[tokio::test]
async fn a_name_is_looked_up_and_each_of_its_addresses_is_tried() {
    let consortium = Consortium::new();
    // The name has ::1 too on most machines, where nobody listens.
    let (mut listener, address) = consortium.listen();
    let host: cloister_transport::HostPort = format!("localhost:{}", address.port()).parse().expect("a name");
    let pinned = consortium.coordinator.fingerprint();
    let connecting = connect(host, &consortium.first, pinned, FIRST, &consortium.settings);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    carries_frames((accepted.expect("enrolled"), connected.expect("let in"))).await;
}

#[tokio::test]
async fn a_coordinator_at_all_ipv6_addresses_serves_ipv4_too() {
    let consortium = Consortium::new();
    let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        println!("SKIPPED: this machine has no IPv6");
        return;
    }
    for carrier in [Carrier::Quic, Carrier::Tcp] {
        let over_one = Consortium { settings: settings_over(carrier), ..Consortium::new() };
        let mut listener = listen_at(&over_one, any, Carriers::Auto);
        let port = listener.local_address().expect("bound").port();
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            let address = address.parse().expect("an address");
            let links = link_to(&mut listener, &over_one, address).await;
            assert_eq!(links.1.carrier(), carrier);
            carries_frames(links).await;
        }
    }
    drop(consortium);
}

/// A router that takes 0.7 s to deliver each packet over UDP to a coordinator.
async fn slow_router(coordinator: SocketAddr) -> (SocketAddr, Relay) {
    let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
    let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
    let address = inside.local_addr().expect("bound");
    let relay = tokio::spawn(async move {
        let (mut out, mut back) = (vec![0; 2048], vec![0; 2048]);
        let mut party = address;
        loop {
            let (socket, packet, to) = tokio::select! {
                Ok((length, from)) = inside.recv_from(&mut out) => {
                    party = from;
                    (outside.clone(), out[..length].to_vec(), coordinator)
                }
                Ok((length, _)) = outside.recv_from(&mut back) => (inside.clone(), back[..length].to_vec(), party),
            };
            tokio::spawn(async move {
                sleep(Duration::from_millis(700)).await;
                let _ = socket.send_to(&packet, to).await;
            });
        }
    });
    (address, Relay(relay))
}

#[tokio::test]
async fn a_party_whose_quic_is_slow_makes_one_link() {
    let consortium = Consortium::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut over_quic = listen_at(&consortium, any, Carriers::Quic);
    let (address, _relay) = slow_router(over_quic.local_address().expect("bound")).await;
    let mut over_tcp = listen_at(&consortium, address, Carriers::Tcp);
    let quic_alone = Consortium { settings: settings_over(Carrier::Quic), ..consortium };
    let linked = quic_alone.connect(address, &quic_alone.first, FIRST);
    let (accepted, connected) = tokio::join!(over_quic.accept(), linked);
    accepted.and(connected.map_err(|error| panic!("{error}"))).expect("control: QUIC gets through, slowly");

    let consortium = Consortium { settings: TransportSettings::default(), ..quic_alone };
    let links = link_to(&mut over_tcp, &consortium, address).await;
    assert_eq!(links.1.carrier(), Carrier::Tcp);
    let late = timeout(Duration::from_secs(4), async {
        loop {
            if let Ok(link) = over_quic.accept().await {
                break link.peer();
            }
        }
    });
    late.await.expect_err("no second link");
    carries_frames(links).await;
}

/// A router that gives a party another address in the middle of a link.
async fn router(coordinator: SocketAddr, is_changed: Arc<AtomicBool>) -> (SocketAddr, Relay) {
    let inside = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let outside = [
        UdpSocket::bind("127.0.0.2:0").await.expect("a free port"),
        UdpSocket::bind("127.0.0.3:0").await.expect("a free port"),
    ];
    let address = inside.local_addr().expect("bound");
    let relay = tokio::spawn(async move {
        let (mut out, mut back, mut late) = (vec![0; 2048], vec![0; 2048], vec![0; 2048]);
        let mut party = None;
        loop {
            tokio::select! {
                Ok((length, from)) = inside.recv_from(&mut out) => {
                    party = Some(from);
                    let way = &outside[usize::from(is_changed.load(Ordering::Relaxed))];
                    let _ = way.send_to(&out[..length], coordinator).await;
                }
                Ok((length, _)) = outside[0].recv_from(&mut back) => {
                    // The old address leads nowhere any more.
                    if let (Some(party), false) = (party, is_changed.load(Ordering::Relaxed)) {
                        let _ = inside.send_to(&back[..length], party).await;
                    }
                }
                Ok((length, _)) = outside[1].recv_from(&mut late) => {
                    if let Some(party) = party {
                        let _ = inside.send_to(&late[..length], party).await;
                    }
                }
            }
        }
    });
    (address, Relay(relay))
}

#[tokio::test]
async fn a_link_over_quic_survives_another_address_of_the_party() {
    let consortium = Consortium::over(Carrier::Quic);
    let (mut listener, address) = consortium.listen();
    let is_changed = Arc::new(AtomicBool::new(false));
    let (way, _relay) = router(address, is_changed.clone()).await;
    let (at_coordinator, at_party) = link_to(&mut listener, &consortium, way).await;
    let handle = at_coordinator.handle();
    let before = handle.address();
    is_changed.store(true, Ordering::Relaxed);
    carries_frames((at_coordinator, at_party)).await;
    assert_ne!(handle.address().ip(), before.ip());
}
