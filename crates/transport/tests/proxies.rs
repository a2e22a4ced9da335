//! Links through HTTP proxies, honest ones and others.

#![allow(clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use cloister_transport::{
    Carrier, Carriers, ConnectError, HostPort, Link, Listener, Proxy, ProxyPassword, TransportSettings,
    connect,
};
use common::raw::Relay;
use common::{Consortium, FIRST, failure, pattern};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The name under which only the proxy knows the coordinator.
const NAME: &str = "coordinator.invalid";

/// A small CONNECT proxy, which wants this value of `Proxy-Authorization` if there is one.
async fn honest_proxy(coordinator: SocketAddr, wanted: Option<&'static str>) -> (HostPort, Relay) {
    serve(move |stream| tunnel(stream, coordinator, wanted)).await
}

async fn tunnel(stream: TcpStream, coordinator: SocketAddr, wanted: Option<&'static str>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a request");
        match line.strip_suffix("\r\n").expect("a whole line") {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let port = coordinator.port();
    assert_eq!(lines[0], format!("CONNECT {NAME}:{port} HTTP/1.1"));
    assert_eq!(lines[1], format!("Host: {NAME}:{port}"));
    let authorization = lines.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    let mut stream = stream.into_inner();
    if authorization != wanted {
        let refusal =
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"out\"\r\n\r\n";
        stream.write_all(refusal).await.expect("open");
        return;
    }
    let mut onward = TcpStream::connect(coordinator).await.expect("the coordinator listens");
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await.expect("open");
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// A server that handles each connection in this way.
async fn serve<Handling>(handle: impl Fn(TcpStream) -> Handling + Send + 'static) -> (HostPort, Relay)
where
    Handling: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").into();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    (address, Relay(serving))
}

/// A server that answers every connection with these bytes, and then waits.
async fn answering(answer: &'static [u8]) -> (HostPort, Relay) {
    serve(move |mut stream| async move {
        stream.write_all(answer).await.expect("open");
        tokio::time::sleep(Duration::from_mins(1)).await;
    })
    .await
}

fn settings(address: &HostPort, password: Option<&str>) -> TransportSettings {
    let password = password.map(|text| ProxyPassword::parse(text).expect("a pair"));
    TransportSettings { proxy: Some(Proxy::new(address.clone(), password)), ..TransportSettings::default() }
}

/// Connects to the coordinator under its name, through the proxy of these settings.
async fn connect_by_name(
    consortium: &Consortium,
    port: u16,
    settings: &TransportSettings,
) -> Result<Link, ConnectError> {
    let target: HostPort = format!("{NAME}:{port}").parse().expect("a name");
    connect(target, &consortium.first, consortium.coordinator.fingerprint(), FIRST, settings).await
}

async fn assert_linked(
    listener: &mut Listener,
    connecting: impl Future<Output = Result<Link, ConnectError>>,
) {
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    let (at_coordinator, at_party) = (accepted.expect("enrolled"), connected.expect("let in"));
    assert_eq!((at_coordinator.carrier(), at_party.carrier()), (Carrier::Tcp, Carrier::Tcp));
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    let frame = pattern(3_000_000);
    let (sent, received) = tokio::join!(sender.send(&frame), receiver.recv());
    sent.expect("open");
    assert!(received.expect("open") == Some(frame));
    let (closed, end) = tokio::join!(sender.close("done"), receiver.recv());
    assert_eq!((closed, end), (Ok(()), Ok(None)));
}

#[tokio::test]
async fn a_link_goes_through_a_proxy_that_alone_knows_the_coordinators_name() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let (proxy, _serving) = honest_proxy(address, None).await;
    let through = settings(&proxy, None);
    assert_linked(&mut listener, connect_by_name(&consortium, address.port(), &through)).await;

    // Control: without the proxy the name leads nowhere.
    let direct = TransportSettings::default();
    let error = failure(connect_by_name(&consortium, address.port(), &direct).await);
    assert!(matches!(error, ConnectError::Name { .. }), "{error}");
}

#[tokio::test]
async fn a_proxy_gets_its_password_and_says_when_it_is_wrong() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let (proxy, _serving) = honest_proxy(address, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")).await;
    let right = settings(&proxy, Some("Aladdin:open sesame"));
    assert_linked(&mut listener, connect_by_name(&consortium, address.port(), &right)).await;

    for wrong in [settings(&proxy, Some("Aladdin:open poppy")), settings(&proxy, None)] {
        let error = failure(connect_by_name(&consortium, address.port(), &wrong).await);
        assert!(matches!(error, ConnectError::ProxyRefused { code: 407, .. }) && !error.is_network_fault());
        let text = error.to_string();
        for part in [&proxy.to_string(), NAME, "407 Proxy Authentication Required", "--proxy-password-file"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("poppy"));
    }
}

#[tokio::test]
async fn proxies_that_do_not_connect_are_named_with_what_they_said() {
    let consortium = Consortium::new();
    for (answer, expected, is_network_fault) in [
        (&b"HTTP/1.1 403 Forbidden\r\n\r\n<html>"[..], "403 Forbidden", false),
        (b"HTTP/1.0 502 Bad Gateway\r\n", "502 Bad Gateway", true),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP proxy: it answered \"SSH-2.0-OpenSSH_9.2", false),
        (&[b'H'; 20_000], "no HTTP proxy", false),
        (b"HTTP/1.1 200 OK\r\n\r\n\x1b[2J", "no HTTP proxy: it answered \"\\\\u{1b}[2J", false),
    ] {
        let (proxy, _serving) = answering(answer).await;
        let error = failure(connect_by_name(&consortium, 443, &settings(&proxy, None)).await);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&proxy.to_string()), "{text}");
        assert_eq!(error.is_network_fault(), is_network_fault, "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let consortium = Consortium::new();
    let (proxy, _serving) = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X-More: more\r\n").await.is_ok() {}
    })
    .await;
    let error = failure(connect_by_name(&consortium, 443, &settings(&proxy, None)).await);
    assert!(matches!(error, ConnectError::NotAProxy { .. }), "{error}");
}

