//! Catching up: a member that missed a closing asks for the model, part by part, and checks it by the digest that
//! the closing names (`ROUND-23`, `ROUND-42`).

use cloister_params::id::{BlockId, Digest, Round};
use cloister_wire::frame::chunk_count;
use cloister_wire::message::{Message, MissingParts, ModelPart, ModelTable};

use super::{Member, MemberOutput};
use crate::arriving::{ArrivingChange, ArrivingModel, PartOutcome};
use crate::fault::Misbehaviour;
use crate::model::Model;

/// A model that this member needs.
#[derive(Debug)]
pub(super) struct CatchingUp {
    model: Digest,
    /// What is here of it; `None` until its table is here.
    arriving: Option<ArrivingModel>,
    awaited: Option<AwaitedAnswer>,
}

/// The answer to a request.
#[derive(Debug)]
struct AwaitedAnswer {
    /// Its last part.
    last: (BlockId, u32),
    /// How many blocks were not whole when it was asked for.
    missing_blocks: usize,
}

impl CatchingUp {
    /// Whether it is this model that is needed. After an abort it still is.
    pub(super) fn is_for(&self, model: Digest) -> bool {
        self.model == model
    }

    /// What to ask for. Before the table is here that is every block of a model like this member's.
    fn missing(&self, model: &Model) -> Vec<MissingParts> {
        match &self.arriving {
            Some(arriving) => arriving.missing(),
            None => model.blocks().iter().map(|(block, _)| MissingParts { block, first: 0 }).collect(),
        }
    }
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

    /// Asks for the model on a new link if this member lacks it, as when the consortium goes back to an earlier one: no round
    /// may follow (`CONS-16`).
    pub fn ask_for_model(&mut self) {
        if self.is_behind() && self.phase.planned().is_none() {
            self.catch_up();
        }
    }

    /// Asks for the model after the last round (`ROUND-23`), and not for the sums that were missed: the
    /// coordinator would have to store those of every round. Parts that are here are not asked for again.
    pub(super) fn catch_up(&mut self) {
        let model = self.chain.model;
        if self.catching_up.as_ref().is_none_or(|catching_up| !catching_up.is_for(model)) {
            // The others stay: in a later edition this member may need the edition's model first, and then the present one.
            let mut arrived = self.arrived.iter();
            let place = arrived.position(|kept| kept.digest() == model && kept.has_shape(&self.model));
            let arriving = place.map(|place| self.arrived.remove(place));
            self.store_again(arriving.as_ref());
            let catching_up = CatchingUp { model, arriving, awaited: None };
            self.catching_up = Some(catching_up);
        }
        if !self.has_caught_up() {
            self.ask_again();
        }
    }

    /// Has the parts of a model written again, if another one took its place on disk. Otherwise its next parts would follow
    /// those of the other one.
    fn store_again(&mut self, arriving: Option<&ArrivingModel>) {
        let Some(arriving) = arriving.filter(|_| self.is_arrived_replaced) else { return };
        let parts = arriving.parts().map(ArrivingChange::Part);
        let changes = std::iter::once(ArrivingChange::Began(arriving.table().clone())).chain(parts);
        self.outputs.extend(changes.map(MemberOutput::Arriving));
    }

    /// Asks for what is missing, at first or on a new link. A coordinator that is still answering on this link
    /// does not begin another answer (`ROUND-32`).
    pub(super) fn ask_again(&mut self) {
        let Some(catching_up) = self.catching_up.as_mut() else { return };
        let missing = catching_up.missing(&self.model);
        catching_up.awaited = missing.last().and_then(|last| {
            let bytes = self.model.blocks().get(last.block)?.len() * size_of::<f32>();
            let last = (last.block, chunk_count(bytes).saturating_sub(1));
            Some(AwaitedAnswer { last, missing_blocks: missing.len() })
        });
        self.send(Message::ModelRequest { model: self.chain.model, missing });
    }

    /// Takes the table of the model.
    pub(super) fn handle_model_table(&mut self, table: &ModelTable) -> Result<(), Misbehaviour> {
        let model = self.chain.model;
        // A table comes with each answer, also with one that was asked for before another round ended.
        let Some(catching_up) = self.catching_up.as_mut().filter(|_| table.model == model) else {
            return Ok(());
        };
        if catching_up.arriving.is_some() {
            return Ok(());
        }
        let arriving = ArrivingModel::new(table.clone())?;
        // Known lengths bound what the coordinator can have this member store.
        if !arriving.has_shape(&self.model) {
            return Err(Misbehaviour::ModelShape);
        }
        catching_up.arriving = Some(arriving);
        self.is_arrived_replaced = true;
        self.outputs.push_back(MemberOutput::Arriving(ArrivingChange::Began(table.clone())));
        Ok(())
    }

    /// Takes a part of the model. With the last part, this member takes part in the planned round, if there
    /// is one.
    pub(super) fn handle_model_part(&mut self, part: &ModelPart) -> Result<(), Misbehaviour> {
        // A model that was asked for twice comes twice, so a part of the second is not a fault.
        let Some(catching_up) = self.catching_up.as_mut() else { return Ok(()) };
        let arriving = catching_up.arriving.as_mut().ok_or(Misbehaviour::TooEarly("a part of a model"))?;
        let change = match arriving.take(part)? {
            PartOutcome::Here => None,
            PartOutcome::Taken => Some(ArrivingChange::Part(part.clone())),
            PartOutcome::WrongBlock => Some(ArrivingChange::WrongBlock(part.block)),
        };
        let answer = catching_up.awaited.take_if(|answer| answer.last == (part.block, part.index));
        // Another request follows only an answer that brought a block, so that a coordinator that sends wrong
        // ones alone is not asked for ever.
        let asks_again = answer.is_some_and(|answer| arriving.missing().len() < answer.missing_blocks);
        self.outputs.extend(change.map(MemberOutput::Arriving));
        if !self.has_caught_up() && asks_again {
            self.ask_again();
        }
        Ok(())
    }

    /// Takes the model if all of it is here. The plan may have come while it was on its way; training for it
    /// begins now.
    fn has_caught_up(&mut self) -> bool {
        let arriving = self.catching_up.as_ref().and_then(|catching_up| catching_up.arriving.as_ref());
        let Some(model) = arriving.and_then(ArrivingModel::model) else { return false };
        self.catching_up = None;
        self.model = model.clone();
        // What another closing published is not the difference of this model and the one that was here.
        self.before_last_changes = None;
        let (round, model) = (self.chain.round, Box::new(model));
        self.outputs.push_back(MemberOutput::CaughtUp { round, model });
        self.take_part();
        true
    }
}
