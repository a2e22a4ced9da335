//! Catching up: a member that missed a closing asks for the model, and checks it against the closing's
//! digest.

use cloister_params::id::Round;
use cloister_params::per_block::PerBlock;
use cloister_wire::frame::CHUNK_BYTES;
use cloister_wire::message::{Message, ModelPart};

use super::Member;
use crate::fault::Misbehaviour;
use crate::model::{Model, floats};

/// What came of the model so far.
#[derive(Debug)]
pub(super) struct CatchingUp {
    /// Each block's parameters as little-endian floats, as far as their parts came.
    blocks: PerBlock<Vec<u8>>,
}

impl Member {
    /// Whether the model is the one after the last round that this member knows the end of, and no round that
    /// it announced in is without an end.
    pub fn is_current(&self) -> bool {
        !self.is_behind() && self.last_announced.unwrap_or(Round(0)) <= self.chain.round
    }

    /// Whether the model is another than the one that the chain of endings names.
    pub(super) fn is_behind(&self) -> bool {
        self.model.digest() != self.chain.model
    }

    /// Asks for the model after the last round (`ROUND-23`), and not for the sums that were missed: the
    /// coordinator would have to store those of every round.
    pub(super) fn catch_up(&mut self) {
        self.catching_up = Some(CatchingUp { blocks: self.model.blocks().map(|_| Vec::new()) });
        self.ask_again();
    }

    /// Asks again if the link was lost before the model was complete. Parts that arrived are kept: a
    /// coordinator that is still sending does not start again (`ROUND-32`), and if it does start again, each
    /// block's first part starts the block over.
    pub(super) fn ask_again(&mut self) {
        if self.catching_up.is_some() {
            self.send(Message::ModelRequest { model: self.chain.model });
        }
    }

    /// Takes a part of the model. With the last part, this member takes part in the planned round, if there
    /// is one.
    pub(super) fn handle_model_part(&mut self, part: &ModelPart) -> Result<(), Misbehaviour> {
        // A model that was asked for twice comes twice, so a part of the second is not a fault.
        let Some(catching_up) = self.catching_up.as_mut() else { return Ok(()) };
        let length = catching_up.take(&self.model, part)?;
        if !catching_up.is_whole(&self.model) {
            return Ok(());
        }
        let model = Model::from_blocks(catching_up.blocks.map(|bytes| floats(bytes)));
        if model.digest() != self.chain.model {
            // Only the last part is taken back, so that the state is as before the call; the digest does not
            // tell which part is wrong. When the model is sent again, every block starts over.
            catching_up.blocks[part.block].truncate(length);
            let why = "the model that came is not the one that the closing names".into();
            return Err(Misbehaviour::Sum { block: part.block, why });
        }
        self.catching_up = None;
        self.model = model;
        // The plan came while the model was on its way; training for it begins now.
        self.take_part();
        Ok(())
    }
}

impl CatchingUp {
    /// Appends a part if it is the next one. A block's first part starts the block over, because what is here
    /// may be wrong; any other part that is here is skipped. Returns the length, in bytes, from which the part
    /// was written.
    fn take(&mut self, model: &Model, part: &ModelPart) -> Result<usize, Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: part.block, index: part.index };
        let whole = model.blocks().get(part.block).ok_or(wrong.clone())?.len() * size_of::<f32>();
        let bytes = self.blocks.get_mut(part.block).ok_or(wrong.clone())?;
        let (start, before) = (part.index as usize * CHUNK_BYTES, bytes.len());
        // The length is bounded by the known model, so a peer cannot make this buffer grow.
        if start > before || start + part.bytes.len() > whole {
            return Err(wrong);
        }
        if part.index == 0 {
            bytes.clear();
        }
        let written_from = bytes.len();
        if start == written_from {
            bytes.extend_from_slice(&part.bytes);
        }
        Ok(written_from)
    }

    /// Whether every block is as long as the one of this member's model.
    fn is_whole(&self, model: &Model) -> bool {
        let lengths = model.blocks().values().iter().map(|block| block.len() * size_of::<f32>());
        self.blocks.values().iter().map(Vec::len).eq(lengths)
    }
}
