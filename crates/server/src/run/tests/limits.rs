//! What one party may do to the coordinator.

use super::*;

/// ROUND-32
#[tokio::test]
async fn whoever_exceeds_its_allowance_is_cut_and_not_let_in_before_the_next_round() {
    let site = Site::new("allowance");
    let reported: Arc<Mutex<Vec<String>>> = Arc::default();
    let shown = reported.clone();
    let mut events = move |event: ServerEvent| shown.lock().expect("no panic").push(format!("{event:?}"));
    let (links, mut reports) = Links::new(LinkLimits::new(&site.config));
    let mut server = Server::start(&site.config, links, &mut events).expect("a new folder");
    let pins = (1u32..).map(PartyId).zip(&site.identities[1..]);
    let roster = Roster::new(pins.map(|(party, identity)| (identity.fingerprint(), party))).expect("parties");
    let mut listener =
        Listener::bind(site.config.listen, &site.config.identity, roster, &site.config.transport)
            .expect("a free port");
    let address = listener.local_address().expect("bound");
    server.allowance = Allowance::with_bytes(NEW_LINK as u64 + 1000);
    let was_reported = |what: &str| reported.lock().expect("no panic").iter().any(|line| line.contains(what));
    let mut parties = Box::pin(async {
        let (mut sender, mut receiver) = site.connect(address, FLOODER).await;
        for _ in 0..100 {
            // The link may be cut before all are written.
            let _ = sender.send(&request()).await;
        }
        let first = reason(&mut receiver).await;
        let (_sender, mut receiver) = site.connect(address, FLOODER).await;
        let again = reason(&mut receiver).await;
        // Control: another party has all of its own.
        let (mut other, receiver) = site.connect(address, OTHER).await;
        other.send(&request()).await.expect("open");
        (first, again, other, receiver)
    });
    let (first, again, other, receiver) = loop {
        tokio::select! {
            done = &mut parties => break done,
            step = server.step(&mut listener, &mut reports, None) => step.expect("it goes on"),
        }
    };
    for reason in [first, again] {
        assert!(reason.contains("sent more than") && reason.contains("until the next"), "{reason}");
    }
    assert!(was_reported("Disconnected(PartyId(1), \"it sent more than"), "{:?}", reported.lock());
    // Control: the next round begins, and with it everybody's allowance.
    server.begin_journal().expect("writable");
    let size = || std::fs::metadata(site.config.folder.join("journal")).expect("it is there").len();
    let before = size();
    let mut back = Box::pin(site.connect(address, FLOODER));
    let (mut sender, _receiver) = loop {
        tokio::select! {
            link = &mut back => break link,
            step = server.step(&mut listener, &mut reports, None) => step.expect("it goes on"),
        }
    };
    while size() == before {
        server.step(&mut listener, &mut reports, None).await.expect("it goes on");
    }
    let connected = size();
    // Control: that it is connected is kept.
    assert!(connected > before);
    sender.send(&request()).await.expect("open");
    server.step(&mut listener, &mut reports, None).await.expect("it goes on");
    assert_eq!(size(), connected, "a request for the model is not");
    drop((other, receiver));
    std::fs::remove_dir_all(&site.config.folder).expect("it was written");
}

/// ROUND-32
#[tokio::test]
async fn whoever_opens_links_without_end_is_cut_and_others_are_let_in() {
    let site = Site::new("arrivals");
    let (links, mut reports) = Links::new(LinkLimits::new(&site.config));
    let mut ignore = |_: ServerEvent| {};
    let mut server = Server::start(&site.config, links, &mut ignore).expect("a new folder");
    let Entrance { mut listener, .. } =
        Entrance::open(&site.config, roster(&site.config).expect("parties"), server.events).expect("a port");
    let address = listener.local_address().expect("bound");
    let parties = async {
        let mut links = Vec::new();
        let cut = loop {
            let (sender, mut receiver) = site.connect(address, FLOODER).await;
            // A link that is cut says so before anything else; one that is kept gets nothing between two rounds.
            match tokio::time::timeout(Duration::from_millis(200), receiver.recv()).await {
                Ok(Err(LinkError::ClosedByPeer { reason, .. })) => break reason,
                Ok(other) => panic!("{other:?}"),
                Err(_) => links.push((sender, receiver)),
            }
        };
        assert!(links.len() >= 8, "control: the first ones are kept");
        let (mut last, _receiver) = links.pop().expect("eight");
        last.send(&request()).await.expect("control: the link that it has stays");
        let (mut other, _from) = site.connect(address, OTHER).await;
        other.send(&request()).await.expect("control: another party is let in");
        cut
    };
    let mut parties = Box::pin(parties);
    let cut = loop {
        tokio::select! {
            cut = &mut parties => break cut,
            step = server.step(&mut listener, &mut reports, None) => step.expect("it goes on"),
        }
    };
    assert!(cut.contains("more than 8 links in a short time"), "{cut}");
    std::fs::remove_dir_all(&site.config.folder).expect("it was written");
}
