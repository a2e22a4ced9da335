//! Frames: sizes, order, limits, back-pressure, cancellation, the cap on the uplink.

#![allow(clippy::disallowed_methods)]

mod common;

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use cloister_transport::{
    Carrier, FrameReceiver, FrameSender, Link, LinkError, MAX_FRAME, TransportSettings,
};
use common::{Consortium, FIRST, over_both_carriers, pattern, raw, settings_over};
use tokio::time::timeout;

async fn echo(link: Link) {
    let (mut sender, mut receiver) = link.split();
    while let Ok(Some(frame)) = receiver.recv().await {
        sender.send(&frame).await.expect("the peer reads");
    }
}

async fn frames_of_all_sizes_come_back_as_they_were(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let echo = tokio::spawn(echo(at_coordinator));
    let counters = at_party.handle().counters();
    let (mut sender, mut receiver) = at_party.split();
    let sizes = [0, 1, 1 << 20, MAX_FRAME];
    for size in sizes {
        let frame = pattern(size);
        let (sent, received) = tokio::join!(sender.send(&frame), receiver.recv());
        sent.expect("within the limit");
        assert!(received.expect("an echo").expect("a frame") == frame, "a frame of {size} bytes changed");
    }
    let carried: usize = sizes.iter().map(|size| size + 4).sum();
    assert_eq!((counters.sent(), counters.received()), (carried as u64, carried as u64));
    sender.close("done").await.expect("all echoed");
    echo.await.expect("the echo ends");
}

async fn one_byte_too_many_is_refused_before_sending_and_the_link_goes_on(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    let error = sender.send(&vec![0; MAX_FRAME + 1]).await;
    assert_eq!(error, Err(LinkError::TooLongToSend { length: MAX_FRAME + 1 }));
    sender.send(b"next").await.expect("the link is whole");
    assert_eq!(receiver.recv().await, Ok(Some(b"next".to_vec())));
}

async fn a_peer_that_announces_too_much_is_cut_off(carrier: Carrier) {
    let consortium = Consortium::over(carrier);
    let (mut listener, address) = consortium.listen();
    let client = raw::honest_client(carrier, &consortium.first);
    let (link, peer) = tokio::join!(listener.accept(), client.greet(address, FIRST.0));
    let mut peer = peer.expect("an enrolled party");
    let (_sender, mut receiver) = link.expect("an enrolled party").split();

    peer.write(&(MAX_FRAME as u32 + 1).to_be_bytes()).await.expect("open");
    let error = timeout(Duration::from_secs(5), receiver.recv()).await.expect("refused at once");
    assert_eq!(error, Err(LinkError::AnnouncedTooLong { peer: FIRST, announced: MAX_FRAME + 1 }));
    let reason = peer.closed().await;
    assert!(reason.contains("a frame of 8454145 bytes was announced, and 8454144 is the limit"), "{reason}");
}

async fn send_numbered(mut sender: FrameSender, frames: u32, size: usize) -> FrameSender {
    for number in 0..frames {
        let mut frame = number.to_be_bytes().to_vec();
        frame.resize(size, number as u8);
        sender.send(&frame).await.expect("the peer reads");
    }
    sender
}

async fn receive_numbered(mut receiver: FrameReceiver, frames: u32, size: usize) -> FrameReceiver {
    for number in 0..frames {
        let frame = receiver.recv().await.expect("open").expect("a frame");
        assert_eq!((frame.len(), &frame[..4]), (size, &number.to_be_bytes()[..]));
        assert!(frame[4..].iter().all(|&byte| byte == number as u8));
    }
    receiver
}

async fn two_hundred_frames_keep_their_order_while_both_directions_are_busy(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (coordinator, party) = (at_coordinator.split(), at_party.split());
    let tasks = (
        tokio::spawn(send_numbered(coordinator.0, 200, 50_000)),
        tokio::spawn(send_numbered(party.0, 200, 30_000)),
        tokio::spawn(receive_numbered(coordinator.1, 200, 30_000)),
        tokio::spawn(receive_numbered(party.1, 200, 50_000)),
    );
    let (first, second, third, fourth) = tokio::join!(tasks.0, tasks.1, tasks.2, tasks.3);
    assert!(first.is_ok() && second.is_ok() && third.is_ok() && fourth.is_ok());
}

