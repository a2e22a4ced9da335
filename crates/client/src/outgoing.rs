//! Frames that wait for the link, and the task that writes them.

use std::collections::VecDeque;

use cloister_transport::FrameSender;
use cloister_wire::frame::Frame;
use tokio::sync::mpsc;

/// When this many frames wait for the link's writer, nothing more is read. A coordinator that asks and does not read the
/// answers can therefore not fill a hospital's memory (`ROUND-32`). An upload alone has more frames; whatever the coordinator
/// asks for meanwhile waits at the coordinator.
const READ_BELOW: usize = 64;

/// The frames that the link's writer has not taken yet, in order.
#[derive(Default, Debug)]
pub(crate) struct Outgoing {
    frames: VecDeque<Frame>,
}

impl Outgoing {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    /// Whether another frame may be read. Reading one may queue others in answer.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.len() < READ_BELOW
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes the next frame, with the number of chunks that still wait behind it.
    pub(crate) fn pop(&mut self) -> Option<(Frame, usize)> {
        let frame = self.frames.pop_front()?;
        let chunks = self.frames.iter().filter(|frame| matches!(frame, Frame::Chunk(_))).count();
        Some((frame, chunks))
    }

    /// The frames, for a test to look at.
    #[cfg(all(test, feature = "training"))]
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }

    /// Drops the frames that a lost link did not take. The coordinator asks for them again on the next link.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }
}

/// Why a hospital closes its link.
pub(crate) const STOPPING: &str = "the hospital stops, and will be back";

/// Writes frames to the link until it fails, and closes it when no more can come. Each frame comes with the number of chunks behind it, from which `progress` is
/// told how many chunks of an upload the network has taken, and how many the upload has.
pub(crate) async fn write_frames(
    mut sender: FrameSender,
    mut queue: mpsc::Receiver<(Frame, usize)>,
    progress: mpsc::UnboundedSender<(usize, usize)>,
) {
    let mut sent = 0;
    while let Some((frame, remaining)) = queue.recv().await {
        if sender.send(&frame.encode()).await.is_err() {
            return;
        }
        match frame {
            Frame::Chunk(_) => {
                sent += 1;
                let _ = progress.send((sent, sent + remaining));
            }
            // An upload's chunks follow each other, so that a message ends one upload's count.
            Frame::Message(_) => sent = 0,
        }
    }
    // The coordinator may be gone as well.
    let _ = sender.close(STOPPING).await;
}

#[cfg(test)]
mod tests {
    use cloister_params::id::{BlockId, Digest, PartyId, Round};
    use cloister_wire::frame::Chunk;
    use cloister_wire::message::Message;

    use super::*;

    fn message() -> Frame {
        Frame::Message(Message::ModelRequest { model: Digest([1; 32]), missing: vec![] })
    }

    /// ROUND-32
    #[test]
    fn nothing_more_is_read_while_much_waits_to_be_written() {
        let mut outgoing = Outgoing::default();
        let mut read = 0;
        while outgoing.has_room() {
            outgoing.push(message());
            read += 1;
        }
        assert_eq!(read, READ_BELOW);
        assert_eq!(outgoing.pop(), Some((message(), 0)));
        assert!(outgoing.has_room(), "control: once some is written");
        outgoing.clear();
        assert!(outgoing.is_empty());
    }

    #[test]
    fn each_frame_comes_with_the_chunks_behind_it() {
        let chunk =
            |index| Chunk { round: Round(1), owner: PartyId(2), block: BlockId(0), index, bytes: vec![1] };
        let mut outgoing = Outgoing::default();
        let frames = [Frame::Chunk(chunk(0)), Frame::Chunk(chunk(1)), message()];
        frames.iter().for_each(|frame| outgoing.push(frame.clone()));
        let popped: Vec<(Frame, usize)> = std::iter::from_fn(|| outgoing.pop()).collect();
        assert_eq!(popped, frames.into_iter().zip([1, 0, 0]).collect::<Vec<_>>());
    }
}
