//! Catching up: a member that missed a closing asks for the model, and checks it against the closing's digest.

use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, ModelPart};
use rand_core::CryptoRng;

use super::{Member, MemberOutput, not_awaited};
use crate::fault::{Fault, Misbehaviour};
use crate::model::{Model, floats};
use crate::round::RoundContext;

/// What came of the model so far, by block.
#[derive(Debug)]
pub(super) struct CatchingUp {
    blocks: Vec<Vec<u8>>,
}

impl Member {
    /// Whether the model is another than the one that the chain of endings names.
    pub(super) fn is_behind(&self) -> bool {
        self.model.digest() != self.chain.model
    }

    /// Asks for the model that the plan starts from (`ROUND-23`).
    pub(super) fn catch_up(&mut self) {
        let Some(state) = &self.round else { return };
        let blocks = state.context.plan().settings.blocks.iter().map(|_| Vec::new()).collect();
        let request = Message::ModelRequest { model: self.chain.model };
        self.catching_up = Some(CatchingUp { blocks });
        self.outputs.push_back(MemberOutput::Send(Frame::Message(request)));
    }

    /// Starts over when the link was lost before the model was whole.
    pub(super) fn ask_again(&mut self) {
        if self.catching_up.is_some() {
            self.catch_up();
        }
    }

    /// Takes a part of the model; with the last one the round begins.
    pub(super) fn handle_model_part(
        &mut self,
        part: &ModelPart,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let by_coordinator = |what: Misbehaviour| what.by(cloister_params::id::PartyId::COORDINATOR);
        let (Some(catching_up), Some(state)) = (self.catching_up.as_mut(), self.round.as_ref()) else {
            return Err(not_awaited("a part of a model"));
        };
        let block = part.block;
        let is_last = catching_up.take(&state.context, part).map_err(by_coordinator)?;
        if !is_last {
            return Ok(());
        }
        let Some(CatchingUp { blocks }) = self.catching_up.take() else { return Ok(()) };
        let model = Model::new(blocks.iter().map(|bytes| floats(bytes)).collect());
        if model.digest() != self.chain.model {
            let why = "the model that came is not the one that the closing names".into();
            return Err(by_coordinator(Misbehaviour::Sum { block, why }));
        }
        self.model = model;
        self.take_part(random)
    }
}

impl CatchingUp {
    /// Appends a part in order; true once every block is whole.
    fn take(&mut self, round: &RoundContext, part: &ModelPart) -> Result<bool, Misbehaviour> {
        let wrong = Misbehaviour::Chunk { block: part.block, index: part.index };
        let planned = round.block(part.block).ok_or(wrong.clone())?;
        let whole = usize::try_from(planned.shape.length).unwrap_or(usize::MAX).saturating_mul(4);
        let bytes = self.blocks.get_mut(part.block.0 as usize).ok_or(wrong.clone())?;
        if bytes.len() + part.bytes.len() > whole {
            return Err(wrong);
        }
        bytes.extend_from_slice(&part.bytes);
        let lengths = round.plan().settings.blocks.iter().map(|block| block.shape.length as usize * 4);
        Ok(self.blocks.iter().map(Vec::len).eq(lengths))
    }
}
