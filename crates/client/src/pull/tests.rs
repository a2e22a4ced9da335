use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cloister_identity::Validity;
use cloister_protocol::coordinator::ModelParts;
use cloister_protocol::model::Model;
use cloister_transport::{Link, Listener, Roster};
use cloister_wire::frame::CHUNK_BYTES;

use super::*;

const PARTY: PartyId = PartyId(1);

/// What a coordinator does on one link.
#[derive(Clone, Copy)]
enum Conduct {
    /// Answers everything.
    Answers,
    /// Drops the link after so many parts.
    CutsAfter(usize),
    /// Bends a byte of this block, and answers everything.
    Bends(u32),
    /// Says that the last block is longer, and answers everything.
    Lengthens,
    /// Ends the link with a reason.
    Refuses,
}

/// Parts that a coordinator has sent, over all links: block, number, bytes.
type Sent = Arc<Mutex<Vec<(u32, u32, usize)>>>;

struct Site {
    pull: ModelPull,
    model: Model,
    sent: Sent,
    _accepting: tokio::task::JoinHandle<()>,
}

/// Serves models over one link after the other, each with its conduct, and then as an honest coordinator.
async fn site(name: &str, conducts: &'static [Conduct]) -> Site {
    let identity = |name: &str| Identity::generate(name, Validity::unlimited()).expect("randomness");
    let (coordinator, member) = (identity("coordinator"), identity("member"));
    let roster = Roster::new([(member.fingerprint(), PARTY)]).expect("one party");
    let transport = TransportSettings::default();
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut listener = Listener::bind(local, &coordinator, roster, &transport).expect("a free port");
    let address = listener.local_address().expect("bound");
    let mut links = listener.serve_models();
    let model = Model::new(vec![vec![1.0; CHUNK_BYTES / 4 + 1], vec![2.0, 3.0], vec![4.0]]);
    let (served, sent) = (model.clone(), Sent::default());
    let log = sent.clone();
    let _accepting = tokio::spawn(async move {
        let mut conducts = conducts.iter().copied().chain(std::iter::repeat(Conduct::Answers));
        loop {
            tokio::select! {
                Some(link) = links.recv() => {
                    let conduct = conducts.next().unwrap_or(Conduct::Answers);
                    tokio::spawn(serve(link, served.clone(), conduct, log.clone()));
                }
                accepted = listener.accept() => panic!("{accepted:?}"),
            }
        }
    });
    let out = std::env::temp_dir().join(format!("cloister-pull-{}-{name}", std::process::id()));
    let _ = (fs::remove_file(&out), fs::remove_file(arriving_path(&out)));
    let pull = ModelPull {
        identity: member,
        party: PARTY,
        coordinator: address.into(),
        pinned: coordinator.fingerprint(),
        transport,
        model: model.digest(),
        out,
    };
    Site { pull, model, sent, _accepting }
}

async fn serve(link: Link, model: Model, conduct: Conduct, sent: Sent) {
    let handle = link.handle();
    let (mut sender, mut receiver) = link.split();
    let mut parts = 0;
    while let Ok(Some(bytes)) = receiver.recv().await {
        let Ok(Frame::Message(Message::ModelRequest { missing, .. })) = Frame::decode(&bytes) else { return };
        if matches!(conduct, Conduct::Refuses) {
            handle.abort("the coordinator keeps other models");
            return;
        }
        for mut frame in ModelParts::new(&model, missing) {
            if let (Frame::Message(Message::ModelTable(table)), Conduct::Lengthens) = (&mut frame, conduct) {
                table.blocks[2].length += 1;
            }
            if let Frame::Message(Message::ModelPart(part)) = &mut frame {
                if matches!(conduct, Conduct::CutsAfter(most) if most == parts) {
                    // What was sent arrives before the link is gone.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    return;
                }
                if matches!(conduct, Conduct::Bends(block) if block == part.block.0) {
                    part.bytes[0] ^= 1;
                }
                parts += 1;
                sent.lock().expect("no panic").push((part.block.0, part.index, part.bytes.len()));
            }
            if sender.send(&frame.encode()).await.is_err() {
                return;
            }
        }
    }
}

impl Site {
    async fn pull(&self) -> (Result<(), PullError>, Vec<PullEvent>) {
        let mut events = Vec::new();
        let result = pull_model(&self.pull, &mut |event| events.push(event)).await;
        (result, events)
    }

    fn sent(&self) -> Vec<(u32, u32, usize)> {
        std::mem::take(&mut self.sent.lock().expect("no panic"))
    }

    /// That the file has the model, and nothing is left beside it.
    fn assert_pulled(&self) {
        let bytes = fs::read(&self.pull.out).expect("it was written");
        assert_eq!(Model::from_bytes(&bytes), Some(self.model.clone()));
        assert!(!arriving_path(&self.pull.out).exists());
        fs::remove_file(&self.pull.out).expect("it is there");
    }
}

