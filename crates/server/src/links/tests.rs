use cloister_params::id::{BlockId, Digest, Round};
use cloister_transport::{
    Fingerprint, Identity, LinkError, Listener, Roster, TransportSettings, Validity, connect,
};
use cloister_wire::frame::{CHUNK_BYTES, Chunk};
use cloister_wire::message::Message;
use tokio::time::timeout;

use super::*;

const PARTY: PartyId = PartyId(1);
const OTHER: PartyId = PartyId(2);
/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(60);

/// Limits that no link of these tests reaches but that of bytes.
fn bytes(most_waiting: u64) -> LinkLimits {
    LinkLimits { most_waiting, stalled: LONG }
}

struct Site {
    listener: Listener,
    identities: BTreeMap<PartyId, Identity>,
    coordinator: Fingerprint,
}

impl Site {
    fn new() -> Self {
        let identity = |name| Identity::generate(name, Validity::unlimited()).expect("randomness");
        let coordinator = identity("coordinator");
        let identities = BTreeMap::from([(PARTY, identity("one")), (OTHER, identity("other"))]);
        let pins = identities.iter().map(|(party, identity)| (identity.fingerprint(), *party));
        let roster = Roster::new(pins).expect("two parties");
        let any = ([127, 0, 0, 1], 0).into();
        let listener =
            Listener::bind(any, &coordinator, roster, &TransportSettings::default()).expect("a free port");
        Self { listener, identities, coordinator: coordinator.fingerprint() }
    }

    /// Lets a party in, and takes its link into use.
    async fn connect(&mut self, party: PartyId, links: &mut Links) -> (FrameSender, FrameReceiver) {
        let (address, settings) =
            (self.listener.local_address().expect("bound"), TransportSettings::default());
        let identity = self.identities[&party].clone();
        let connecting = connect(address, &identity, self.coordinator, party, &settings);
        let (accepted, connected) = tokio::join!(self.listener.accept(), connecting);
        links.add(accepted.expect("an enrolled party"));
        connected.expect("let in").split()
    }
}

fn chunk(index: u32) -> Frame {
    let bytes = vec![index as u8; CHUNK_BYTES];
    Frame::Chunk(Chunk { round: Round(1), owner: PartyId(0), block: BlockId(0), index, bytes })
}

