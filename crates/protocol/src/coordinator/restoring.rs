//! A coordinator is restored from the inputs that its driver stored (`ROUND-27`).

use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Ending};
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use super::input::Input;
use super::{Coordinator, CoordinatorOutput, Phase, Time};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Misbehaviour};
use crate::model::Model;
use crate::openings::OpeningHistory;

/// What a coordinator begins a round with.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    /// The model after the last round.
    pub model: Model,
    /// How the last round ended; none before the first.
    pub last_ending: Option<Ending>,
    /// The last round's sums as they travel, for members that were away when it ended.
    pub last_sums: Vec<Frame>,
    /// What was opened from the model (`ROUND-30`).
    pub openings: Vec<OpeningRecord>,
    /// Evidence of bad dealings that still bars somebody (`ROUND-33`).
    pub bad_dealings: Vec<BadDealing>,
}

/// Why a coordinator cannot be had again.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ResumeError {
    /// The ending, or evidence of a bad dealing, is not one of this epoch, or does not hold.
    #[error("the last ending or a kept bad dealing does not hold: {0}")]
    Evidence(#[from] Misbehaviour),
    /// The model is not the one that the ending names.
    #[error("the model is not the one after the last ending")]
    Model,
    /// An input was refused, which was taken before.
    #[error("an input was taken before and is refused now: {0}")]
    Input(#[from] Fault),
}

impl Coordinator {
    /// Takes an input.
    ///
    /// # Errors
    /// What the input's own function refuses; the coordinator is unchanged then, and the input need not be kept.
    pub fn handle(&mut self, input: Input, now: Time) -> Result<(), Fault> {
        match input {
            Input::StartRound(settings) => self.start_round(*settings, now).map(|_| ()),
            Input::Connected(party) => {
                self.handle_connected(party, now);
                Ok(())
            }
            Input::Disconnected(party) => {
                self.handle_disconnected(party, now);
                Ok(())
            }
            Input::Frame(from, frame) => self.handle_frame(from, frame, now),
            Input::Time => {
                self.handle_time(now);
                Ok(())
            }
            Input::Restarted => {
                self.begin_waiting_again(now);
                Ok(())
            }
            Input::Erased(member, block, leaf) => self.handle_erased(member, block, leaf),
        }
    }

    /// The coordinator after the inputs that it took since the last round ended, in their order. Whatever it signed,
    /// proposed or published for them it signs, proposes or publishes again, byte by byte: it has no randomness
    /// (`ROUND-27`). Only what concerns the disk is still to be carried out; frames are sent again to whoever
    /// connects.
    ///
    /// # Errors
    /// See [`ResumeError`]: the records are not those of one coordinator of this epoch.
    pub fn resume(
        key: Arc<SigningKey>,
        epoch: Arc<Epoch>,
        start: Start,
        inputs: impl IntoIterator<Item = (Input, Time)>,
    ) -> Result<Self, ResumeError> {
        let mut coordinator = Self::new(key, epoch, start.model);
        if let Some(ending) = start.last_ending {
            let known = KnownEnding::check(&ending, &coordinator.epoch)?;
            if known.model != coordinator.model.digest() {
                return Err(ResumeError::Model);
            }
            coordinator.chain.advance(&known);
            coordinator.last_ending = Some(ending);
            coordinator.last_sums = start.last_sums;
        }
        coordinator.openings = OpeningHistory::new(start.openings);
        for evidence in &start.bad_dealings {
            coordinator.bars.take(&coordinator.epoch, evidence)?;
        }
        for (input, now) in inputs {
            coordinator.handle(input, now)?;
            let is_for_the_disk =
                |output: &_| matches!(output, CoordinatorOutput::Ended(_) | CoordinatorOutput::Erase(_));
            coordinator.outputs.retain(is_for_the_disk);
        }
        Ok(coordinator)
    }

    /// What the next round begins with, once the last has ended.
    pub fn start(&self) -> Start {
        Start {
            model: self.model.clone(),
            last_ending: self.last_ending.clone(),
            last_sums: self.last_sums.clone(),
            openings: self.openings.records(),
            bad_dealings: self.bars.all().cloned().collect(),
        }
    }

    /// Gives the present step its whole time again.
    fn begin_waiting_again(&mut self, now: Time) {
        let Some(active) = &self.round else { return };
        let deadlines = &active.settings.deadlines;
        let limit = match &active.phase {
            Phase::Announcing(_) => deadlines.announce,
            Phase::Uploading(..) => deadlines.upload,
            Phase::Revealing(..) | Phase::Checking(..) => deadlines.reveal,
            Phase::Keys(_)
            | Phase::Sealing1(..)
            | Phase::Sealing2(..)
            | Phase::Aborting(..)
            | Phase::Closing(..) => deadlines.seal,
        };
        self.wait(now, limit);
    }
}