const ALL: [(u32, u32, usize); 4] = [(0, 0, CHUNK_BYTES), (0, 1, 4), (1, 0, 8), (2, 0, 4)];

/// WIRE-11, ROUND-42
#[tokio::test]
async fn a_pull_that_is_cut_anywhere_goes_on_with_the_missing_bytes() {
    use Conduct::CutsAfter;
    let site = site("cut", &[CutsAfter(0), CutsAfter(1), CutsAfter(2)]).await;
    let (result, events) = site.pull().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(site.sent(), ALL, "no part twice");
    let lost = events.iter().filter(|event| matches!(event, PullEvent::Lost(_))).count();
    assert_eq!(lost, 3, "control: the links were cut");
    site.assert_pulled();
}

/// WIRE-11, ROUND-42: the program is ended in between, and started again.
#[tokio::test]
async fn a_pull_that_is_started_again_goes_on() {
    let site = site("again", &[Conduct::CutsAfter(2)]).await;
    let mut events = Vec::new();
    // It is dropped while it waits after the lost link.
    let mut lost = |event| events.push(event);
    let first = tokio::time::timeout(Duration::from_millis(900), pull_model(&site.pull, &mut lost)).await;
    assert!(first.is_err(), "control: it is not done");
    assert_eq!(site.sent(), ALL[..2]);
    let (result, _) = site.pull().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(site.sent(), ALL[2..]);
    site.assert_pulled();
}

/// ROUND-42: parts that a power cut damaged are no fault of the coordinator's.
#[tokio::test]
async fn a_block_that_was_damaged_on_disk_is_fetched_again() {
    let site = site("damaged", &[Conduct::CutsAfter(1)]).await;
    let mut lost = |_| ();
    let first = tokio::time::timeout(Duration::from_millis(900), pull_model(&site.pull, &mut lost)).await;
    assert!(first.is_err() && site.sent() == ALL[..1], "control: one part is here");
    let path = arriving_path(&site.pull.out);
    let mut bytes = fs::read(&path).expect("it is there");
    let ones = [1.0f32.to_le_bytes(); 4].concat();
    let place = bytes.windows(16).position(|window| window == ones).expect("parameters");
    bytes[place..place + 16].fill(0);
    fs::write(&path, bytes).expect("writable");
    let (result, events) = site.pull().await;
    assert!(result.is_ok(), "{result:?}");
    assert!(events.contains(&PullEvent::WrongBlock(BlockId(0))));
    assert_eq!(site.sent(), [&ALL[1..], &ALL[..2]].concat());
    site.assert_pulled();
}

/// ROUND-42: lengths are not part of a table's digest, so a false one is found by its parts or by a later table.
#[tokio::test]
async fn a_table_with_false_lengths_costs_a_pull_and_no_later_one() {
    let site = site("lengths", &[Conduct::Lengthens]).await;
    for says in ["block 2 is not the next one", "a table with other lengths"] {
        let (result, _) = site.pull().await;
        let error = result.expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    let (result, _) = site.pull().await;
    assert!(result.is_ok(), "{result:?}");
    site.assert_pulled();
}

/// ROUND-42
#[tokio::test]
async fn a_wrong_block_is_fetched_again_alone() {
    // The bent block is wrong whenever this link sends it, so that the pull ends; over the next link it is right.
    let site = site("bent", &[Conduct::Bends(1)]).await;
    let (result, events) = site.pull().await;
    assert!(matches!(result, Err(PullError::Wrong { .. })), "{result:?}");
    assert!(events.contains(&PullEvent::WrongBlock(BlockId(1))));
    assert_eq!(site.sent(), [&ALL[..], &ALL[2..3]].concat(), "the wrong block twice, and nothing else");
    assert!(!site.pull.out.exists());
    let (result, _) = site.pull().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(site.sent(), ALL[2..3]);
    site.assert_pulled();
}

/// WIRE-11
#[tokio::test]
async fn a_refusal_ends_the_pull_with_the_coordinators_reason() {
    let site = site("refused", &[Conduct::Refuses]).await;
    let (result, _) = site.pull().await;
    let error = result.expect_err("it is refused").to_string();
    assert!(error.contains("the coordinator keeps other models"), "{error}");
    let (result, _) = site.pull().await;
    assert!(result.is_ok(), "control: {result:?}");
    site.assert_pulled();
}

/// ROUND-42: the model that comes is not the one that was asked for.
#[tokio::test]
async fn another_model_is_not_taken() {
    let mut site = site("other", &[]).await;
    site.pull.model = Digest([7; 32]);
    let (result, _) = site.pull().await;
    assert!(matches!(result, Err(PullError::Wrong { .. })), "{result:?}");
    assert!(!site.pull.out.exists() && !arriving_path(&site.pull.out).exists());
}
