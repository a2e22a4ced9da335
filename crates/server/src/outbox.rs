//! What waits for a link's writer: as much as an honest party may have to be sent in a round, and not more
//! (`ROUND-32`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{ModelParts, ModelUnderWay};
use cloister_protocol::model::Model;
use cloister_transport::MAX_FRAME;
use cloister_wire::message::MissingParts;
use thiserror::Error;
use tokio::sync::mpsc;

/// Bytes of a coordinate in the widest ring, and in a model.
const WIDEST: u64 = 4;
/// How many models' worth of bytes may be sent to one party: parameters and sums, and both again if it is a
/// round behind.
const MODELS: u64 = 4;
/// Bytes of one member's announcement, letter, late sketches, reveals and paths, for each block.
const BYTES_OF_A_BLOCK: u64 = 4 << 10;
/// Bytes of the same that do not grow with the blocks.
const BYTES_OF_A_MEMBER: u64 = 64 << 10;
/// Messages that are as long as a message may be: plan, manifest, proposals, ending.
const LONG_MESSAGES: u64 = 8;
/// Bytes of memory that a waiting frame takes in addition to its own, so that many empty frames count too.
const OVERHEAD: u64 = 64;

/// The most bytes that may wait for one party. A custodian that recomputes all sums is sent every member's
/// masked blocks at once, so that this much must be able to wait. If more waits, some of it is from earlier
/// rounds, and the party does not read.
pub(crate) fn most_waiting(settings: &RoundSettings, members: usize) -> u64 {
    let (members, blocks) = (members as u64, settings.blocks.len() as u64);
    let model: u64 = settings.blocks.iter().map(|block| WIDEST * block.shape.length).sum();
    let member_messages = members * (BYTES_OF_A_BLOCK * blocks + BYTES_OF_A_MEMBER);
    (members + MODELS) * model + member_messages + LONG_MESSAGES * MAX_FRAME as u64
}

/// More bytes wait for a link than a round has for one party.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "more than {most} bytes wait for this party, which does not read them; connect again, and the \
     coordinator sends again what is needed"
)]
pub(crate) struct Full {
    most: u64,
}

/// What a link's writer does next. If its queue ends without [`ToWrite::Close`], the writer does not close
/// the link in good order: only a coordinator that has ended its last round does.
#[derive(Debug)]
pub(crate) enum ToWrite {
    Frame(Vec<u8>),
    Model(ModelParts),
    Close(&'static str),
}

/// The coordinator's end of a link's queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<ToWrite>,
    most: u64,
    shared: Arc<Shared>,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Waiting {
    queue: mpsc::UnboundedReceiver<ToWrite>,
    shared: Arc<Shared>,
}

#[derive(Default, Debug)]
struct Shared {
    bytes: AtomicU64,
    model: ModelUnderWay,
}

/// The two ends of a queue that holds so many bytes.
pub(crate) fn outbox(most: u64) -> (Outbox, Waiting) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::default());
    (Outbox { queue: sender, most, shared: shared.clone() }, Waiting { queue: receiver, shared })
}

impl Outbox {
    /// Queues a frame's bytes. If the link has ended, they are lost, and are sent again after the party has
    /// connected again.
    ///
    /// # Errors
    /// Too many bytes wait already.
    pub(crate) fn send(&self, frame: Vec<u8>) -> Result<(), Full> {
        let bytes = frame.len() as u64 + OVERHEAD;
        // Only this side adds bytes, so that the sum cannot grow between the check and the addition.
        // `Relaxed`, because the number guards no other memory.
        if self.shared.bytes.load(Ordering::Relaxed) + bytes > self.most {
            return Err(Full { most: self.most });
        }
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.queue.send(ToWrite::Frame(frame));
        Ok(())
    }

    /// Queues parts of a model, unless some are being sent. They are encoded when the link has room for them.
    pub(crate) fn send_model(&self, model: &Model, missing: Vec<MissingParts>) {
        // A request costs a few bytes and an answer up to a whole model, so that requests must not queue answers.
        if self.shared.model.begin() {
            let _ = self.queue.send(ToWrite::Model(ModelParts::new(model, missing)));
        }
    }

    /// Closes the link after everything that waits is written.
    pub(crate) fn close(&self, reason: &'static str) {
        let _ = self.queue.send(ToWrite::Close(reason));
    }
}

impl Waiting {
    /// What to write next. Its bytes no longer count as waiting.
    pub(crate) async fn next(&mut self) -> Option<ToWrite> {
        let next = self.queue.recv().await?;
        if let ToWrite::Frame(frame) = &next {
            self.shared.bytes.fetch_sub(frame.len() as u64 + OVERHEAD, Ordering::Relaxed);
        }
        Some(next)
    }

    /// All of the model but its last frame was written. A party that has the last one may ask for more at once.
    pub(crate) fn model_is_sent(&self) {
        self.shared.model.end();
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::plan::{model, template};

    use super::*;

    /// ROUND-32
    #[tokio::test]
    async fn what_waits_is_bounded_and_what_is_read_makes_room() {
        let (outbox, mut waiting) = outbox(3 * (100 + OVERHEAD));
        let frame = || vec![7; 100];
        for _ in 0..3 {
            assert_eq!(outbox.send(frame()), Ok(()));
        }
        assert_eq!(outbox.send(vec![]), Err(Full { most: 3 * (100 + OVERHEAD) }));
        assert!(matches!(waiting.next().await, Some(ToWrite::Frame(read)) if read == frame()));
        assert_eq!(outbox.send(frame()), Ok(()), "control: for a party that reads there is room");
        assert!(outbox.send(vec![]).is_err());
    }

    /// ROUND-32
    #[tokio::test]
    async fn many_requests_queue_one_model_and_one_more_after_it() {
        let (outbox, mut waiting) = outbox(0);
        let model = model(&template(2, 4, 1));
        (0..50).for_each(|_| outbox.send_model(&model, vec![]));
        assert!(matches!(waiting.next().await, Some(ToWrite::Model(_))));
        outbox.send_model(&model, vec![]);
        waiting.model_is_sent();
        outbox.close("the end");
        assert!(
            matches!(waiting.next().await, Some(ToWrite::Close("the end"))),
            "nothing was queued meanwhile"
        );
        outbox.send_model(&model, vec![]);
        assert!(matches!(waiting.next().await, Some(ToWrite::Model(_))), "control: after it");
    }

    /// ROUND-32
    #[test]
    fn a_recomputing_custodians_share_of_a_round_fits() {
        let settings = template(3, 5, 1);
        let bytes: u64 = settings.blocks.iter().map(|block| WIDEST * block.shape.length).sum();
        let most = most_waiting(&settings, 7);
        assert!(most > 7 * bytes + 2 * bytes, "masked blocks of all, parameters and sums");
        assert!(most_waiting(&settings, 8) > most);
    }
}
