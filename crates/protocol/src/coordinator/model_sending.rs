//! The model on its way to parties that missed a closing: one for each link, made part by part as the link
//! takes it (`ROUND-32`).
//!
//! How fast links are is no input of the coordinator, so it only says that a model is to be sent
//! ([`CoordinatorOutput::SendModel`](super::CoordinatorOutput::SendModel)); its driver keeps to what is here.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_params::id::{Digest, PartyId};
use cloister_params::per_block::PerBlock;
use cloister_params::rule;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, MissingParts, ModelTable};
use thiserror::Error;

use super::{Coordinator, CoordinatorOutput};
use crate::arriving::part_count;
use crate::fault::{Fault, Misbehaviour};
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

impl Coordinator {
    /// Has the present model sent to a member that missed a closing (`ROUND-23`). Nothing else follows from
    /// it, so that it is not kept ([`Input::is_kept`]).
    pub(super) fn handle_model_request(
        &mut self,
        to: PartyId,
        model: Digest,
        missing: Vec<MissingParts>,
    ) -> Result<(), Fault> {
        // A member that asks for another model learns of a later ending soon.
        if model == self.chain.model {
            check_missing(&self.model.table(), &missing).map_err(|what| what.by(to))?;
            self.outputs.push_back(CoordinatorOutput::SendModel { to, model: self.model.clone(), missing });
        }
        Ok(())
    }
}

/// Checks that a model has all that a request names, ascending by block (`ROUND-42`).
///
/// # Errors
/// The first entry that is wrong.
pub fn check_missing(table: &ModelTable, missing: &[MissingParts]) -> Result<(), Misbehaviour> {
    let mut before = None;
    for &MissingParts { block, first } in missing {
        let parts = table.blocks.get(block.0 as usize).map_or(0, part_count);
        if first >= parts || before.is_some_and(|before| before >= block) {
            return Err(Misbehaviour::MissingParts { block, first });
        }
        before = Some(block);
    }
    Ok(())
}

/// The answer to a request for a model: its table and the parts that were asked for. It does not keep the model
/// in memory: a slow reader cannot make the coordinator hold the models of past rounds.
#[derive(Clone, Debug)]
pub struct ModelParts {
    blocks: Weak<PerBlock<Vec<f32>>>,
    table: ModelTable,
    is_table_sent: bool,
    missing: VecDeque<MissingParts>,
}

impl ModelParts {
    /// The answer to a request that was checked.
    pub fn new(model: &Model, missing: Vec<MissingParts>) -> Self {
        let (blocks, table) = (model.downgrade(), model.table());
        Self { blocks, table, is_table_sent: false, missing: missing.into() }
    }

    /// The next frame; none after the last.
    ///
    /// # Errors
    /// Nobody holds the model any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, OutdatedModel> {
        let blocks = self.blocks.upgrade().ok_or(OutdatedModel)?;
        if !self.is_table_sent {
            self.is_table_sent = true;
            return Ok(Some(Frame::Message(Message::ModelTable(self.table.clone()))));
        }
        let Some(next) = self.missing.front_mut() else { return Ok(None) };
        let MissingParts { block, first } = *next;
        next.first += 1;
        if self.table.blocks.get(block.0 as usize).is_none_or(|table| next.first >= part_count(table)) {
            self.missing.pop_front();
        }
        let part = blocks.get(block).and_then(|parameters| block_part(block, parameters, first));
        Ok(part.map(|part| Frame::Message(Message::ModelPart(part))))
    }

    /// Whether every frame was taken.
    pub fn is_over(&self) -> bool {
        self.is_table_sent && self.missing.is_empty()
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
    use cloister_params::id::BlockId;
    use cloister_wire::frame::CHUNK_BYTES;

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

    fn entry(block: u32, first: u32) -> MissingParts {
        MissingParts { block: BlockId(block), first }
    }

    fn long_model() -> Model {
        Model::new(vec![vec![1.0; CHUNK_BYTES / 4 + 1], vec![], vec![2.0]])
    }

    /// ROUND-32, ROUND-42
    #[test]
    fn an_answer_has_the_table_and_what_was_asked_for_and_does_not_keep_the_model() {
        let model = long_model();
        for (missing, expected) in [
            (vec![entry(0, 0), entry(2, 0)], vec![(0, 0, CHUNK_BYTES), (0, 1, 4), (2, 0, 4)]),
            (vec![entry(0, 1)], vec![(0, 1, 4)]),
            (vec![], vec![]),
        ] {
            let mut answer = ModelParts::new(&model, missing);
            assert_eq!(answer.next(), Some(Frame::Message(Message::ModelTable(model.table()))));
            let mut sent = Vec::new();
            while !answer.is_over() {
                let Some(Frame::Message(Message::ModelPart(part))) = answer.next() else { panic!("a part") };
                sent.push((part.block.0, part.index, part.bytes.len()));
            }
            assert_eq!(sent, expected);
            assert_eq!(answer.next_frame(), Ok(None), "control: while it is held");
        }
        let mut answer = ModelParts::new(&model, vec![entry(2, 0)]);
        drop(model);
        assert_eq!(answer.next_frame(), Err(OutdatedModel));
    }

    /// ROUND-42
    #[test]
    fn parts_that_a_model_does_not_have_are_not_asked_for() {
        let table = long_model().table();
        for wrong in [entry(3, 0), entry(1, 0), entry(0, 2), entry(2, u32::MAX)] {
            let refused = Misbehaviour::MissingParts { block: wrong.block, first: wrong.first };
            assert_eq!(check_missing(&table, &[wrong]), Err(refused));
        }
        for twice in [[entry(2, 0), entry(0, 0)], [entry(0, 0), entry(0, 1)]] {
            assert!(check_missing(&table, &twice).is_err(), "{twice:?}");
        }
        assert_eq!(check_missing(&table, &[entry(0, 1), entry(2, 0)]), Ok(()), "control");
    }
}