/// ROUND-32
#[tokio::test]
async fn a_party_that_does_not_read_is_cut_and_another_is_not() {
    let mut site = Site::new();
    let (mut links, mut reports) = Links::new(bytes(4 * CHUNK_BYTES as u64));
    let (_sender, mut deaf) = site.connect(PARTY, &mut links).await;
    let (_other_sender, mut reader) = site.connect(OTHER, &mut links).await;
    let mut sent = 0;
    while links.reason_for_cutting(PARTY).is_none() {
        assert!(sent < 100, "what waits is bounded");
        links.send(PARTY, &chunk(sent));
        links.send(OTHER, &chunk(sent));
        // Control: the same frames to a party that reads.
        let read = timeout(LONG, reader.recv()).await.expect("it comes").expect("open");
        assert_eq!(read, Some(chunk(sent).encode()));
        sent += 1;
    }
    assert_eq!(links.reason_for_cutting(OTHER), None);
    let ended = timeout(LONG, reports.recv()).await.expect("it is reported");
    assert!(matches!(ended, Some(LinkReport::Ended(PARTY, 1, _))), "{ended:?}");
    let reported = loop {
        match timeout(LONG, deaf.recv()).await.expect("the reason arrives") {
            Ok(_) => {}
            Err(LinkError::ClosedByPeer { reason, .. }) => break reason,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(reported.contains("connect again"), "{reported}");
    // It comes back, and is served again.
    let (_sender, mut back) = site.connect(PARTY, &mut links).await;
    assert_eq!(links.reason_for_cutting(PARTY), None);
    links.send(PARTY, &chunk(7));
    assert_eq!(timeout(LONG, back.recv()).await.expect("it comes"), Ok(Some(chunk(7).encode())));
}

/// ROUND-32
#[tokio::test]
async fn a_party_that_floods_waits_until_its_frames_are_taken() {
    let mut site = Site::new();
    let (mut links, mut reports) = Links::new(bytes(1 << 20));
    let (mut sender, _receiver) = site.connect(PARTY, &mut links).await;
    let (written, mut count) = tokio::sync::watch::channel(0);
    let flood = tokio::spawn(async move {
        for index in 0..u32::MAX {
            sender.send(&chunk(index).encode()).await.expect("open");
            written.send_replace(index + 1);
        }
    });
    // It goes on until nothing moves for a while, with what two sides' windows of 8 MiB hold beside the
    // reports.
    while timeout(Duration::from_secs(2), count.changed()).await.is_ok() {
        let sent = *count.borrow();
        assert!(sent < 2 * MOST_REPORTS as u32, "{sent} frames of 4 MiB wait for nobody");
    }
    // Another party's frame is taken in its turn.
    let (mut other, _other_receiver) = site.connect(OTHER, &mut links).await;
    let request = Frame::Message(Message::ModelRequest { model: Digest([3; 32]), missing: vec![] });
    other.send(&request.encode()).await.expect("open");
    for taken in 0..4 * MOST_REPORTS {
        match timeout(LONG, reports.recv()).await.expect("frames wait") {
            Some(LinkReport::Frame(OTHER, frame)) => {
                assert_eq!(frame, request);
                // Control: the flood goes on as its frames are taken.
                assert!(taken > 0 && timeout(LONG, count.changed()).await.is_ok());
                flood.abort();
                return;
            }
            Some(LinkReport::Frame(PARTY, Frame::Chunk(_))) => {}
            report => panic!("{report:?}"),
        }
    }
    panic!("the other party's frame does not come");
}

/// More chunks than the windows of both sides hold.
const MORE_THAN_FITS: u32 = 8;

/// ROUND-32
#[tokio::test]
async fn a_party_that_neither_reads_nor_sends_is_lost_and_one_that_uploads_is_not() {
    let mut site = Site::new();
    let limits = LinkLimits { stalled: Duration::from_millis(500), ..bytes(1 << 30) };
    let (mut links, mut reports) = Links::new(limits);
    let (_sender, _deaf) = site.connect(PARTY, &mut links).await;
    let (mut uploader, _uploaders_receiver) = site.connect(OTHER, &mut links).await;
    for index in 0..MORE_THAN_FITS {
        links.send(PARTY, &chunk(index));
        links.send(OTHER, &chunk(index));
    }
    let request = Frame::Message(Message::ModelRequest { model: Digest([3; 32]), missing: vec![] }).encode();
    let upload = tokio::spawn(async move {
        while uploader.send(&request).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let lost = loop {
        match timeout(LONG, reports.recv()).await.expect("it is reported") {
            Some(LinkReport::Frame(OTHER, _)) => {}
            other => break other,
        }
    };
    assert!(matches!(lost, Some(LinkReport::Ended(PARTY, 1, _))), "{lost:?}");
    assert!(links.reason_for_cutting(PARTY).is_some_and(|reason| reason.contains("read and sent nothing")));
    // Control: it reads as little, and its frames still come.
    for _ in 0..20 {
        let report = timeout(LONG, reports.recv()).await.expect("it goes on");
        assert!(matches!(report, Some(LinkReport::Frame(OTHER, _))), "{report:?}");
    }
    assert_eq!(links.reason_for_cutting(OTHER), None);
    upload.abort();
}

/// ROUND-32: what waits for a party that never reads keeps the coordinator from closing for a limited time.
#[tokio::test]
async fn a_party_that_never_reads_does_not_keep_links_from_closing() {
    let mut site = Site::new();
    let (mut links, _reports) = Links::new(bytes(1 << 30));
    let (_sender, _deaf) = site.connect(PARTY, &mut links).await;
    let (_other_sender, mut reader) = site.connect(OTHER, &mut links).await;
    for index in 0..MORE_THAN_FITS {
        links.send(PARTY, &chunk(index));
        links.send(OTHER, &chunk(index));
    }
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = reader.recv().await {} });
    let closed = timeout(LONG, links.close("the end", Duration::from_secs(2))).await.expect("it ends");
    // The second is the control: it reads.
    assert_eq!(closed, (BTreeSet::from([OTHER]), BTreeSet::from([PARTY])));
    reading.await.expect("no panic");
}
