use std::net::SocketAddr;

use cloister_identity::{Identity, Validity};
use cloister_transport::{Fingerprint, LinkError, Listener, Roster, TransportSettings, connect_for_models};

use super::*;
use crate::models::keep_model;

const PARTY: PartyId = PartyId(1);
const OTHER: PartyId = PartyId(2);

/// A coordinator's folder with two models, and a listener that serves them.
struct Site {
    folder: PathBuf,
    models: [Model; 2],
    pulls: Pulls,
    listener: Listener,
    links: tokio::sync::mpsc::Receiver<Link>,
    coordinator: Fingerprint,
    parties: [Identity; 2],
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-pulls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let models = [1.0, 2.0]
            .map(|value| Model::new(vec![vec![value; CHUNK_BYTES / size_of::<f32>() + 1], vec![value, 0.5]]));
        models.iter().for_each(|model| keep_model(&folder, model, 2, |_| false).expect("writable"));
        let identity = |name: &str| Identity::generate(name, Validity::unlimited()).expect("randomness");
        let (coordinator, parties) = (identity("coordinator"), [identity("one"), identity("two")]);
        let pins = [(parties[0].fingerprint(), PARTY), (parties[1].fingerprint(), OTHER)];
        let local: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut listener = Listener::bind(
            local,
            &coordinator,
            Roster::new(pins).expect("two"),
            &TransportSettings::default(),
        )
        .expect("a free port");
        let links = listener.serve_models();
        let (pulls, coordinator) =
            (Pulls::new(folder.clone(), Duration::from_millis(500)), coordinator.fingerprint());
        Self { folder, models, pulls, listener, links, coordinator, parties }
    }

    /// Waits until so many parties are served.
    async fn until_open(&mut self, parties: usize) {
        while self.pulls.open.len() > parties {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.pulls.forget_ended();
        }
    }

    /// Opens a party's link for models, and has it served.
    async fn open(&mut self, party: PartyId, is_member: bool) -> (FrameSender, FrameReceiver) {
        let address = self.listener.local_address().expect("bound");
        let identity = self.parties[party.0 as usize - 1].clone();
        let (coordinator, settings) = (self.coordinator, TransportSettings::default());
        let connecting = connect_for_models(address, &identity, coordinator, party, &settings);
        let serving = async {
            tokio::select! {
                link = self.links.recv() => link.expect("the listener is there"),
                accepted = self.listener.accept() => panic!("no link for rounds: {accepted:?}"),
            }
        };
        let (link, served) = tokio::join!(connecting, serving);
        self.pulls.serve(served, is_member);
        link.expect("its certificate is in the roster").split()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn ask(sender: &mut FrameSender, model: Digest, missing: &[(u32, u32)]) {
    let missing = missing.iter().map(|&(block, first)| MissingParts { block: BlockId(block), first });
    let request = Message::ModelRequest { model, missing: missing.collect() };
    sender.send(&Frame::Message(request).encode()).await.expect("the link is open");
}

async fn message(receiver: &mut FrameReceiver) -> Result<Message, String> {
    match receiver.recv().await {
        Ok(Some(bytes)) => match Frame::decode(&bytes) {
            Ok(Frame::Message(message)) => Ok(message),
            other => panic!("{other:?}"),
        },
        Err(LinkError::ClosedByPeer { reason, .. }) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// The answer to a request for so many parts: the table, and which parts came.
async fn answer(receiver: &mut FrameReceiver, parts: usize) -> (ModelTable, Vec<(u32, u32, Vec<u8>)>) {
    let Ok(Message::ModelTable(table)) = message(receiver).await else { panic!("the table is first") };
    let mut came = Vec::new();
    for _ in 0..parts {
        let Ok(Message::ModelPart(part)) = message(receiver).await else { panic!("a part") };
        came.push((part.block.0, part.index, part.bytes));
    }
    (table, came)
}

/// WIRE-11
#[tokio::test]
async fn a_member_gets_the_parts_of_kept_models_that_it_asks_for() {
    let mut site = Site::new("parts");
    let (mut sender, mut receiver) = site.open(PARTY, true).await;
    for model in site.models.clone() {
        let bytes: Vec<Vec<u8>> = model
            .blocks()
            .values()
            .iter()
            .map(|block| block.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let all = [
            (0, 0, bytes[0][..CHUNK_BYTES].to_vec()),
            (0, 1, bytes[0][CHUNK_BYTES..].to_vec()),
            (1, 0, bytes[1].clone()),
        ];
        for (missing, expected) in
            [(&[][..], 3..3), (&[(0, 0), (1, 0)], 0..3), (&[(0, 1), (1, 0)], 1..3), (&[(1, 0)], 2..3)]
        {
            ask(&mut sender, model.digest(), missing).await;
            let (table, came) = answer(&mut receiver, expected.len()).await;
            assert_eq!(table, model.table());
            assert!(came == all[expected.clone()], "{missing:?}");
        }
    }
}

/// WIRE-11
#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_a_reason() {
    let mut site = Site::new("refused");
    let [first, second] = site.models.clone().map(|model| model.digest());
    let other = Digest([7; 32]);
    let wrong_name = kept_models(&site.folder).expect("readable")[0].path.clone();
    for (model, missing, reason) in [
        (
            other,
            vec![],
            format!("does not keep the model {other}; it keeps, newest first: {second}, {first}"),
        ),
        (second, vec![(2, 0)], "asks for block 2 of the model from part 0 on".to_owned()),
        (second, vec![(0, 2)], "asks for block 0 of the model from part 2 on".to_owned()),
        (second, vec![(1, 0), (0, 0)], "ascending by block".to_owned()),
        (first, vec![], format!("file of the model {first} is damaged")),
    ] {
        if model == first {
            let mut bytes = fs::read(&wrong_name).expect("it is there");
            bytes[8] ^= 1;
            fs::write(&wrong_name, bytes).expect("writable");
        }
        let (mut sender, mut receiver) = site.open(PARTY, true).await;
        ask(&mut sender, model, &missing).await;
        let refused = message(&mut receiver).await.expect_err("it is refused");
        assert!(refused.contains(&reason), "{refused}");
        site.until_open(0).await;
    }
    let (mut sender, mut receiver) = site.open(PARTY, true).await;
    ask(&mut sender, second, &[]).await;
    assert_eq!(answer(&mut receiver, 0).await.0.model, second, "control");
}

/// WIRE-11: models go to members alone, and to each over one link at a time.
#[tokio::test]
async fn a_custodian_alone_and_a_second_link_are_refused() {
    let mut site = Site::new("parties");
    let (_sender, mut receiver) = site.open(OTHER, false).await;
    let refused = message(&mut receiver).await.expect_err("it is no member");
    assert!(refused.contains("models go to members alone"), "{refused}");
    let model = site.models[1].digest();
    let (mut first, mut first_receiver) = site.open(PARTY, true).await;
    let (_second, mut receiver) = site.open(PARTY, true).await;
    let refused = message(&mut receiver).await.expect_err("one is open");
    assert!(refused.contains("another request for models open"), "{refused}");
    let (mut other, mut other_receiver) = site.open(OTHER, true).await;
    for (sender, receiver) in [(&mut first, &mut first_receiver), (&mut other, &mut other_receiver)] {
        ask(sender, model, &[(1, 0)]).await;
        assert_eq!(answer(receiver, 1).await.0.model, model, "control: a member's first link");
    }
    first.close("done").await.expect("the coordinator acknowledges");
    site.until_open(1).await;
    let (mut again, mut receiver) = site.open(PARTY, true).await;
    ask(&mut again, model, &[]).await;
    assert_eq!(answer(&mut receiver, 0).await.0.model, model, "control: after the first");
}

/// WIRE-11: a party that does not read, or does not ask, gives its place back, and goes on over another link.
#[tokio::test]
async fn a_member_that_keeps_its_place_for_nothing_is_cut() {
    let mut site = Site::new("slow");
    let model = site.models[1].digest();
    for asks in [true, false] {
        let (mut sender, mut receiver) = site.open(PARTY, true).await;
        // More than a link holds of what was not read.
        for _ in 0..if asks { 8 } else { 0 } {
            ask(&mut sender, model, &[(0, 0)]).await;
        }
        site.until_open(0).await;
        if asks {
            let refused = loop {
                if let Err(reason) = message(&mut receiver).await {
                    break reason;
                }
            };
            assert!(
                refused.contains("did not take") && refused.contains("connect again to go on"),
                "{refused}"
            );
        } else {
            assert_eq!(receiver.recv().await, Ok(None));
        }
    }
    let (mut sender, mut receiver) = site.open(PARTY, true).await;
    for _ in 0..8 {
        ask(&mut sender, model, &[(0, 0)]).await;
        answer(&mut receiver, 2).await;
    }
    assert_eq!(site.pulls.open.len(), 1, "control: a party that reads keeps its place");
}
