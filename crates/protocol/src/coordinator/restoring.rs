//! A coordinator is restored from the inputs that its driver stored (`ROUND-27`).

use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Ending};
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use super::input::Input;
use super::{Coordinator, CoordinatorOutput, CoordinatorPhase, Time};
use crate::ending::KnownEnding;
use crate::fault::{Fault, Misbehaviour};
use crate::model::Model;
use crate::openings::OpeningHistory;

/// What a coordinator begins a round with: with it and the inputs since, the coordinator is restored.
#[derive(Clone, PartialEq, Debug)]
pub struct CoordinatorCheckpoint {
    /// The model after the last round.
    pub model: Model,
    /// How the last round ended; none before the first.
    pub last_ending: Option<Ending>,
    /// The last round's sums as they travel, for members that were away when it ended.
    pub last_sums: Vec<Frame>,
    /// What was opened in the epoch, from any parameters (`ROUND-30`).
    pub openings: Vec<OpeningRecord>,
    /// Evidence of bad dealings that still bars somebody (`ROUND-33`).
    pub bad_dealings: Vec<BadDealing>,
}

/// Why a coordinator cannot be restored.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RestoreError {
    /// The ending, or evidence of a bad dealing, is of another epoch, or a signature in it does not hold.
    #[error("the stored ending or a stored bad dealing does not hold: {0}")]
    Evidence(#[from] Misbehaviour),
    /// The model is not the one that the ending names.
    #[error("the stored model is not the one after the stored ending")]
    Model,
    /// An input is rejected that was accepted before the restart.
    #[error("a stored input was accepted before and is rejected now: {0}")]
    Input(#[from] Fault),
}

impl Coordinator {
    /// Takes an input.
    ///
    /// # Errors
    /// What the input's own function rejects; the coordinator is unchanged then, and the input need not be
    /// stored.
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

    /// Restores a coordinator from the inputs that it accepted since the last round ended, in their order.
    ///
    /// It signs, proposes and publishes for them what it did before, byte for byte, because it has no
    /// randomness (`ROUND-27`). Only outputs that concern the disk remain to be carried out; frames are sent
    /// again to each party that connects.
    ///
    /// # Errors
    /// See [`RestoreError`]: the records are not those of one coordinator of this epoch.
    pub fn restore(
        key: Arc<SigningKey>,
        epoch: Arc<Epoch>,
        start: CoordinatorCheckpoint,
        inputs: impl IntoIterator<Item = (Input, Time)>,
    ) -> Result<Self, RestoreError> {
        let mut coordinator = Self::new(key, epoch, start.model);
        if let Some(ending) = start.last_ending {
            let known = KnownEnding::check(&ending, &coordinator.epoch)?;
            if known.model != coordinator.model.digest() {
                return Err(RestoreError::Model);
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
            // A stored input was accepted once. If it is rejected now, the records are damaged or another
            // program wrote them.
            coordinator.handle(input, now)?;
            coordinator
                .outputs
                // Parties ask for frames by reconnecting, and events were shown. What concerns the disk may
                // not have been done.
                .retain(|output| matches!(output, CoordinatorOutput::Ended(_) | CoordinatorOutput::Erase(_)));
        }
        Ok(coordinator)
    }

    /// What to store once a round has ended: the next one begins with it.
    pub fn checkpoint(&self) -> CoordinatorCheckpoint {
        CoordinatorCheckpoint {
            model: self.model.clone(),
            last_ending: self.last_ending.clone(),
            last_sums: self.last_sums.clone(),
            openings: self.openings.records(),
            bad_dealings: self.bars.all().cloned().collect(),
        }
    }

    /// Gives the present phase its whole time again.
    fn begin_waiting_again(&mut self, now: Time) {
        let Some(active) = &self.round else { return };
        // A stored deadline means nothing after a restart, because the clock has another origin.
        let deadlines = &active.settings.deadlines;
        let limit = match &active.phase {
            CoordinatorPhase::Announcing(_) => deadlines.announce,
            CoordinatorPhase::Uploading(..) => deadlines.upload,
            CoordinatorPhase::Revealing(..) | CoordinatorPhase::Checking(..) => deadlines.reveal,
            CoordinatorPhase::Keys(_)
            | CoordinatorPhase::Sealing1(..)
            | CoordinatorPhase::Sealing2(..)
            | CoordinatorPhase::Aborting(..)
            | CoordinatorPhase::Closing(..) => deadlines.seal,
        };
        self.wait(now, limit);
    }
}
