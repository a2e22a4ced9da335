//! Links over TCP whose peers stall, end, or break the rules of records.

#![allow(clippy::disallowed_methods)]

mod common;

use std::time::{Duration, Instant};

use cloister_transport::{Carrier, FrameReceiver, FrameSender, LinkError, LinkHandle};
use common::raw::Peer;
use common::{Consortium, FIRST, over_both_carriers, raw};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// A coordinator's link to a peer that writes its records itself.
async fn raw_link(idle_timeout: Duration) -> (LinkHandle, FrameSender, FrameReceiver, Peer) {
    let consortium = Consortium::with_idle_timeout(Carrier::Tcp, idle_timeout);
    let (mut listener, address) = consortium.listen();
    let client = raw::honest_client(Carrier::Tcp, &consortium.first);
    let (link, peer) = tokio::join!(listener.accept(), client.greet(address, FIRST.0));
    let link = link.expect("an enrolled party");
    let handle = link.handle();
    let (sender, receiver) = link.split();
    (handle, sender, receiver, peer.expect("an enrolled party"))
}

/// WIRE-08
#[tokio::test]
async fn a_peer_that_stalls_in_a_frame_is_missed_after_the_idle_timeout() {
    let idle_timeout = Duration::from_millis(900);
    let (_handle, _sender, mut receiver, mut peer) = raw_link(idle_timeout).await;
    // Half of a frame, in half of a record.
    peer.write_raw(&[1, 0, 9, 0, 0, 0, 9, 1, 2]).await.expect("open");
    let start = Instant::now();
    let outcome = timeout(Duration::from_secs(10), receiver.recv()).await.expect("noticed in time");
    assert_eq!(outcome, Err(LinkError::Vanished { peer: FIRST }));
    assert!(start.elapsed() >= idle_timeout / 2, "the idle timeout is to end it");

    // Control: the same peer is not missed as long as it gives signs of life.
    let (_handle, _sender, mut receiver, mut peer) = raw_link(idle_timeout).await;
    peer.write_raw(&[1, 0, 6, 0, 0, 0, 9, 1, 2]).await.expect("open");
    for _ in 0..6 {
        timeout(idle_timeout / 3, receiver.recv()).await.expect_err("the frame is not complete");
        peer.write_raw(&[3, 0, 0]).await.expect("open");
    }
    peer.write(&[3, 4, 5, 6, 7, 8, 9]).await.expect("open");
    assert_eq!(receiver.recv().await, Ok(Some((1..=9).collect())));
}

/// WIRE-08
#[tokio::test]
async fn a_side_without_frames_gives_signs_of_life() {
    let idle_timeout = Duration::from_millis(900);
    let (_handle, _sender, _receiver, peer) = raw_link(idle_timeout).await;
    let Peer::Tcp(mut stream) = peer else { panic!("over TCP") };
    // The opening with its idle timeout, and the party's number.
    let mut start = [0; 14];
    stream.read_exact(&mut start).await.expect("open");
    assert_eq!(start, [0, 0, 4, 0, 0, 3, 132, 1, 0, 4, 0, 0, 0, 1]);
    let mut sign = [9; 3];
    let in_time = timeout(idle_timeout / 2, stream.read_exact(&mut sign)).await;
    in_time.expect("three times in an idle timeout").expect("open");
    assert_eq!(sign, [3, 0, 0]);
}

#[tokio::test]
async fn a_peer_whose_program_ended_is_missed_at_once() {
    let (handle, _sender, mut receiver, peer) = raw_link(Duration::from_secs(30)).await;
    drop(peer);
    let outcome = timeout(Duration::from_secs(2), receiver.recv()).await.expect("noticed at once");
    assert_eq!(outcome, Err(LinkError::Vanished { peer: FIRST }));
    assert_eq!(handle.closed().await, LinkError::Vanished { peer: FIRST });
}

/// WIRE-07
#[tokio::test]
async fn a_peer_that_breaks_the_rules_of_records_is_cut_off_with_the_reason() {
    for (bytes, reason) in [
        (&[8, 0, 0][..], "a record of kind 8 and 0 bytes"),
        (&[1, 0x40, 1], "a record of kind 1 and 16385 bytes"),
        (&[0, 0, 4, 0, 0, 0xea, 0x60], "a second opening"),
        (&[5, 0, 0], "a receipt for an end that was not sent"),
        (&[4, 0, 0, 1, 0, 1, 9], "data after the end"),
    ] {
        let (_handle, mut sender, mut receiver, mut peer) = raw_link(Duration::from_secs(30)).await;
        peer.write_raw(bytes).await.expect("open");
        let words = timeout(Duration::from_secs(5), peer.closed()).await.expect("refused at once");
        assert!(words.contains(reason), "{words}");
        let fault = sender.send(b"more").await.expect_err("cut off");
        assert!(matches!(&fault, LinkError::Transport { detail, .. } if detail.contains(reason)), "{fault}");
        assert!(receiver.recv().await.is_err());
    }
}

/// A reason must not wait behind frames that nobody reads.
async fn an_abort_reaches_a_peer_that_does_not_read(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (handle, peers_handle) = (at_party.handle(), at_coordinator.handle());
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, _unread) = at_coordinator.split();
    let frame = vec![7; 1 << 20];
    let sending = async {
        loop {
            sender.send(&frame).await.expect("open");
        }
    };
    timeout(Duration::from_millis(500), sending).await.expect_err("nobody reads");
    handle.abort("the plan is void");
    let seen = timeout(Duration::from_secs(5), peers_handle.closed()).await.expect("at once");
    let expected = LinkError::ClosedByPeer { peer: FIRST, reason: "the plan is void".to_owned() };
    assert_eq!(seen, expected);
}

over_both_carriers! {
    an_abort_reaches_a_peer_that_does_not_read,
}