#[tokio::test]
async fn a_proxy_that_never_answers_or_is_not_there_is_named() {
    let consortium = Consortium::new();
    let (silent, _serving) = answering(b"HTTP/1.1 2").await;
    let (hasty, _serving_too) = serve(|stream| async { drop(stream) }).await;
    let gone: HostPort = "127.0.0.1:1".parse().expect("an address");
    let unknown: HostPort = "no-such-proxy.invalid:3128".parse().expect("a name");
    for (proxy, detail) in [
        (silent, "no answer to `CONNECT coordinator.invalid:443` in time"),
        (hasty, ""),
        (gone, ""),
        (unknown, ""),
    ] {
        let hurried =
            TransportSettings { handshake_timeout: Duration::from_millis(500), ..settings(&proxy, None) };
        let error = failure(connect_by_name(&consortium, 443, &hurried).await);
        assert!(matches!(error, ConnectError::ProxyUnreachable { .. }), "{error}");
        assert!(error.is_network_fault());
        assert!(error.to_string().contains(&proxy.to_string()), "{error}");
        assert!(error.to_string().contains(detail), "{error}");
    }
}

#[tokio::test]
async fn quic_that_is_asked_for_takes_no_proxy() {
    let consortium = Consortium::new();
    let (mut listener, address) = consortium.listen();
    let gone: HostPort = "127.0.0.1:1".parse().expect("an address");
    let direct = TransportSettings { carriers: Carriers::Quic, ..settings(&gone, None) };
    let pinned = consortium.coordinator.fingerprint();
    let connecting = connect(address, &consortium.first, pinned, FIRST, &direct);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    assert_eq!(accepted.map(|link| link.carrier()), Ok(Carrier::Quic));
    connected.expect("let in");
}
