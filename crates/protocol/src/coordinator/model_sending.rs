//! The model on its way to parties that missed a closing: one for each link, made part by part as the link
//! takes it (`ROUND-32`).
//!
//! How fast links are is no input of the coordinator, so it only says that a model is to be sent
//! ([`CoordinatorOutput::SendModel`](super::CoordinatorOutput::SendModel)); its driver keeps to what is here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use cloister_params::id::BlockId;
use cloister_params::per_block::PerBlock;
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use thiserror::Error;

use crate::model::{Model, block_part};

/// Whether a link carries a model now; each link has its own, which its two sides share.
#[derive(Default, Debug)]
pub struct ModelUnderWay(AtomicBool);

impl ModelUnderWay {
    /// Marks a model as being sent. `false` if one is being sent already: that request gets no answer of its
    /// own, because its model is coming.
    pub fn begin(&self) -> bool {
        // `Relaxed` is enough: the flag guards no other memory.
        let is_under_way = self.0.swap(true, Ordering::Relaxed);
        !is_under_way || !rule::in_force("ROUND-32")
    }

    /// The model has been sent.
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The model that was to be sent is no longer the present one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a round closed while the model before it was being sent; connect again and ask for the present one")]
pub struct OutdatedModel;

/// The parts of a model that is being sent. They do not keep the model in memory: a slow reader cannot make
/// the coordinator hold the models of past rounds.
#[derive(Clone, Debug)]
pub struct ModelParts {
    blocks: Weak<PerBlock<Vec<f32>>>,
    next: (BlockId, u32),
}

impl ModelParts {
    /// The parts of a model, from the first on.
    pub fn new(model: &Model) -> Self {
        Self { blocks: Arc::downgrade(&model.blocks), next: (BlockId(0), 0) }
    }

    /// The frame of the next part; none after the last.
    ///
    /// # Errors
    /// Nobody holds the model any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, OutdatedModel> {
        let blocks = self.blocks.upgrade().ok_or(OutdatedModel)?;
        while let Some(parameters) = blocks.get(self.next.0) {
            let (block, index) = self.next;
            if let Some(part) = block_part(block, parameters, index) {
                self.next.1 += 1;
                return Ok(Some(Frame::Message(Message::ModelPart(part))));
            }
            self.next = (BlockId(block.0 + 1), 0);
        }
        Ok(None)
    }
}

impl Iterator for ModelParts {
    type Item = Frame;

    /// The next part, as long as somebody holds the model.
    fn next(&mut self) -> Option<Frame> {
        self.next_frame().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use cloister_wire::frame::CHUNK_BYTES;
    use cloister_wire::message::ModelPart;

    use super::*;

    /// ROUND-32
    #[test]
    fn a_link_has_one_model_under_way_and_another_after_it() {
        let model = ModelUnderWay::default();
        assert!(model.begin());
        assert!(!model.begin(), "a second one waits for the first");
        model.end();
        assert!(model.begin(), "control: after it");
    }

    /// ROUND-32
    #[test]
    fn parts_make_up_the_model_and_do_not_keep_it() {
        let long = CHUNK_BYTES / 4 + 1;
        let model = Model::new(vec![vec![1.0; long], vec![], vec![2.0]]);
        let mut parts = ModelParts::new(&model);
        let sent: Vec<(u32, u32, usize)> = parts
            .by_ref()
            .map(|frame| match frame {
                Frame::Message(Message::ModelPart(ModelPart { block, index, bytes })) => {
                    (block.0, index, bytes.len())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sent, [(0, 0, CHUNK_BYTES), (0, 1, 4), (2, 0, 4)]);
        assert_eq!(parts.next_frame(), Ok(None), "control: while it is held");
        let mut parts = ModelParts::new(&model);
        drop(model);
        assert_eq!(parts.next_frame(), Err(OutdatedModel));
    }
}