async fn a_sender_waits_for_a_peer_that_does_not_read(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let counters = at_party.handle().counters();
    let (sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, receiver) = at_coordinator.split();
    let mut sending = tokio::spawn(send_numbered(sender, 64, 1 << 20));
    timeout(Duration::from_millis(1500), &mut sending).await.expect_err("64 MiB do not fit into buffers");
    // Each side buffers at most 8 MiB; the rest is for what is being written.
    assert!(counters.sent() < 32 << 20, "{} bytes were taken without a reader", counters.sent());
    receive_numbered(receiver, 64, 1 << 20).await;
    sending.await.expect("goes on once the peer reads");
}

async fn a_cancelled_receive_loses_nothing(carrier: Carrier) {
    let (at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    let sending = tokio::spawn(send_numbered(sender, 20, 300_000));
    let (mut number, mut cancelled) = (0u32, 0);
    while number < 20 {
        match timeout(Duration::from_micros(50), receiver.recv()).await {
            Ok(frame) => {
                let frame = frame.expect("open").expect("a frame");
                assert_eq!((frame.len(), &frame[..4]), (300_000, &number.to_be_bytes()[..]));
                number += 1;
            }
            Err(_) => cancelled += 1,
        }
    }
    assert!(cancelled > 0, "the test is to cancel at least once");
    sending.await.expect("all received");
}

async fn after_a_cancelled_send_the_link_says_so_instead_of_mixing_frames(carrier: Carrier) {
    let (_at_coordinator, at_party) = Consortium::over(carrier).link().await;
    let (mut sender, _receiver) = at_party.split();
    let frame = pattern(MAX_FRAME);
    let cancelled = timeout(Duration::from_millis(500), async {
        loop {
            sender.send(&frame).await.expect("open");
        }
    });
    cancelled.await.expect_err("nobody reads");
    let error = LinkError::PartlySent { peer: cloister_params::id::PartyId::COORDINATOR };
    assert_eq!(sender.send(b"next").await, Err(error.clone()));
    assert_eq!(sender.close("done").await, Err(error));
}

async fn time_to_carry(
    carrier: Carrier,
    bytes: usize,
    uplink_bytes_per_second: Option<NonZeroU64>,
) -> Duration {
    let settings = TransportSettings { uplink_bytes_per_second, ..settings_over(carrier) };
    let (at_coordinator, at_party) = Consortium { settings, ..Consortium::over(carrier) }.link().await;
    let (mut sender, _party_receiver) = at_party.split();
    let (_coordinator_sender, mut receiver) = at_coordinator.split();
    let start = Instant::now();
    let frame = pattern(bytes);
    let (sent, received) = tokio::join!(sender.send(&frame), receiver.recv());
    sent.expect("within the limit");
    assert!(received.expect("open").expect("a frame") == frame);
    start.elapsed()
}

async fn an_uplink_cap_holds_a_sender_back(carrier: Carrier) {
    // A megabyte at a megabyte a second, less the first piece and the burst.
    let capped = time_to_carry(carrier, 1_000_000, NonZeroU64::new(1_000_000)).await;
    assert!(capped >= Duration::from_millis(900), "took only {capped:?}");
    let open = time_to_carry(carrier, 1_000_000, None).await;
    assert!(open < capped, "without a cap it took {open:?}");
}

over_both_carriers! {
    frames_of_all_sizes_come_back_as_they_were,
    one_byte_too_many_is_refused_before_sending_and_the_link_goes_on,
    a_peer_that_announces_too_much_is_cut_off,
    two_hundred_frames_keep_their_order_while_both_directions_are_busy,
    a_sender_waits_for_a_peer_that_does_not_read,
    a_cancelled_receive_loses_nothing,
    after_a_cancelled_send_the_link_says_so_instead_of_mixing_frames,
    an_uplink_cap_holds_a_sender_back,
}
